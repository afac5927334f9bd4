"""Labelled objects by name and in pixels, as tools write them, to YOLO's numbers and back.

Every format is read and written through here, so that each checks the same things in the
same words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from unicodedata import normalize

import numpy as np

from components.errors import BadLabels
from components.labels import FrameLabels, LabelSpec, plain_name

HULL_MARGIN = 0.1
"""Of the hull's longer side, added all around where a box is made from key points."""

_SLACK_PX = 0.5  # what tools' rounding puts outside the image


@dataclass(frozen=True)
class LabelledObject:
    """One object of an image.

    Attributes:
        name: its class.
        xyxy: its box in the image's pixels, left, top, right, bottom; None: the hull of its
            key points and a margin.
        keypoints: by name: x and y in pixels and visibility, 1 (hidden) or 2 (visible);
            what is missing is not labelled.
    """

    name: str
    xyxy: tuple[float, float, float, float] | None
    keypoints: Mapping[str, tuple[float, float, int]] = field(default_factory=dict)


def frame_labels(
    objects: Sequence[LabelledObject], spec: LabelSpec, size_wh: tuple[int, int], where: str
) -> FrameLabels:
    """The labels of one image, checked.

    What lies up to half a pixel outside the image is moved to its edge. For detection the
    key points are left out, once they gave a box where there is none.

    Args:
        size_wh: of the image, pixels.
        where: names the image, for the errors: ``frame_000120 in labels.json``.

    Raises:
        BadLabels: for a class or key point that ``spec`` does not have, also where only
            the case or the Unicode form differs; a box or point outside the image; a box of
            no area; an object with neither box nor points.
    """
    size = np.asarray(size_wh, np.float64)
    if (size <= 0).any():
        raise BadLabels(f"{where}: the size {size_wh[0]} x {size_wh[1]} is none of an image.")
    count = len(spec.keypoints)
    boxes = np.zeros((len(objects), 4))
    points = np.zeros((len(objects), count, 3))
    class_ids = np.zeros(len(objects), np.int64)
    for row, item in enumerate(objects):
        class_ids[row] = _index(item.name, spec.names, "class", where)
        if spec.task == "pose":
            for name, (x, y, visible) in item.keypoints.items():
                column = _index(name, spec.keypoints, "key point", where)
                x, y = _inside(np.asarray([x, y]), size, f"{where}: the key point {name}")
                points[row, column] = x, y, visible
        corners = item.xyxy if item.xyxy is not None else _hull(item, size, where)
        near, far = np.asarray(corners[:2], np.float64), np.asarray(corners[2:], np.float64)
        near, far = (_inside(c, size, f"{where}: a box of {item.name}") for c in (near, far))
        if (far - near <= 0).any():
            raise BadLabels(f"{where}: a box of {item.name} has no area; draw it anew.")
        boxes[row] = np.concatenate([(near + far) / 2 / size, (far - near) / size])
    points[..., :2] /= size
    return FrameLabels(class_ids, boxes.astype(np.float32), points.astype(np.float32))


def labelled_objects(
    labels: FrameLabels, spec: LabelSpec, size_wh: tuple[int, int]
) -> list[LabelledObject]:
    """The objects of one image, in its pixels; the reverse of ``frame_labels``."""
    size = np.asarray(size_wh, np.float64)
    found = []
    for class_id, box, points in zip(
        labels.class_ids, labels.boxes_cxcywhn, labels.keypoints_xyvn, strict=True
    ):
        centre, extent = np.split(box.astype(np.float64), 2)
        near, far = (centre - extent / 2) * size, (centre + extent / 2) * size
        found.append(
            LabelledObject(
                spec.names[class_id],
                (float(near[0]), float(near[1]), float(far[0]), float(far[1])),
                {
                    name: (float(x * size[0]), float(y * size[1]), int(visible))
                    for name, (x, y, visible) in zip(spec.keypoints, points, strict=True)
                    if visible
                },
            )
        )
    return found


def _index(name: str, names: Sequence[str], what: str, where: str) -> int:
    if name in names:
        return names.index(name)
    if alike := [known for known in names if plain_name(known) == plain_name(name)]:
        unseen = normalize("NFC", alike[0]) == normalize("NFC", name)
        raise BadLabels(
            f"{where}: the {what} {name!r} is written {alike[0]!r} in the task"
            f"{', in other Unicode characters that look the same' if unseen else ''}; write both "
            "alike."
        )
    raise BadLabels(
        f"{where}: the {what} {name!r} is none of the task's ({', '.join(names)}); rename it, or "
        "name it in the task."
    )


def _inside(place: np.ndarray, size: np.ndarray, what: str) -> np.ndarray:
    if (
        not np.isfinite(place).all()
        or (place < -_SLACK_PX).any()
        or (place > size + _SLACK_PX).any()
    ):
        raise BadLabels(
            f"{what} lies at {place[0]:g}, {place[1]:g}, outside the image of {size[0]:g} x "
            f"{size[1]:g}; move it inside."
        )
    return np.clip(place, 0, size)


def _hull(item: LabelledObject, size: np.ndarray, where: str) -> np.ndarray:
    labelled = [
        _inside(np.asarray([x, y]), size, f"{where}: the key point {name}")
        for name, (x, y, _) in item.keypoints.items()
    ]
    if not labelled:
        raise BadLabels(f"{where}: an object has neither a box nor key points; draw its box.")
    near, far = np.min(labelled, axis=0), np.max(labelled, axis=0)
    # One point alone has a hull of no extent.
    margin = max(HULL_MARGIN * (far - near).max(), 1.0)
    return np.concatenate([np.maximum(near - margin, 0), np.minimum(far + margin, size)])
