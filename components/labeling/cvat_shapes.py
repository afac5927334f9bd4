"""The objects of one image of CVAT's: boxes, and the skeletons and points that belong to them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.errors import BadLabels
from components.labeling.objects import LabelledObject
from components.labels import LabelSpec

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SLACK_PX = 0.5  # CVAT rounds to a hundredth, and people do not draw as close as that.


@dataclass
class _Part:
    """A skeleton or a lone point, before it is known which box it belongs to.

    Attributes:
        name: the class, for a skeleton; None for a lone point.
        group: 0 for none.
        keypoints: as in ``LabelledObject``.
    """

    name: str | None
    group: int
    keypoints: dict[str, tuple[float, float, int]]


@dataclass
class _Box:
    name: str
    group: int
    xyxy: tuple[float, float, float, float]
    parts: list[_Part] = field(default_factory=list)

    def holds(self, part: _Part) -> bool:
        left, top, right, bottom = self.xyxy
        return all(
            left - _SLACK_PX <= x <= right + _SLACK_PX
            and top - _SLACK_PX <= y <= bottom + _SLACK_PX
            for x, y, _ in part.keypoints.values()
        )

    def has_room(self, part: _Part) -> bool:
        """Whether no key point of ``part``, and no second skeleton, would be there twice."""
        taken = {name for other in self.parts for name in other.keypoints}
        second = part.name is not None and any(other.name is not None for other in self.parts)
        return not second and not taken & part.keypoints.keys()


def image_objects(image: "Element", spec: LabelSpec, where: str) -> Iterator[LabelledObject]:
    """What is drawn in an ``image`` element.

    Args:
        where: names the image, for the errors.

    Raises:
        BadLabels: for a shape that is no box, a number that is none, and a skeleton or point
            of which it is not clear which box it belongs to.
    """
    boxes: list[_Box] = []
    parts: list[_Part] = []
    spots: list[_Part] = []
    for shape in image:
        name, group = shape.get("label", ""), whole_number(shape, "group_id", where, "0")
        if shape.tag == "box":
            boxes.append(_Box(name, group, _corners(shape, where)))
        elif shape.tag == "polygon":
            xs, ys = zip(*_points(shape, where), strict=True)
            boxes.append(_Box(name, group, (min(xs), min(ys), max(xs), max(ys))))
        elif shape.tag == "skeleton":
            parts.append(_Part(name, group, _skeleton(shape, where)))
        elif shape.tag == "points":
            if spec.task == "pose":
                parts.append(_lone(shape, spec, group, where))
            else:
                places = enumerate(_points(shape, where), start=1)
                spots.append(
                    _Part(name, group, {f"{name} {n}": (*place, 2) for n, place in places})
                )
        elif shape.tag != "tag":
            raise BadLabels(f"{where}: the {shape.tag} of {name} is no box; draw a box instead.")
    alone = _join(boxes, [part for part in parts if part.keypoints], spec, where)
    alone += _unboxed(spots, boxes, spec, where)
    for box in boxes:
        called = [box.name, *(part.name for part in box.parts if part.name is not None)]
        keypoints = {name: point for part in box.parts for name, point in part.keypoints.items()}
        # Two labels of CVAT never share a name: a box of mouse_box may be a skeleton mouse's.
        name = next((name for name in called if name in spec.names), box.name)
        yield LabelledObject(name, box.xyxy, keypoints)
    for part in alone:
        assert part.name is not None  # noqa: S101 lone points were refused
        yield LabelledObject(part.name, None, part.keypoints)


def _unboxed(spots: list[_Part], boxes: list[_Box], spec: LabelSpec, where: str) -> list[_Part]:
    """Of the shapes of points, for detection, those that are objects without a box.

    Others are in a box: they are its object's, or, called after no class, those of several.
    """
    found = []
    for spot in spots:
        each = [_Part(None, 0, {name: place}) for name, place in spot.keypoints.items()]
        strange = spot.name not in spec.names
        if _candidates(spot, boxes, spec) or (
            strange and all(any(box.holds(one) for box in boxes) for one in each)
        ):
            continue
        if len(set(spot.keypoints.values())) == 1:
            raise BadLabels(
                f"{where}: the point {spot.name} is in no box; draw one around it, or group the "
                "two."
            )
        found.append(spot)
    return found


def _join(boxes: list[_Box], parts: list[_Part], spec: LabelSpec, where: str) -> list[_Part]:
    """Give each part to its box, those first that fit one only; return skeletons without any."""
    alone: list[_Part] = []
    waiting: list[_Part] = []
    for part in parts:
        (waiting if _candidates(part, boxes, spec) else alone).append(part)
    for part in alone:
        if part.name is None:
            raise BadLabels(
                f"{where}: the point {_called(part)} is in no box; draw one around it, or group "
                "the two."
            )
    while waiting:
        unclear = [part for part in waiting if not _settle(part, boxes, spec, where)]
        if len(unclear) == len(waiting):
            raise BadLabels(
                f"{where}: {_called(unclear[0])} is in several boxes; group it with its own."
            )
        waiting = unclear
    return alone


def _settle(part: _Part, boxes: list[_Box], spec: LabelSpec, where: str) -> bool:
    """Give a part to its box if only one has room for it."""
    room = [box for box in _candidates(part, boxes, spec) if box.has_room(part)]
    if not room:
        raise BadLabels(
            f"{where}: {_called(part)} is there twice for one box; draw another box, or group what "
            "belongs together."
        )
    if len(room) == 1:
        room[0].parts.append(part)
    return len(room) == 1


def _candidates(part: _Part, boxes: list[_Box], spec: LabelSpec) -> list[_Box]:
    """The boxes that a part may belong to: of its group, or else around it."""
    grouped = [box for box in boxes if part.group and box.group == part.group]
    if len(grouped) == 1:
        return grouped
    return [
        box
        for box in grouped or boxes
        if box.holds(part)
        and (
            part.name in (None, box.name)
            or part.name not in spec.names
            or box.name not in spec.names
        )
    ]


def _called(part: _Part) -> str:
    return f"a skeleton of {part.name}" if part.name is not None else next(iter(part.keypoints))


def _skeleton(shape: "Element", where: str) -> dict[str, tuple[float, float, int]]:
    return {
        point.get("label", ""): (*_points(point, where)[0], _visible(point))
        for point in shape.iterfind("points")
        if point.get("outside") != "1"
    }


def _lone(shape: "Element", spec: LabelSpec, group: int, where: str) -> _Part:
    """One key point that is called after itself, or all of an object that is called after it."""
    name, points = shape.get("label", ""), _points(shape, where)
    if name in spec.keypoints or (name not in spec.names and len(points) == 1):
        return _Part(None, group, {name: (*points[0], _visible(shape))})
    if len(points) != len(spec.keypoints):
        raise BadLabels(
            f"{where}: {name} has {len(points)} points, but {len(spec.keypoints)} key points "
            f"({', '.join(spec.keypoints)}) are asked for; draw these, in this order."
        )
    visible = _visible(shape)
    named = zip(spec.keypoints, points, strict=True)
    return _Part(name, group, {keypoint: (*place, visible) for keypoint, place in named})


def _visible(point: "Element") -> int:
    return 1 if point.get("occluded") == "1" else 2


def _corners(shape: "Element", where: str) -> tuple[float, float, float, float]:
    if _number(shape, "rotation", where, "0"):
        raise BadLabels(
            f"{where}: a box of {shape.get('label')} is turned by {shape.get('rotation')} degrees; "
            "draw it upright."
        )
    left, top, right, bottom = (
        _number(shape, name, where) for name in ("xtl", "ytl", "xbr", "ybr")
    )
    return left, top, right, bottom


def _points(shape: "Element", where: str) -> list[tuple[float, float]]:
    try:
        pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
        return [(float(x), float(y)) for x, y in pairs]
    except ValueError as error:
        raise BadLabels(
            f"{where}: the points {shape.get('points')!r} of {shape.get('label')} are none; write "
            "x,y;x,y."
        ) from error


def _number(element: "Element", name: str, where: str, default: str = "") -> float:
    try:
        return float(element.get(name, default))
    except ValueError as error:
        raise BadLabels(
            f"{where}: {name} is {element.get(name)!r} in a {element.tag}; write a number."
        ) from error


def whole_number(element: "Element", name: str, where: str, default: str = "") -> int:
    """A whole number among an element's attributes.

    Raises:
        BadLabels: if it is none.
    """
    number = _number(element, name, where, default)
    if not number.is_integer():
        raise BadLabels(f"{where}: {name} is {number:g}; write a whole number.")
    return int(number)
