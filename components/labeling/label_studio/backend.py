"""Labelling in Label Studio: a project for each task, its labels read from the annotations."""

import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from components.errors import ActverseError, BadInput, BadLabels, NotFound
from components.label_files import find_images
from components.labeling.backend import LabelingBackend, LabelingState, ProjectPlan
from components.labeling.image_files import image_size
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.label_studio.annotations import counting, labels_of, skipped
from components.labeling.label_studio.api import LabelStudioApi
from components.labeling.label_studio.label_config import label_config, names_of
from components.labeling.label_studio.results import result_of
from components.labeling.label_studio.tasks import ANY_MODEL, import_task, read_findings
from components.labeling.objects import labelled_objects
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec
from components.settings import Settings
from components.steps import Progress, no_progress
from components.storage import Storage

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

_log = logging.getLogger(__name__)

_TITLE = 50  # characters, Label Studio's own limit
_AT_ONCE = 100  # tasks in one request
_LINK_MINUTES = 60
_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
_STORAGE = "actverse frames"
# A storage is there to serve the images. Synchronized by hand it would make every image a
# second task, so it is to find none.
_NO_FILE = "^$"
_INSTRUCTION = (
    "Correct the boxes that are drawn, draw those that are missing, and submit. Submit an "
    "image without a box if there is nothing in it. Skip an image that is not to count."
)


