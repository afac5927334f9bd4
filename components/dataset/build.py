"""From labelled images to a dataset that Ultralytics trains on."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from components.dataset.facts import DATA_YAML, FACTS, SPLIT, DatasetFacts
from components.dataset.held_out import read_held_out
from components.dataset.leak import split_leak, thumbnail
from components.dataset.pairing import LabelledImage, labelled_images
from components.dataset.pinned import split_around
from components.dataset.split import split_by_time
from components.errors import BadLabels
from components.files import link_or_copy, whole_folder
from components.labels import FrameLabels, LabelSpec, format_yolo_labels, read_yolo_labels
from components.steps import Progress, no_progress

_SPLITS = {"train": "train", "held_out": "val"}


def build_dataset(
    images: Path,
    labels: Path,
    out: Path,
    spec: LabelSpec,
    *,
    held_out: float = 0.2,
    gap: float = 0.05,
    progress: Progress = no_progress,
) -> DatasetFacts:
    """Split labelled images by blocks of time and write the dataset whole.

    ``out`` gets ``images/`` and ``labels/`` with ``train/`` and ``val/`` (the held-out block),
    ``data.yaml``, ``train_test_split.txt`` (``train``, ``gap`` or ``val``, a tab, the image's
    name; in time order) and ``dataset.json``. It can be moved: Ultralytics resolves what
    data.yaml says against the file's own folder, since it gives no ``path``.

    Where ``labels`` holds a ``held_out.txt``, as those of a later round do, the images that it
    names are the held-out block, and nothing else is; see ``components/dataset/pinned.py``.

    Args:
        images: frames of a video or other images in time order of their names; with YOLO's
            layout, the folder that holds ``images/``.
        labels: YOLO text named after the images; may be the same folder. An image without a
            file is left out, an empty file says that there is nothing in the image.
        out: the dataset's folder; an older one is replaced.
        spec: the classes and key points.
        held_out: share of the labelled images at the end that the model must never see;
            not looked at where ``held_out.txt`` names them.
        gap: share of the labelled images dropped between the two blocks.
        progress: counts images.

    Raises:
        BadLabels: for images or labels that cannot be used, or too few of them.
        BadInput: for shares that leave nothing to train on.
        StorageFull: when the disk is full.
    """
    pairs, unlabelled = labelled_images(Path(images), Path(labels))
    pinned = read_held_out(labels)
    if pinned:
        parts = split_around([pair.image.stem for pair in pairs], pinned, gap=gap)
    else:
        parts = split_by_time(len(pairs), held_out=held_out, gap=gap).parts()
    frames = [read_yolo_labels(pair.label, spec) for pair in pairs]
    if not any(map(len, frames)):
        raise BadLabels(
            f"All {len(pairs)} label files in {labels} are empty: label at least one object."
        )
    thumbnails = []
    for number, pair in enumerate(pairs, start=1):
        thumbnails.append(thumbnail(pair.image))
        progress(number, len(pairs))
    seen = np.stack(thumbnails)
    chosen = {
        name: [index for index, part in enumerate(parts) if part == folder]
        for name, folder in _SPLITS.items()
    }
    objects = {
        name: _count([frames[index] for index in indices], spec) for name, indices in chosen.items()
    }
    if not any(objects["train"].values()):
        raise BadLabels(
            f"The {len(chosen['train'])} labelled images of the training block hold no object: "
            "label some that do."
        )
    with whole_folder(out) as beside:
        facts = DatasetFacts(
            digest=_write_frames(beside, pairs, frames, parts, spec),
            spec=spec,
            train=len(chosen["train"]),
            held_out=len(chosen["held_out"]),
            dropped=parts.count("gap"),
            pinned=bool(pinned),
            unlabelled=unlabelled,
            objects=objects,
            negatives={
                name: sum(not len(frames[index]) for index in indices)
                for name, indices in chosen.items()
            },
            leak=split_leak(seen[chosen["train"]], seen[chosen["held_out"]], seen),
            warnings=_warnings(objects, between=_between(parts)),
        )
        (beside / DATA_YAML).write_text(
            yaml.safe_dump(_data_yaml(spec), sort_keys=False, allow_unicode=True), encoding="utf-8"
        )
        lines = [f"{part}\t{pair.name}\n" for part, pair in zip(parts, pairs, strict=True)]
        (beside / SPLIT).write_text("".join(lines), encoding="utf-8")
        (beside / FACTS).write_text(facts.model_dump_json(indent=2), encoding="utf-8")
    return facts


def _write_frames(
    folder: Path,
    pairs: Sequence[LabelledImage],
    frames: Sequence[FrameLabels],
    parts: Sequence[str],
    spec: LabelSpec,
) -> str:
    """Write images and labels below ``folder``; returns the digest of both."""
    entries = []
    for pair, frame, part in zip(pairs, frames, parts, strict=True):
        if part == "gap":
            continue
        image = folder / "images" / part / pair.name
        link_or_copy(pair.image, image)
        text = format_yolo_labels(frame)
        label = folder / "labels" / part / f"{pair.image.stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text, encoding="utf-8")
        with image.open("rb") as file:
            image_digest = hashlib.file_digest(file, "sha256").hexdigest()
        label_digest = hashlib.sha256(text.encode()).hexdigest()
        entries.append(f"{part}/{pair.name}\0{image_digest}\0{label_digest}\n")
    digest = hashlib.sha256(spec.model_dump_json().encode())
    for entry in sorted(entries):
        digest.update(entry.encode())
    return digest.hexdigest()


def _data_yaml(spec: LabelSpec) -> dict[str, Any]:
    """https://docs.ultralytics.com/datasets/pose/#dataset-yaml"""
    data: dict[str, Any] = {
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(spec.names)),
    }
    if spec.task == "pose":
        data["kpt_shape"] = [len(spec.keypoints), 3]
        data["kpt_names"] = {index: list(spec.keypoints) for index in range(len(spec.names))}
        if spec.flip_idx:
            data["flip_idx"] = list(spec.flip_idx)
    return data


def _count(frames: Sequence[FrameLabels], spec: LabelSpec) -> dict[str, int]:
    counts = Counter(int(class_id) for frame in frames for class_id in frame.class_ids)
    return {name: counts[index] for index, name in enumerate(spec.names)}


def _between(parts: Sequence[str]) -> int:
    """How many images in neither block lie between the held-out ones."""
    held_out = [place for place, part in enumerate(parts) if part == "val"]
    return list(parts[held_out[0] : held_out[-1]]).count("gap")


def _warnings(objects: dict[str, dict[str, int]], *, between: int) -> tuple[str, ...]:
    untaught = [name for name, count in objects["train"].items() if not count]
    untested = [name for name, count in objects["held_out"].items() if not count]
    said = []
    if untaught:
        said.append(
            f"The training block holds no {', '.join(untaught)}: the model cannot learn it."
        )
    if untested:
        said.append(
            f"The held-out block holds no {', '.join(untested)}: the metrics say nothing of it."
        )
    if between:
        said.append(
            f"{between} labelled images lie between the held-out ones of the earlier round: they "
            "are used for nothing, so label elsewhere."
        )
    return tuple(said)
