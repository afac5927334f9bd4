"""Labels that come as a folder: YOLO text, with images or named after extracted frames."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from components.errors import BadLabels
from components.files import link_or_copy, whole_folder
from components.label_files import find_images, find_labels
from components.labels import LabelSpec, read_yolo_labels
from components.steps import Progress, no_progress


@dataclass(frozen=True)
class LabelFolder:
    """What a folder of labels holds.

    Attributes:
        path: the folder.
        labels: label files by stem.
        images: image files by stem; empty when the labels are named after frames.
        names: class names from its ``data.yaml`` or ``classes.txt``, empty if neither is there.
        keypoints: number of key points from its ``data.yaml``, 0 if it names none.
        flip_idx, keypoint_names: from its ``data.yaml``.
    """

    path: Path
    labels: dict[str, Path]
    images: dict[str, Path]
    names: tuple[str, ...] = ()
    keypoints: int = 0
    flip_idx: tuple[int, ...] = ()
    keypoint_names: tuple[str, ...] = ()

    def frames_needed(self) -> list[str]:
        """The names of the extracted frames that the labels belong to; none if images came."""
        return [] if self.images else sorted(self.labels)


def scan_label_folder(folder: Path) -> LabelFolder:
    """Look through a folder and its subfolders for label files and images.

    Raises:
        BadLabels: if the folder is missing, holds no label file, or two files of one kind
            share a name.
    """
    if not folder.is_dir():
        raise BadLabels(f"There is no label folder at {folder}: give one that exists.")
    images = find_images(folder)
    labels = find_labels(folder, images)
    if not labels:
        raise BadLabels(
            f"The folder {folder} holds no label file: put one YOLO .txt for each image in it."
        )
    return LabelFolder(folder, labels, images, **_described(folder))


def _described(folder: Path) -> dict[str, Any]:
    data_yaml = folder / "data.yaml"
    if data_yaml.is_file():
        try:
            data = yaml.safe_load(data_yaml.read_text(encoding="utf-8")) or {}
            names = data.get("names", ())
            if isinstance(names, dict):
                names = [names[key] for key in sorted(names)]
            return {
                "names": tuple(str(name) for name in names),
                "keypoints": int((data.get("kpt_shape") or [0])[0]),
                "flip_idx": tuple(int(index) for index in data.get("flip_idx") or ()),
                "keypoint_names": tuple(_keypoint_names(data.get("kpt_names"))),
            }
        except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
            raise BadLabels(
                f"{data_yaml} cannot be read as a YOLO data set's description: {error}."
            ) from error
    classes = folder / "classes.txt"
    if classes.is_file():
        lines = classes.read_text(encoding="utf-8").splitlines()
        return {"names": tuple(line.strip() for line in lines if line.strip())}
    return {}


def _keypoint_names(value: Any) -> list[str]:
    """Ultralytics' ``kpt_names``: a list for each class; the first class's counts."""
    if isinstance(value, dict) and value:
        value = value[min(value)]
    return [str(name) for name in value] if isinstance(value, list) else []


def resolve_spec(
    folder: LabelFolder,
    *,
    task: Literal["detect", "pose"],
    names: tuple[str, ...] = (),
    keypoints: tuple[str, ...] = (),
    flip_idx: tuple[int, ...] = (),
) -> LabelSpec:
    """What the model is to learn: as asked for, the gaps filled from the folder's own words.

    Raises:
        BadLabels: if nobody names the classes or, for pose, the key points, or if what
            was named does not fit together.
    """
    names = names or folder.names
    if not names:
        raise BadLabels(
            f"Nobody names the classes of {folder.path}: give --names, or put a classes.txt "
            "or data.yaml into it."
        )
    if task == "pose":
        keypoints = (
            keypoints
            or folder.keypoint_names
            or tuple(f"point_{number}" for number in range(folder.keypoints))
        )
        flip_idx = flip_idx or folder.flip_idx
        if not keypoints:
            raise BadLabels(
                f"Nobody names the key points of {folder.path}: give --keypoints, or put a "
                "data.yaml with kpt_shape into it."
            )
    try:
        return LabelSpec(task=task, names=names, keypoints=keypoints, flip_idx=flip_idx)
    except ValueError as error:
        reason = re.sub(r"^Value error, ", "", error.errors()[0]["msg"])  # type: ignore[attr-defined]
        raise BadLabels(reason) from error


def import_labels(
    folder: LabelFolder,
    target: Path,
    frames: Path,
    spec: LabelSpec,
    progress: Progress = no_progress,
) -> dict[str, int]:
    """Check every label and bring labels and images to ``target``, which appears whole.

    Args:
        folder: what ``scan_label_folder`` found.
        target: gets ``NAME.txt``, and ``images/NAME.jpg`` where images were given.
        frames: the extracted frames, for labels without an image of their own.
        spec: what the model is to learn.

    Returns:
        The numbers of ``images`` and ``objects``, and of objects by class name.

    Raises:
        BadLabels: for a label whose image or frame does not exist, all that
            ``read_yolo_labels`` refuses, and labels without a single object.
    """
    available = folder.images or find_images(frames)
    if missing := sorted(folder.labels.keys() - available.keys()):
        some = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise BadLabels(
            f"{len(missing)} of {len(folder.labels)} label files belong to no image or frame "
            f"({some}): name each after its image, or after an extracted frame."
        )
    counts = dict.fromkeys(spec.names, 0)
    with whole_folder(target) as beside:
        for done, (stem, path) in enumerate(sorted(folder.labels.items()), start=1):
            for class_id in read_yolo_labels(path, spec).class_ids:
                counts[spec.names[class_id]] += 1
            link_or_copy(path, beside / f"{stem}.txt")
            if image := folder.images.get(stem):
                link_or_copy(image, beside / "images" / image.name)
            progress(done, len(folder.labels))
        if not any(counts.values()):
            raise BadLabels(
                f"The {len(folder.labels)} label files of {folder.path} hold no object at all: "
                "label some first."
            )
    return {"images": len(folder.labels), "objects": sum(counts.values()), **counts}