class LabelStudioBackend(LabelingBackend):
    """A project in the Label Studio of ``settings.label_studio_url``.

    It shows the images out of the storage: as local files below its document root, which is
    to be the storage's root, or out of S3 by links that Label Studio signs with the
    credentials of its own environment.

    Args:
        hook_url: where Label Studio may tell of changes; empty: nowhere.
        hook_token: the bearer token that it shows there.
    """

    name = "label-studio"

    def __init__(
        self, settings: Settings, storage: Storage, *, hook_url: str = "", hook_token: str = ""
    ) -> None:
        self._settings, self._storage = settings, storage
        self._hook_url, self._hook_token = hook_url, hook_token
        self._api = LabelStudioApi(
            settings.label_studio_url, settings.label_studio_token.get_secret_value()
        )
        self._public = (settings.label_studio_public_url or self._api.url).rstrip("/")

    def open(self, plan: ProjectPlan, progress: Progress = no_progress) -> dict[str, Any]:
        """Make the project and its tasks; what is there already stays as it is.

        Label Studio's titles have at most 50 characters: a longer one loses the end of the
        project's name and keeps the task's id. A project that lacks a class or key point
        that is wanted now is given the new configuration.

        Raises:
            BadLabels: if nobody names the classes, or the key points for pose; for images
                or pre-annotations that cannot be read.
            BadInput: if there is no image, or Label Studio refuses what it is given.
        """
        images = find_images(plan.frames)
        if not images:
            raise BadInput(f"The folder {plan.frames} holds no image: extract frames first.")
        classes = _lines(plan.preannotations / "classes.txt")
        spec = plan.wanted.resolve(f"the project {plan.title}", tuple(classes))
        title = project_title(plan.title, plan.task_id)
        project = self._project(title, spec)
        self._cover(project, plan.frames)
        there = {_stem(task) for task in self._api.tasks(project, "id,data")}
        missing = iter([stem for stem in images if stem not in there])
        done = len(images.keys() & there)
        while batch := list(islice(missing, _AT_ONCE)):
            tasks = [self._task(images[stem], plan, classes, spec) for stem in batch]
            with self._api.asking(f"the images of {title}") as sdk:
                sdk.projects.import_tasks(id=project, request=tasks)  # type: ignore[arg-type]
            done += len(batch)
            progress(done, len(images))
        self._show_predictions(project, plan.model)
        self._register_hook(project)
        return {
            "tool": self.name,
            "project": str(project),
            "url": f"{self._public}/projects/{project}/data",
            "frames": len(images),
            "title": title,
        }

    def state(self, project: Mapping[str, Any]) -> LabelingState:
        """By the annotations themselves, one request for each thousand tasks.

        A task's own counters will not do: seen in version 1.23, they may stay at 0 after an
        annotation was made. An image with an annotation counts as labelled, whoever else
        skipped it.
        """
        total = labelled = passed = 0
        mark = hashlib.sha256()
        fields = "id,updated_at,annotations,was_cancelled"
        for task in self._api.tasks(_number(project), fields, annotations=True):
            found = sorted(
                (one["id"], one["updated_at"], one["was_cancelled"]) for one in task["annotations"]
            )
            made = any(not cancelled for _, _, cancelled in found)
            total += 1
            labelled += made
            passed += bool(found) and not made
            mark.update(f"{task['id']} {task['updated_at']} {found}\n".encode())
        return LabelingState(total, labelled, passed, mark.hexdigest())

    def read(
        self, project: Mapping[str, Any], wanted: WantedLabels, images: Mapping[str, Path]
    ) -> LabelSet:
        """See ``annotations.py`` for which annotation counts, and whose a key point is."""
        number = _number(project)
        names, keypoints = names_of(self._config(number))
        spec = wanted.resolve(f"Label Studio's project {number}", names, keypoints)
        frames: dict[str, LabelledFrame] = {}
        passed: set[str] = set()
        faults: dict[str, str] = {}
        for stem, tasks in self._annotated(number).items():
            where = f"{stem} (Label Studio's task {tasks[0]['id']})"
            annotations = [one for task in tasks for one in task["annotations"]]
            annotation = counting(annotations)
            if stem not in images:
                if annotation:
                    faults[stem] = f"{where}: there is no such image; leave it out of the project."
            elif annotation is None:
                passed |= {stem} if skipped(annotations) else set()
            else:
                try:
                    size = image_size(images[stem])
                    labels = labels_of(annotation, spec, size, where)
                except BadLabels as error:
                    faults[stem] = str(error)
                else:
                    frames[stem] = LabelledFrame(images[stem].name, size, labels)
        return LabelSet(spec, frames, frozenset(passed), faults)

    def add(self, project: Mapping[str, Any], labels: LabelSet) -> int:
        """Make an annotation for each image, and cancelled ones for what was skipped.

        Raises:
            BadLabels: also for a class or key point that the project does not have.
        """
        number = _number(project)
        tasks = self._annotated(number)
        if strange := sorted(labels.frames.keys() - tasks.keys()):
            raise BadLabels(
                f"{len(strange)} labels belong to no image of Label Studio's project {number} "
                f"({', '.join(strange[:3])}): leave them out."
            )
        _check_names(labels, self._config(number), number)
        for stem, frame in labels.frames.items():
            objects = labelled_objects(frame.labels, labels.spec, frame.size_wh)
            self._annotate(tasks[stem], result_of(objects, frame.size_wh), cancelled=False)
        for stem in sorted(labels.skipped & tasks.keys()):
            self._annotate(tasks[stem], [], cancelled=True)
        return len(labels.frames)

    def _project(self, title: str, spec: LabelSpec) -> int:
        """The id of the project of this title, which is made if there is none."""
        config = label_config(spec.names, spec.keypoints)
        found = self._titled(title)
        if not found:
            with self._api.asking(f"the project {title}") as sdk:
                made = sdk.projects.create(
                    title=title,
                    label_config=config,
                    expert_instruction=_INSTRUCTION,
                    show_instruction=False,
                    show_skip_button=True,
                    enable_empty_annotation=True,
                    maximum_annotations=1,
                    show_collab_predictions=True,
                )
            # Where two made it at once, both go on with the older one.
            found = self._titled(title)
            if made.id != min(found):
                with self._api.asking(f"the project {title}") as sdk:
                    sdk.projects.delete(made.id)  # type: ignore[arg-type]
            return min(found)
        number = min(found)
        names, keypoints = names_of(self._config(number))
        if not (set(spec.names) <= set(names) and set(spec.keypoints) <= set(keypoints)):
            with self._api.asking(f"the new labels of {title}") as sdk:
                sdk.projects.update(number, label_config=config)
        return number

    def _titled(self, title: str) -> list[int]:
        found: list[int] = []
        page, left = 1, True
        while left:
            with self._api.asking(f"the project {title}") as sdk:
                pager: Any = sdk.projects.list(
                    title=title, include="id,title", page=page, page_size=_AT_ONCE
                )
                # The filter looks for a part of the title.
                found += [one.id for one in pager.items or () if one.title == title and one.id]
                left = pager.response.count > page * _AT_ONCE
            page += 1
        return found

    def _config(self, project: int) -> str:
        with self._api.asking(f"the project {project}") as sdk:
            return sdk.projects.get(project).label_config or ""

    def _cover(self, project: int, frames: Path) -> None:
        """Give the project a storage that serves the folder of images."""
        with self._api.asking(f"the folder {frames.name} as a storage") as sdk:
            if bucket := self._bucket:
                kept = sdk.import_storage.s3.list(project=project)
                prefix = self._s3_name(frames)
                if not any((one.bucket, one.prefix) == (bucket, prefix) for one in kept):
                    self._cover_s3(sdk, project, bucket, prefix)
            elif not any(
                one.path == str(frames) for one in sdk.import_storage.local.list(project=project)
            ):
                sdk.import_storage.local.create(
                    project=project,
                    title=_STORAGE,
                    path=str(frames),
                    regex_filter=_NO_FILE,
                    use_blob_urls=True,
                )

    def _cover_s3(self, sdk: "LabelStudio", project: int, bucket: str, prefix: str) -> None:
        endpoint = self._settings.s3_endpoint
        sdk.import_storage.s3.create(
            project=project,
            title=_STORAGE,
            bucket=bucket,
            prefix=prefix,
            regex_filter=_NO_FILE,
            use_blob_urls=True,
            presign=True,
            presign_ttl=_LINK_MINUTES,
            region_name=self._settings.s3_region,
            **({"s3endpoint": endpoint} if endpoint else {}),
        )

    @property
    def _bucket(self) -> str:
        """Of an S3 storage; empty for a folder."""
        root = self._settings.root
        return root.removeprefix("s3://").partition("/")[0] if root.startswith("s3://") else ""

    def _s3_name(self, path: Path) -> str:
        """The name of a local path's object in the bucket."""
        prefix = self._settings.root.removeprefix("s3://").partition("/")[2].strip("/")
        key = self._storage.key_of(path)
        return f"{prefix}/{key}" if prefix else key

    def _task(
        self, image: Path, plan: ProjectPlan, classes: list[str], spec: LabelSpec
    ) -> dict[str, Any]:
        size = image_size(image)
        path = plan.preannotations / f"{image.stem}.txt"
        found = read_findings(path, classes, spec, size) if path.is_file() else []
        if bucket := self._bucket:
            url = f"s3://{bucket}/{self._s3_name(image)}"
        else:
            url = f"/data/local-files/?d={quote(self._storage.key_of(image))}"
        return import_task(url, image.stem, size, found, plan.model)

    def _show_predictions(self, project: int, model: str) -> None:
        """Let people begin with what this model found, if it found anything."""
        version = model or ANY_MODEL
        with self._api.asking(f"the project {project}") as sdk:
            known = sdk.projects.get(project)
        if known.total_predictions_number and known.model_version != version:
            # Refused where none is of this version: those of an earlier one stay shown.
            with suppress(BadInput), self._api.asking(f"the predictions of {version}") as sdk:
                sdk.projects.update(project, model_version=version)

    def _register_hook(self, project: int) -> None:
        """A hint at best: the labels are looked at again and again, with it or without."""
        if not self._hook_url:
            return
        headers = {"Authorization": f"Bearer {self._hook_token}"}
        try:
            with self._api.asking("the webhook") as sdk:
                for hook in sdk.webhooks.list(project=str(project)):
                    if hook.url == self._hook_url:
                        if hook.headers == headers and hook.is_active:
                            return
                        sdk.webhooks.delete(hook.id)  # type: ignore[arg-type]
                sdk.webhooks.create(
                    url=self._hook_url,
                    project=project,
                    headers=headers,
                    actions=list(_EVENTS),
                    send_for_all_actions=False,
                    # It names the project.
                    send_payload=True,
                )
        except ActverseError as error:
            _log.warning("Label Studio's project %s has no webhook: %s", project, error)

    def _annotated(self, project: int) -> dict[str, list[dict[str, Any]]]:
        """The tasks with their annotations, by the image's stem."""
        fields = "id,data,annotations,result,was_cancelled,ground_truth,updated_at"
        found: dict[str, list[dict[str, Any]]] = {}
        for task in self._api.tasks(project, fields, annotations=True):
            found.setdefault(_stem(task), []).append(task)
        return found

    def _annotate(
        self, tasks: list[dict[str, Any]], result: list[dict[str, Any]], *, cancelled: bool
    ) -> None:
        """Replace the annotations of one image."""
        first = tasks[0]["id"]
        with self._api.asking(f"labels of the task {first}") as sdk:
            sdk.annotations.create(first, result=result, was_cancelled=cancelled)
            # The new one first: stopped in between, it counts as the latest.
            for old in (one for task in tasks for one in task["annotations"]):
                sdk.annotations.delete(old["id"])


