"""Label Studio's JSON export: a list of tasks with their annotations.

Which annotation of an image counts, and whose a key point is, stands in
``label_studio/annotations.py``. An image is known by ``data.frame``, which our own projects
have, else by its file's name, without what Label Studio puts before the name of an upload.
A labelling configuration beside it, ``label_config.xml``, names all classes and key points;
without one, those are known that were used.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from components.errors import BadLabels
from components.files import write_text
from components.json_text import read_json
from components.label_files import IMAGE_SUFFIXES
from components.labeling.image_files import image_size, require_images
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.label_studio.annotations import counting, labels_of, skipped
from components.labeling.label_studio.label_config import label_config, names_of
from components.labeling.label_studio.results import result_of
from components.labeling.objects import labelled_objects
from components.labeling.pose_files import only_file, stem_of
from components.labeling.wanted import WantedLabels

NAME, CONFIG = "label_studio.json", "label_config.xml"

_BEGINS = re.compile(rb"\s*(\xef\xbb\xbf)?\s*\[\s*\{")
_UPLOAD = re.compile(r"[0-9a-f]{6,}-")
_IMAGE_KEYS = ("image", "img", "$undefined$")


def recognises(path: Path) -> bool:
    """Whether ``path`` is a JSON list of Label Studio's tasks, or a folder that holds one."""
    try:
        _file(path)
    except BadLabels:
        return False
    return True


def names(path: Path) -> list[str]:
    """The stems of the labelled images, sorted.

    Raises:
        BadLabels: if the file cannot be read.
    """
    return sorted(
        _UPLOAD.sub("", stem, count=1) if uploaded else stem
        for stem, uploaded, annotations in _labelled(_file(path))
        if counting(annotations)
    )


def read(path: Path, wanted: WantedLabels, images: Mapping[str, Path]) -> LabelSet:
    """The labels of an export; see ``formats``."""
    file = _file(path)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, uploaded, annotations in _labelled(file):
        stem = _known(name, images) if uploaded else name
        found.setdefault(stem, []).extend(annotations)
    chosen = {stem: one for stem, all_ in found.items() if (one := counting(all_))}
    require_images(chosen, images, file.name)
    spec = wanted.resolve(file.name, *_names(file, chosen))
    frames = {}
    for stem, annotation in sorted(chosen.items()):
        size = image_size(images[stem])
        labels = labels_of(annotation, spec, size, f"{stem} in {file.name}")
        frames[stem] = LabelledFrame(images[stem].name, size, labels)
    passed = (stem for stem, all_ in found.items() if stem in images and skipped(all_))
    return LabelSet(spec, frames, frozenset(passed))


def write(labels: LabelSet, folder: Path) -> None:
    """Write the tasks, which Label Studio imports with their annotations, and the configuration.

    Raises:
        BadLabels: for a name that XML cannot hold.
    """
    config = label_config(labels.spec.names, labels.spec.keypoints)
    write_text(folder / CONFIG, config)
    tasks = []
    for stem, frame in labels.frames.items():
        objects = labelled_objects(frame.labels, labels.spec, frame.size_wh)
        width, height = frame.size_wh
        data = {"image": frame.file, "frame": stem, "width": width, "height": height}
        annotation = {"result": result_of(objects, frame.size_wh), "was_cancelled": False}
        tasks.append({"data": data, "annotations": [annotation]})
    for stem in sorted(labels.skipped):
        data = {"image": stem, "frame": stem}
        tasks.append({"data": data, "annotations": [{"result": [], "was_cancelled": True}]})
    write_text(folder / NAME, json.dumps(tasks, ensure_ascii=False, indent=1))


def _file(path: Path) -> Path:
    return only_file(path, ".json", _looks_right, "Label Studio")


def _looks_right(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            if not _BEGINS.match(stream.read(1024)):
                return False
        tasks = read_json(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return all(
        isinstance(task, dict)
        and isinstance(task.get("data"), dict)
        and isinstance(task.get("annotations"), list)
        for task in tasks
    )


def _labelled(file: Path) -> Iterator[tuple[str, bool, list[dict[str, Any]]]]:
    """The tasks that have annotations: name, whether it may be that of an upload, annotations."""
    for task in read_json(file.read_text(encoding="utf-8-sig")):
        annotations = [one for one in task["annotations"] if isinstance(one, dict)]
        if annotations:
            yield *_name(task["data"], file), annotations


def _name(data: Mapping[str, Any], file: Path) -> tuple[str, bool]:
    if frame := data.get("frame"):
        return str(frame), False
    keys = [key for key in (*_IMAGE_KEYS, *data) if isinstance(data.get(key), str)]
    for key in keys:
        place = _place(data[key])
        if Path(place).suffix.lower() in IMAGE_SUFFIXES:
            return stem_of(place), "/upload/" in place
    raise BadLabels(
        f"{file.name}: a task names no image ({json.dumps(data)[:100]}): give it a field image."
    )


def _place(address: str) -> str:
    """The path of an image in its address, be it a URL, a local file of Label Studio or a name."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    if local := parse_qs(parts.query).get("d"):
        return local[0]
    return unquote(parts.path) if parts.scheme or parts.query else address


def _known(name: str, images: Mapping[str, Path]) -> str:
    """The image that an upload was: Label Studio puts some characters and a '-' before it."""
    if name in images:
        return name
    short = _UPLOAD.sub("", name, count=1)
    alike = [stem for stem in images if name.endswith(f"-{stem}")]
    return max(alike, key=len) if alike and short not in images else short


def _names(
    file: Path, chosen: Mapping[str, Mapping[str, Any]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes and the key points, as the configuration or else the annotations name them."""
    config = file.with_name(CONFIG)
    if config.is_file():
        try:
            return names_of(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadLabels(f"{CONFIG} cannot be read as text: {error}.") from error
    return _said(chosen, "rectanglelabels", "labels"), _said(chosen, "keypointlabels")


def _said(chosen: Mapping[str, Mapping[str, Any]], *kinds: str) -> tuple[str, ...]:
    """The names that the annotations use, as they come."""
    found: dict[str, None] = {}
    for annotation in chosen.values():
        for item in annotation.get("result") or []:
            value = item.get("value") if isinstance(item, dict) else None
            for kind in kinds:
                if isinstance(value, dict) and isinstance(value.get(kind), list):
                    found |= dict.fromkeys(map(str, value[kind]))
    return tuple(found)
