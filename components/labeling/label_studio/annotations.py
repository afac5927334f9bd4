"""Label Studio's JSON annotations of one image, as labels.

Which annotation counts, where there are several: of those that were submitted and not
cancelled, one marked as ground truth before the others, then the one updated last, then the
greater id; whoever made it. Predictions and drafts never count. An annotation without a
region confirms that there is nothing in the image. An image whose annotations were all
cancelled is skipped.

Which object a key point belongs to: the box that it names as its parent; else the smallest
box around it that has no point of that name yet; else, for a point that lies in no box, the
nearest such box. Where there is no box at all, the points are those of one object, of the
one class that there is.

A rectangle that was turned counts as the upright box around it, cut at the image's edge.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from components.errors import BadLabels
from components.labeling.label_studio.label_config import HIDDEN
from components.labeling.objects import LabelledObject, frame_labels
from components.labels import FrameLabels, LabelSpec

_NAMED_BY = ("rectanglelabels", "keypointlabels", "labels")
_PLACES = ("rectanglelabels", "keypointlabels", "rectangle", "keypoint", "labels")
# They say something of the image or of a region, but are no region.
_REMARKS = ("choices", "textarea", "rating", "number", "datetime", "relation", "taxonomy")
_FIRST = datetime.min.replace(tzinfo=UTC)


def counting(annotations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The annotation that counts; None if none does."""
    submitted = [one for one in annotations if not one.get("was_cancelled")]
    return max(
        submitted,
        key=lambda one: (bool(one.get("ground_truth")), _updated(one), _id(one)),
        default=None,
    )


def skipped(annotations: Sequence[Mapping[str, Any]]) -> bool:
    """Whether people chose not to label the image."""
    return bool(annotations) and all(one.get("was_cancelled") for one in annotations)


def _updated(annotation: Mapping[str, Any]) -> datetime:
    try:
        found = datetime.fromisoformat(str(annotation.get("updated_at")))
    except ValueError:
        return _FIRST
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _id(annotation: Mapping[str, Any]) -> int:
    found = annotation.get("id")
    return found if isinstance(found, int) else 0


def labels_of(
    annotation: Mapping[str, Any], spec: LabelSpec, size_wh: tuple[int, int], where: str
) -> FrameLabels:
    """The labels that an annotation holds.

    Args:
        size_wh: of the image, pixels.
        where: names the image, for the errors.

    Raises:
        BadLabels: for all that ``frame_labels`` refuses; a region that is neither box nor
            key point, or has no label or two; a key point whose object is not clear.
    """
    result = annotation.get("result") or []
    return frame_labels(_objects(result, spec, size_wh, where), spec, size_wh, where)


@dataclass
class _Box:
    name: str
    xyxy: tuple[float, float, float, float]
    points: dict[str, tuple[float, float, int]] = field(default_factory=dict)

    @property
    def area(self) -> float:
        left, top, right, bottom = self.xyxy
        return (right - left) * (bottom - top)

    def distance(self, x: float, y: float) -> float:
        """Of a point to the box, pixels; 0 within."""
        left, top, right, bottom = self.xyxy
        return math.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom))


@dataclass(frozen=True)
class _Point:
    name: str
    x: float
    y: float
    visible: int
    parent: str


def _objects(
    result: Any, spec: LabelSpec, size_wh: tuple[int, int], where: str
) -> list[LabelledObject]:
    try:
        boxes, points = _regions(result, size_wh, where)
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise BadLabels(
            f"{where}: a region is not as Label Studio writes it ({error!r}); draw it anew."
        ) from error
    if spec.task == "detect" and boxes:
        points = []
    if points and not boxes:
        return [_one_object(points, spec, where)]
    # Those that say where they belong come first: the others take what is left.
    for point in sorted(points, key=lambda one: one.parent not in boxes):
        box = boxes.get(point.parent) or _box_of(point, list(boxes.values()), where)
        if point.name in box.points:
            raise BadLabels(
                f"{where}: one {box.name} has two key points {point.name}; delete one of them."
            )
        box.points[point.name] = point.x, point.y, point.visible
    return [LabelledObject(box.name, box.xyxy, box.points) for box in boxes.values()]