def project_title(title: str, task_id: str) -> str:
    """The title that a project has in Label Studio, of at most 50 characters.

    Args:
        title: ``[project name]-[task id]``.
        task_id: kept whole; of one too long for that, a digest of the title.
    """
    if len(title) <= _TITLE:
        return title
    end = f"-{task_id}"
    if not title.endswith(end) or len(end) > _TITLE - 2:
        end = f"-{hashlib.sha256(title.encode()).hexdigest()[:16]}"
    return f"{title[: _TITLE - len(end)].rstrip()}{end}"


def _number(project: Mapping[str, Any]) -> int:
    try:
        return int(project["project"])
    except (KeyError, ValueError) as error:
        raise NotFound(
            f"{project.get('project')!r} is no project of Label Studio: open the labelling again."
        ) from error


def _stem(task: Mapping[str, Any]) -> str:
    data = task["data"]
    return str(data.get("frame") or Path(str(data.get("image", ""))).stem)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _check_names(labels: LabelSet, config: str, project: int) -> None:
    names, keypoints = names_of(config)
    used = {name for name, count in labels.objects.items() if count}
    missing = sorted(used - set(names)) + sorted(set(labels.spec.keypoints) - set(keypoints))
    if missing:
        raise BadLabels(
            f"Label Studio's project {project} does not have {', '.join(missing)}: add them to its "
            "labelling configuration."
        )
