"""Pre-annotation: what a served model finds in frames, as YOLO text to begin labelling from."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np

from components.analysis.label_map import LabelMap
from components.analysis.stream import AnalysisModel, detections_of
from components.detections import Detections
from components.errors import BadInput
from components.files import whole_folder
from components.images import read_image
from components.label_files import find_images
from components.steps import Progress, no_progress
from components.video.reader import Frame

_BATCH_SIZE = 8
CLASSES, ABOUT = "classes.txt", "predictions.json"
"""Beside the labels: the names of the classes, and which model found what is in them."""


def preannotate(
    frames: Path,
    target: Path,
    model: AnalysisModel,
    *,
    confidence: float,
    iou: float,
    name: str = "",
    version: int = 0,
    task: Literal["detect", "pose"] | None = None,
    names: Sequence[str] = (),
    keypoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write ``NAME.txt`` for each image of ``frames``, and what they mean; all appears whole.

    A line an object, as Ultralytics' ``save_txt`` with ``save_conf`` writes it: ``class cx cy
    w h``, for pose ``x y score`` for each key point, and the confidence; lengths are relative
    to the image. A model for detection finds no key points, so for pose too a line of six
    numbers is a box only. Where nothing was found the file is empty. Line i of ``classes.txt``
    names class i. ``predictions.json`` holds the ``model``, its ``version``, the ``confidence``
    and the names of the ``keypoints`` that the lines hold.

    The classes and key points are those of the task, see ``LabelMap``.

    Args:
        frames: the folder of images; best of one size, as a video's are.
        target: the folder to make; an older one is replaced.
        model: the served model, or any that infers like it.
        confidence: findings below it are left out.
        iou: of two findings of a class that overlap more, the better stays.
        name, version: of the model, for people.
        task, names, keypoints: what is to be labelled; what is left out, the model says.
        progress: told of frames.

    Returns:
        The numbers of ``images`` and of ``objects`` that were written; ``left_out``, the number
        of findings of each class that the task does not know; ``mapped``, the task's class for
        a class of another name. The last two only where there are any.

    Raises:
        BadLabels: if the folder is missing, or two images share a name.
        BadInput: if it holds no image, or one that cannot be read.
        NotFound, Unavailable, StepFailed: as from the model.
        StorageFull: when the disk is full.
    """
    paths = list(find_images(frames).values())
    if not paths:
        raise BadInput(f"The folder {frames} holds no image to pre-annotate: extract frames first.")
    spec = model.card.labels
    label_map = LabelMap.of(spec, task or spec.task, names, keypoints)
    images = objects = 0
    left_out: Counter[int] = Counter()
    with whole_folder(target) as beside:
        # A batch is of one size; the next group begins when the stream of the last has ended.
        for source_wh, group in groupby(_read(paths), key=_wh):
            stream = detections_of(
                group,
                model,
                source_wh=source_wh,
                confidence=confidence,
                iou=iou,
                batch_size=_BATCH_SIZE,
            )
            with stream as batches:
                for batch in batches:
                    for item in batch:
                        found = label_map.apply(item.found)
                        label = beside / f"{paths[item.index].stem}.txt"
                        label.write_text(_text(found, source_wh), encoding="utf-8")
                        objects += len(found)
                        left_out += label_map.left_out(item.found)
                    images += len(batch)
                    progress(images, len(paths))
        classes = "".join(f"{name}\n" for name in label_map.names)
        (beside / CLASSES).write_text(classes, encoding="utf-8")
        about = {
            "model": name,
            "version": version,
            "confidence": confidence,
            "keypoints": list(keypoints or spec.keypoints) if label_map.keypoints else [],
        }
        (beside / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    facts: dict[str, Any] = {"images": images, "objects": objects}
    if left_out:
        facts["left_out"] = {spec.names[i]: count for i, count in sorted(left_out.items())}
    if label_map.mapped:
        facts["mapped"] = label_map.mapped
    return facts


def _read(paths: list[Path]) -> Iterator[Frame]:
    """The images as frames, whose index is the place in ``paths``."""
    for index, path in enumerate(paths):
        yield Frame(index, 0.0, read_image(path))


def _wh(frame: Frame) -> tuple[int, int]:
    height, width = frame.bgr.shape[:2]
    return width, height


def _text(found: Detections, source_wh: tuple[int, int]) -> str:
    size = np.asarray(source_wh, np.float32)
    near, far = found.xyxy[:, :2] / size, found.xyxy[:, 2:] / size
    boxes = np.hstack([(near + far) / 2, far - near])
    points = found.keypoints.copy()
    points[..., :2] /= size
    n, count, _ = points.shape
    rows = np.hstack([boxes, points.reshape(n, 3 * count), found.scores[:, None]])
    return "".join(
        f"{class_id} {' '.join(f'{value:.6f}' for value in row)}\n"
        for class_id, row in zip(found.class_ids.tolist(), rows, strict=True)
    )
