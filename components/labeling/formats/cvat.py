"""CVAT's XML, "CVAT for images 1.1": boxes, skeletons and points in images.

https://docs.cvat.ai/docs/manual/advanced/xml_format/. A skeleton is one object of the class
that it is called after; its points are the key points. A box belongs to a skeleton, and a
lone point to a box, if they are in one group, or if the box alone can be meant by its place.
For detection a shape of several points that no box belongs to gets one drawn around it.
"CVAT for video" is refused: CVAT writes any task in either way, and only for images does it
say for certain which picture a label is of.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import BadLabels
from components.labeling.cvat_shapes import image_objects, whole_number
from components.labeling.image_files import check_size, checked_stem, require_images
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels, labelled_objects
from components.labeling.wanted import WantedLabels

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from components.labels import LabelSpec

_FILE = "annotations.xml"
_HEAD_BYTES = 65536
_DIGITS = 4


@dataclass(frozen=True)
class _Meta:
    """What the file says of its labels.

    Attributes:
        names: the classes.
        keypoints: the names of points.
    """

    names: tuple[str, ...]
    keypoints: tuple[str, ...]


def recognises(path: Path) -> bool:
    """Whether ``path`` is an XML file that begins as CVAT's do."""
    if path.suffix.lower() != ".xml" or not path.is_file():
        return False
    with path.open("rb") as stream:
        return re.search(rb"<annotations[\s>]", stream.read(_HEAD_BYTES)) is not None


def names(path: Path) -> list[str]:
    """The stems of the images, sorted; those without a shape are confirmed to hold nothing.

    Raises:
        BadLabels: if the file cannot be read, is one for video, or two images share a stem.
    """
    return sorted(_parse(path)[1])


def read(path: Path, wanted: WantedLabels, images: Mapping[str, Path]) -> LabelSet:
    """The labels of a file; see ``formats``."""
    meta, found = _parse(path)
    require_images(found, images, path.name)
    spec = wanted.resolve(path.name, meta.names, meta.keypoints)
    frames = {}
    for stem, image in sorted(found.items()):
        where = f"{image.get('name')} in {path.name}"
        size = (whole_number(image, "width", where), whole_number(image, "height", where))
        check_size(size, images[stem], where)
        objects = list(image_objects(image, spec, where))
        labels = frame_labels(objects, spec, size, where)
        frames[stem] = LabelledFrame(images[stem].name, size, labels)
    return LabelSet(spec, frames)


def write(labels: LabelSet, folder: Path) -> None:
    """Write ``annotations.xml``: a box for each object, in one group with its skeleton."""
    from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

    spec = labels.spec
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "size").text = str(len(labels.frames))
    SubElement(task, "mode").text = "annotation"
    declared = SubElement(task, "labels")
    for name in spec.names:
        for called, kind in [
            (name, "skeleton" if spec.keypoints else "rectangle"),
            *((keypoint, "points") for keypoint in spec.keypoints),
        ]:
            label = SubElement(declared, "label")
            SubElement(label, "name").text = called
            SubElement(label, "type").text = kind
            SubElement(label, "attributes")
            if kind == "points":
                SubElement(label, "parent").text = name
    for number, (_, frame) in enumerate(sorted(labels.frames.items())):
        width, height = frame.size_wh
        facts = {"id": number, "name": frame.file, "width": width, "height": height}
        image = SubElement(root, "image", _texts(facts))
        items = labelled_objects(frame.labels, spec, frame.size_wh)
        for group, item in enumerate(items, start=1):
            for shape, points in _shapes(item, spec, group):
                element = SubElement(image, shape.pop("shape"), shape)
                for point in points:
                    SubElement(element, "points", point)
    indent(root)
    ElementTree(root).write(folder / _FILE, encoding="utf-8", xml_declaration=True)


def _shapes(
    item: LabelledObject, spec: "LabelSpec", group: int
) -> Iterator[tuple[dict[str, str], list[dict[str, str]]]]:
    """The attributes of an object's shapes, each with those of the points in it."""
    assert item.xyxy is not None  # noqa: S101 labels have boxes
    facts = {"label": item.name, "source": "manual", "z_order": 0, "group_id": group}
    corners = {
        name: f"{value:.{_DIGITS}f}"
        for name, value in zip(("xtl", "ytl", "xbr", "ybr"), item.xyxy, strict=True)
    }
    yield _texts({"shape": "box", "occluded": 0, **facts, **corners}), []
    if item.keypoints:
        points = []
        for name in spec.keypoints:
            # CVAT gives points that are not there a place as well.
            x, y, visible = item.keypoints.get(name, (*item.xyxy[:2], 0))
            place = f"{x:.{_DIGITS}f},{y:.{_DIGITS}f}"
            state = {"outside": int(visible == 0), "occluded": int(visible == 1)}
            points.append(_texts({"label": name, "source": "manual", **state, "points": place}))
        yield _texts({"shape": "skeleton", **facts}), points


def _texts(facts: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in facts.items()}


def _parse(path: Path) -> tuple[_Meta, dict[str, "Element"]]:
    """What is said of the labels, and the images by stem."""
    from xml.etree.ElementTree import ParseError

    from defusedxml.ElementTree import parse  # type: ignore[import-untyped]

    try:
        root = parse(path, forbid_dtd=True).getroot()
    # What defusedxml refuses is a ValueError; an encoding that nobody knows a LookupError.
    except (ParseError, ValueError, LookupError, OSError) as error:
        raise BadLabels(
            f"{path.name} cannot be read as XML ({type(error).__name__}: {error}): export it anew."
        ) from error
    if root.tag != "annotations":
        raise BadLabels(f"{path.name} is not of CVAT: its first element is {root.tag!r}.")
    if root.find("track") is not None:
        raise BadLabels(
            f'{path.name} is "CVAT for video": export the task as "CVAT for images 1.1".'
        )
    images: dict[str, Element] = {}
    for image in root.iterfind("image"):
        stem = checked_stem(image.get("name", ""), path.name)
        if stem in images:
            raise BadLabels(
                f"{images[stem].get('name')} and {image.get('name')} in {path.name} share a name, "
                "so their labels cannot be told apart: rename one."
            )
        images[stem] = image
    if not images:
        raise BadLabels(f"{path.name} names no image: export a task with images.")
    return _meta(root), images


def _meta(root: "Element") -> _Meta:
    """The labels in the order of the file's own list, or of their use where it has none."""
    drawn = {s.get("label") for kind in ("box", "polygon", "skeleton") for s in root.iter(kind)}
    lone = [shape for image in root.iterfind("image") for shape in image.iterfind("points")]
    # Several points in one shape are those of one object of that class.
    drawn |= {shape.get("label") for shape in lone if ";" in shape.get("points", "")}
    declared = [
        (label.findtext("name", ""), label.findtext("type", ""), label.find("parent") is not None)
        for label in root.iterfind("meta//labels/label")
    ] or [
        (shape.get("label", ""), "", inner)
        for image in root.iterfind("image")
        for outermost in image
        for inner, shapes in ((False, [outermost]), (True, outermost.iterfind("points")))
        for shape in shapes
        if shape.tag != "tag"
    ]
    pointed = {shape.get("label") for shape in lone}
    classes: dict[str, None] = {}
    keypoints: dict[str, None] = {}
    for name, kind, has_parent in declared:
        if has_parent or (name not in drawn and (kind == "points" or name in pointed)):
            keypoints[name] = None
        elif kind != "tag":
            classes[name] = None
    return _Meta(tuple(classes), tuple(keypoints))
