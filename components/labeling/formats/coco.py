"""COCO JSON: boxes, and key points where its categories name some.

https://cocodataset.org/#format-data. A crowd is no object: it is left out, and an image
with nothing else counts as skipped rather than as one with nothing in it.
"""

import json
import mmap
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from components.errors import BadLabels
from components.labeling.image_files import check_size, checked_stem, image_size, require_images
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels, labelled_objects
from components.labeling.wanted import WantedLabels

# As CVAT calls them, by whether there are key points; it takes no other name.
_FILES = {
    False: "annotations/instances_default.json",
    True: "annotations/person_keypoints_default.json",
}
_SAYS_COCO = re.compile(rb'"(images|annotations)"\s*:\s*\[')
_DIGITS = 5


class _Category(BaseModel):
    id: int
    name: str
    keypoints: tuple[str, ...] | None = None


class _Image(BaseModel):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int
    bbox: list[float] | None = None
    keypoints: list[float] | None = None
    segmentation: Any = None
    iscrowd: bool = False


class _File(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def recognises(path: Path) -> bool:
    """Whether ``path`` is a JSON file of one object with COCO's lists, whole or cut off."""
    if path.suffix.lower() != ".json" or not path.is_file() or not path.stat().st_size:
        return False
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        begins = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
        return begins.startswith(b"{") and _SAYS_COCO.search(content) is not None


def names(path: Path) -> list[str]:
    """The stems of the images, sorted; without those that have nothing but crowds.

    Raises:
        BadLabels: if the file cannot be read, or two images share a stem.
    """
    file = _parse(path)
    return sorted(_stems(file, path).keys() - _crowded(file, path))


def read(path: Path, wanted: WantedLabels, images: Mapping[str, Path]) -> LabelSet:
    """The labels of a file; see ``formats``. Categories that nothing is of may be any."""
    file = _parse(path)
    stems = _stems(file, path)
    skipped = _crowded(file, path)
    require_images(stems.keys() - skipped, images, path.name)
    categories = {category.id: category for category in file.categories}
    if len(categories) < len(file.categories):
        raise BadLabels(f"{path.name} has two categories of one id: give each its own.")
    spec = wanted.resolve(
        path.name,
        tuple(category.name for category in sorted(file.categories, key=lambda c: c.id)),
        tuple(dict.fromkeys(name for c in file.categories for name in c.keypoints or ())),
    )
    annotations = defaultdict(list)
    for annotation in file.annotations:
        annotations[annotation.image_id].append(annotation)
    frames = {}
    for stem, image in sorted(stems.items()):
        if stem in skipped:
            continue
        where = f"{image.file_name} in {path.name}"
        objects = []
        for annotation in annotations[image.id]:
            if annotation.iscrowd:
                continue
            category = categories.get(annotation.category_id)
            if category is None:
                raise BadLabels(
                    f"{where}: there is no category {annotation.category_id}; name it among the "
                    "categories."
                )
            points = (category.keypoints or wanted.keypoints) if spec.task == "pose" else ()
            objects.append(_object(annotation, category.name, points, where))
        if image.width is not None and image.height is not None:
            check_size((image.width, image.height), images[stem], where)
        size = image_size(images[stem])
        frames[stem] = LabelledFrame(
            images[stem].name, size, frame_labels(objects, spec, size, where)
        )
    return LabelSet(spec, frames, frozenset(skipped))


def write(labels: LabelSet, folder: Path) -> None:
    """Write one file below ``annotations/``."""
    spec = labels.spec
    categories: list[dict[str, Any]] = [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in enumerate(spec.names, start=1)
    ]
    if spec.keypoints:
        for category in categories:
            category |= {"keypoints": list(spec.keypoints), "skeleton": []}
    ids = {category["name"]: category["id"] for category in categories}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (_, frame) in enumerate(sorted(labels.frames.items()), start=1):
        width, height = frame.size_wh
        images.append({"id": number, "file_name": frame.file, "width": width, "height": height})
        for item in labelled_objects(frame.labels, spec, frame.size_wh):
            annotation = {"id": len(annotations) + 1, "image_id": number}
            annotations.append(annotation | _annotation(item, ids[item.name], spec.keypoints))
    path = folder / _FILES[bool(spec.keypoints)]
    path.parent.mkdir()
    path.write_text(
        json.dumps(
            {
                "info": {},
                "licenses": [],
                "categories": categories,
                "images": images,
                "annotations": annotations,
            },
            ensure_ascii=False,
        ),
        encoding="utf-8",
    )


def _parse(path: Path) -> _File:
    try:
        return _File.model_validate_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise BadLabels(
            f"{path.name} cannot be read as COCO{f' at {place}' if place else ''}: "
            f"{fault['msg']}; export it anew."
        ) from error


def _stems(file: _File, path: Path) -> dict[str, _Image]:
    found: dict[str, _Image] = {}
    if len({image.id for image in file.images}) < len(file.images):
        raise BadLabels(f"{path.name} has two images of one id: give each its own.")
    for image in file.images:
        stem = checked_stem(image.file_name, path.name)
        if stem in found:
            raise BadLabels(
                f"{found[stem].file_name} and {image.file_name} in {path.name} share a name, so "
                "their labels cannot be told apart: rename one."
            )
        found[stem] = image
    return found


def _crowded(file: _File, path: Path) -> set[str]:
    """The stems of images with crowds and nothing else."""
    stem_by_id = {image.id: stem for stem, image in _stems(file, path).items()}
    crowds: set[str] = set()
    single: set[str] = set()
    for annotation in file.annotations:
        stem = stem_by_id.get(annotation.image_id)
        if stem is None:
            raise BadLabels(
                f"{path.name} has an annotation of the image {annotation.image_id!r}, which is "
                "not among its images: name it there."
            )
        (crowds if annotation.iscrowd else single).add(stem)
    return crowds - single


def _object(
    annotation: _Annotation, name: str, keypoints: tuple[str, ...], where: str
) -> LabelledObject:
    values = annotation.keypoints or []
    labelled = {}
    if keypoints and values:
        if len(values) != 3 * len(keypoints):
            raise BadLabels(
                f"{where}: {len(values)} values for the key points of {name}, but "
                f"{len(keypoints)} key points ({', '.join(keypoints)}) have {3 * len(keypoints)}."
            )
        for point, (x, y, visible) in zip(
            keypoints, np.reshape(values, (-1, 3)).tolist(), strict=True
        ):
            if visible not in (0, 1, 2):
                raise BadLabels(
                    f"{where}: the visibility of the key point {point} is {visible:g}; write 0, "
                    "1 or 2."
                )
            if visible:
                labelled[point] = (x, y, int(visible))
    return LabelledObject(name, _box(annotation, name, bool(labelled), where), labelled)


def _box(
    annotation: _Annotation, name: str, has_points: bool, where: str
) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom; around the polygons where no box is given."""
    if annotation.bbox:
        if len(annotation.bbox) != 4:
            raise BadLabels(
                f"{where}: a bbox of {name} has {len(annotation.bbox)} values; write 4."
            )
        left, top, width, height = annotation.bbox
        return left, top, left + width, top + height
    if not annotation.segmentation:
        if has_points:
            return None
        raise BadLabels(f"{where}: an annotation of {name} has no bbox; give it one.")
    try:
        corners = np.concatenate(
            [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in annotation.segmentation]
        )
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadLabels(
            f"{where}: an annotation of {name} has no bbox, and its segmentation is none of "
            "polygons; give it a bbox."
        ) from error
    return float(left), float(top), float(right), float(bottom)


def _annotation(item: LabelledObject, category: int, keypoints: tuple[str, ...]) -> dict[str, Any]:
    assert item.xyxy is not None  # noqa: S101 labels have boxes
    left, top, right, bottom = item.xyxy
    width, height = right - left, bottom - top
    found: dict[str, Any] = {
        "category_id": category,
        "bbox": [round(value, _DIGITS) for value in (left, top, width, height)],
        "area": round(width * height, _DIGITS),
        "segmentation": [],
        "iscrowd": 0,
    }
    if keypoints:
        points = [item.keypoints.get(name, (0, 0, 0)) for name in keypoints]
        found["keypoints"] = [
            value for x, y, v in points for value in (round(x, _DIGITS), round(y, _DIGITS), v)
        ]
        found["num_keypoints"] = len(item.keypoints)
    return found
