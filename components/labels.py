"""What a model is to learn, and the labels of one image, as YOLO text holds them.

The format is Ultralytics': one line an object, ``class cx cy w h`` and for pose
``x y visible`` for each key point, all relative to the image, 0 to 1
(https://docs.ultralytics.com/datasets/pose/).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self
from unicodedata import normalize

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.errors import BadLabels


class LabelSpec(BaseModel):
    """The classes, and for pose the key points, of a user's task."""

    model_config = ConfigDict(frozen=True)

    task: Literal["detect", "pose"] = "detect"
    names: tuple[str, ...] = Field(min_length=1, description="class names; the index is the id")
    keypoints: tuple[str, ...] = Field((), description="key point names, for pose")
    flip_idx: tuple[int, ...] = Field(
        (), description="the key point that takes each one's place in a mirrored image"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"The class names {list(self.names)} repeat: give each one once.")
        if (self.task == "pose") != bool(self.keypoints):
            raise ValueError("Key points go with the task pose: name them there, and only there.")
        if self.flip_idx and sorted(self.flip_idx) != list(range(len(self.keypoints))):
            raise ValueError("flip_idx must name each key point once: give its permutation.")
        return self


def plain_name(name: str) -> str:
    """What is left of a class's or key point's name that people tell apart from others."""
    return normalize("NFC", normalize("NFC", name).strip().casefold())


@dataclass(frozen=True)
class FrameLabels:
    """The objects labelled in one image.

    Attributes:
        class_ids: (n,) int64.
        boxes_cxcywhn: (n, 4) float32, centre and size relative to the image.
        keypoints_xyvn: (n, K, 3) float32, x and y relative to the image and visibility
            0 (not labelled), 1 (hidden) or 2 (visible); K is 0 for detection.
    """

    class_ids: np.ndarray
    boxes_cxcywhn: np.ndarray
    keypoints_xyvn: np.ndarray

    def __len__(self) -> int:
        return len(self.class_ids)


def read_yolo_labels(path: Path, spec: LabelSpec) -> FrameLabels:
    """Read one YOLO label file; an empty one is a confirmed negative.

    Key points may come as ``x y`` pairs too; they then count as visible unless 0 0.

    Raises:
        BadLabels: naming file and line, for a wrong number of values, a value that is not
            a number, a class that ``spec`` does not have, or a value outside 0 to 1.
    """
    points = len(spec.keypoints)
    rows = []
    try:
        # Editors on Windows begin a text with a mark of its encoding.
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadLabels(f"The label file {path} cannot be read as text: {error}.") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if fields := line.split():
            rows.append(_parse(fields, spec, f"{path}, line {number}"))
    table = np.asarray(rows, np.float64).reshape(len(rows), 5 + 3 * points)
    return FrameLabels(
        class_ids=table[:, 0].astype(np.int64),
        boxes_cxcywhn=table[:, 1:5].astype(np.float32),
        keypoints_xyvn=table[:, 5:].reshape(len(rows), points, 3).astype(np.float32),
    )


def _parse(fields: list[str], spec: LabelSpec, where: str) -> list[float]:
    points = len(spec.keypoints)
    try:
        values = [float(field) for field in fields]
    except ValueError as error:
        raise BadLabels(f"{where}: {error}; write numbers only.") from error
    if len(values) == 5 + 2 * points and points:
        pairs = np.asarray(values[5:]).reshape(points, 2)
        visible = 2.0 * (pairs != 0).any(axis=1, keepdims=True)
        values = values[:5] + np.hstack([pairs, visible]).ravel().tolist()
    if len(values) != 5 + 3 * points:
        raise BadLabels(
            f"{where}: {len(fields)} values, but a {spec.task} label here has {5 + 3 * points}: "
            f"class, box (4){f' and {points} key points of 3' if points else ''}."
        )
    if values[0] not in range(len(spec.names)):
        raise BadLabels(
            f"{where}: class {fields[0]} is unknown; there are 0 to {len(spec.names) - 1} "
            f"({', '.join(spec.names)})."
        )
    places = np.asarray(values[1:5] + [v for i, v in enumerate(values[5:]) if i % 3 != 2])
    if not ((places >= 0) & (places <= 1)).all():
        raise BadLabels(
            f"{where}: a coordinate lies outside 0 to 1; make it relative to the image."
        )
    if min(values[3:5]) <= 0:
        raise BadLabels(f"{where}: the box has no area; give it a width and height above 0.")
    if any(v not in (0, 1, 2) for v in values[7::3]):
        raise BadLabels(f"{where}: a key point's visibility is not 0, 1 or 2.")
    return values


def format_yolo_labels(labels: FrameLabels, decimals: int = 6) -> str:
    """The text of a YOLO label file, one line an object."""
    lines = []
    for class_id, box, points in zip(
        labels.class_ids, labels.boxes_cxcywhn, labels.keypoints_xyvn, strict=True
    ):
        numbers = [f"{value:.{decimals}f}" for value in box]
        for x, y, visible in points:
            numbers += [f"{x:.{decimals}f}", f"{y:.{decimals}f}", str(int(visible))]
        lines.append(" ".join([str(int(class_id)), *numbers]))
    return "".join(f"{line}\n" for line in lines)
