"""Labelling by a folder among the user's own files."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.errors import BadLabels, NotFound
from components.files import write_text
from components.labeling.backend import LabelingBackend, LabelingState, ProjectPlan
from components.labeling.formats.yolo import DECIMALS, counted_by, describe, read_each
from components.labeling.label_set import LabelSet
from components.labeling.objects import frame_labels, labelled_objects
from components.labeling.opened import opened_labels
from components.labeling.project import IMAGES, LABELS, PARTS, count_labels, make_project
from components.labeling.wanted import WantedLabels
from components.labels import format_yolo_labels
from components.steps import Progress, no_progress
from components.storage import Storage


class FolderBackend(LabelingBackend):
    """A project is a folder, ``labeling/{title}/``; see ``components/labeling/project.py``.

    Args:
        place: where a key of the user's lies on this machine.
    """

    name = "folder"

    def __init__(self, storage: Storage, place: Callable[[str], Path]) -> None:
        self._storage, self._place = storage, place

    def open(self, plan: ProjectPlan, progress: Progress = no_progress) -> dict[str, Any]:
        """Lay the images and what a model found in them out; the labels stay as they are."""
        key = f"labeling/{plan.title}"
        folder = self._place(key)
        frames = make_project(
            plan.frames,
            plan.preannotations,
            folder,
            progress=progress,
            task=plan.wanted.task,
            names=plan.wanted.names,
            keypoints=plan.wanted.keypoints,
        )
        for part in PARTS:
            # Not the whole folder: labels that are in the storage only would be deleted there.
            if (folder / part).exists():
                self._storage.keep(folder / part)
        return {"tool": self.name, "project": key, "url": "", "frames": frames}

    def state(self, project: Mapping[str, Any]) -> LabelingState:
        """By the files that are there; nobody can skip an image here."""
        folder = self._bring(project)
        labelled, there = count_labels(folder)
        # An image that a person added is none of the task's: it shall not be waited for.
        total = min(there, int(project["frames"]))
        digest = hashlib.sha256()
        for path in sorted((folder / LABELS).rglob("*.txt")):
            # An upload that is on its way has a name with a dot, and loses it any moment.
            if path.name.startswith("."):
                continue
            with suppress(FileNotFoundError):  # taken back since it was listed
                content = path.read_bytes()
                digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
        return LabelingState(total, min(labelled, total), 0, digest.hexdigest())

    def read(
        self, project: Mapping[str, Any], wanted: WantedLabels, images: Mapping[str, Path]
    ) -> LabelSet:
        """As the label files say; of an image that the task does not have, they are a fault."""
        with opened_labels(self._bring(project), "yolo") as opened:
            return read_each(opened.path, wanted, images)

    def add(self, project: Mapping[str, Any], labels: LabelSet) -> int:
        """Write the label files, their numbers as the folder counts its classes and key points.

        Where it does not name its classes, the names are put beside the labels.

        Raises:
            BadLabels: also for a class or key point that the folder does not have.
            NotFound: also if the images are gone from it.
        """
        folder = self._bring(project)
        if not (folder / IMAGES).is_dir():
            raise NotFound(
                f"The folder {project['project']}/{IMAGES} is gone from your files: 'actverse "
                "labels restore' and the task's id put it up again."
            )
        known = {path.stem for path in (folder / IMAGES).iterdir()}
        if strange := sorted(labels.frames.keys() - known):
            raise BadLabels(
                f"{len(strange)} labels belong to no image of {project['project']} "
                f"({', '.join(strange[:3])}): leave them out."
            )
        spec = counted_by(folder, labels.spec)
        texts = {}
        for stem, frame in labels.frames.items():
            objects = labelled_objects(frame.labels, labels.spec, frame.size_wh)
            counted = frame_labels(objects, spec, frame.size_wh, stem)
            texts[folder / LABELS / f"{stem}.txt"] = format_yolo_labels(counted, DECIMALS)
        (folder / LABELS).mkdir(exist_ok=True)
        # The names first: numbers alone say nothing.
        written = describe(folder, spec)
        for path, text in texts.items():
            write_text(path, text)
            written.append(path)
        for path in written:
            self._storage.keep(path)
        return len(texts)

    def _bring(self, project: Mapping[str, Any]) -> Path:
        key = str(project["project"])
        try:
            # Exact, so that a label that was taken back does not count.
            return self._storage.bring(self._place(key), exact=True)
        except NotFound as error:
            raise NotFound(f"The folder {key} is gone from your files: restore it.") from error
