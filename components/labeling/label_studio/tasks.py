"""A frame, and what a model found in it, as a task for Label Studio to import."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.errors import BadLabels
from components.labeling.label_studio.results import result_of
from components.labeling.objects import LabelledObject
from components.labels import LabelSpec

ANY_MODEL = "model"
"""The model version of predictions whose model nobody names."""

POINT_SCORE = 0.25
"""Key points of a lower score are left for people to set."""


@dataclass(frozen=True)
class Finding:
    """An object that a model found.

    Attributes:
        object: as it is to be labelled, with the points that it is sure of.
        score: from 0 to 1.
    """

    object: LabelledObject
    score: float


def import_task(
    image: str,
    stem: str,
    size_wh: tuple[int, int],
    found: Sequence[Finding] = (),
    model: str = "",
) -> dict[str, Any]:
    """The task of one frame.

    Where the model found nothing there is no prediction: people begin with the bare image.

    Args:
        image: where Label Studio finds it.
        stem: the frame's name; the task is known by it.
        size_wh: of the image, pixels.
        found: by the model.
        model: its name and version.
    """
    width, height = size_wh
    data = {"image": image, "frame": stem, "width": width, "height": height}
    if not found:
        return {"data": data}
    scores = [one.score for one in found]
    prediction = {
        "model_version": model or ANY_MODEL,
        "score": sum(scores) / len(scores),
        "result": result_of([one.object for one in found], size_wh, scores),
    }
    return {"data": data, "predictions": [prediction]}


def read_findings(
    path: Path, classes: Sequence[str], spec: LabelSpec, size_wh: tuple[int, int]
) -> list[Finding]:
    """What ``components/analysis/preannotate.py`` wrote of one frame, in the task's words.

    A class that the task does not have by now is left out. Key points have no names there:
    they count by their place, if their number is the task's.

    Args:
        classes: the lines of its ``classes.txt``.

    Raises:
        BadLabels: naming the line that cannot be read.
    """
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadLabels(f"The pre-annotation {path} cannot be read as text: {error}.") from error
    for number, line in enumerate(lines, start=1):
        try:
            class_id, *rest = line.split()
            values = np.asarray(rest, np.float64)
            name = _named(int(class_id), classes)
            centre, extent = values[:2], values[2:4]
            points = values[4:-1].reshape(-1, 3)
            corners = np.clip(np.concatenate([centre - extent / 2, centre + extent / 2]), 0, 1)
            if not np.isfinite(values).all() or len(values) < 5:
                raise ValueError("a number is missing")
        except (ValueError, IndexError) as error:
            raise BadLabels(
                f"{path}, line {number} is no pre-annotation ({error}): make them anew."
            ) from error
        if name not in spec.names or (corners[2:] <= corners[:2]).any():
            continue
        left, top, right, bottom = (corners * [*size_wh, *size_wh]).tolist()
        keypoints = {}
        if spec.task == "pose" and len(points) == len(spec.keypoints):
            keypoints = {
                point: (float(x * size_wh[0]), float(y * size_wh[1]), 2)
                for point, (x, y, score) in zip(spec.keypoints, points, strict=True)
                if score >= POINT_SCORE and 0 <= x <= 1 and 0 <= y <= 1
            }
        item = LabelledObject(name, (left, top, right, bottom), keypoints)
        found.append(Finding(item, float(np.clip(values[-1], 0, 1))))
    return found


def _named(class_id: int, classes: Sequence[str]) -> str:
    if not 0 <= class_id < len(classes):
        raise ValueError(f"the class {class_id} is not in classes.txt")
    return classes[class_id]