def _one_object(points: Sequence[_Point], spec: LabelSpec, where: str) -> LabelledObject:
    if len({point.name for point in points}) < len(points):
        raise BadLabels(
            f"{where}: there are key points of several objects and no box; draw their boxes."
        )
    if len(spec.names) > 1:
        raise BadLabels(
            f"{where}: there are key points and no box that says of what "
            f"({', '.join(spec.names)}); draw it."
        )
    named = {point.name: (point.x, point.y, point.visible) for point in points}
    return LabelledObject(spec.names[0], None, named)


def _box_of(point: _Point, boxes: Sequence[_Box], where: str) -> _Box:
    around = [box for box in boxes if box.distance(point.x, point.y) == 0]
    free = [box for box in around or boxes if point.name not in box.points]
    if not free:
        raise BadLabels(
            f"{where}: there is one key point {point.name} more than there are boxes for it; "
            "delete it, or draw the box."
        )
    if around:
        order = sorted(free, key=lambda box: box.area)
        clear = len(order) == 1 or order[0].area < order[1].area
    else:
        order = sorted(free, key=lambda box: box.distance(point.x, point.y))
        distances = [box.distance(point.x, point.y) for box in order]
        clear = len(order) == 1 or distances[0] < distances[1]
    if not clear:
        raise BadLabels(
            f"{where}: the key point {point.name} may belong to two boxes; drag it onto its own "
            "in the list of regions."
        )
    return order[0]


def _regions(
    result: Sequence[Mapping[str, Any]], size_wh: tuple[int, int], where: str
) -> tuple[dict[str, _Box], list[_Point]]:
    """The boxes by their regions' ids, and the key points."""
    regions: dict[str, dict[str, Any]] = {}
    hidden = set()
    for number, item in enumerate(result):
        kind = str(item["type"])
        known_as = str(item.get("id") or number)
        if kind == "choices" and HIDDEN in item["value"]["choices"]:
            hidden.add(known_as)
        if kind in _REMARKS:
            continue
        if kind not in _PLACES:
            raise BadLabels(
                f"{where}: a region is of the kind {kind}, neither box nor key point; draw it anew."
            )
        if float(item.get("image_rotation") or 0) % 360:
            raise BadLabels(f"{where}: the image was turned; turn it back and label it again.")
        # A region with a label of its own has an item for each, of the same id.
        region = regions.setdefault(known_as, {"labels": [], "parent": "", "value": {}})
        region["value"] |= item["value"]
        region["parent"] = str(item.get("parentID") or region["parent"])
        for key in _NAMED_BY:
            if kind == key:
                region["labels"] += item["value"].get(key) or []
    boxes, points = {}, []
    for known_as, region in regions.items():
        value, labels = region["value"], region["labels"]
        what = "box" if "height" in value else "key point"
        if len(labels) != 1:
            said = f"several labels ({', '.join(map(str, labels))})" if labels else "no label"
            raise BadLabels(f"{where}: a {what} has {said}; give it one.")
        x, y = float(value["x"]) / 100 * size_wh[0], float(value["y"]) / 100 * size_wh[1]
        if what == "box":
            boxes[known_as] = _Box(str(labels[0]), _corners(value, x, y, size_wh))
        else:
            visible = 1 if known_as in hidden else 2
            points.append(_Point(str(labels[0]), x, y, visible, region["parent"]))
    return boxes, points


def _corners(
    value: Mapping[str, Any], x: float, y: float, size_wh: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A rectangle's left, top, right and bottom; it is turned around its first corner."""
    width = float(value["width"]) / 100 * size_wh[0]
    height = float(value["height"]) / 100 * size_wh[1]
    angle = math.radians(float(value.get("rotation") or 0) % 360)
    if not angle:
        return x, y, x + width, y + height
    cosine, sine = math.cos(angle), math.sin(angle)
    corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    xs = [min(max(x + u * cosine - v * sine, 0), size_wh[0]) for u, v in corners]
    ys = [min(max(y + u * sine + v * cosine, 0), size_wh[1]) for u, v in corners]
    return min(xs), min(ys), max(xs), max(ys)
