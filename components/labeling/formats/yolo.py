"""YOLO text: a file for each image, named after it, and a ``data.yaml`` that names the classes.

The classes are numbers. Where the folder names them itself, they are known by these names;
where it does not, they count by the task's.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.errors import BadLabels
from components.files import write_text
from components.label_files import find_images, find_labels
from components.labeling.image_files import image_size, require_images
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import frame_labels, labelled_objects
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec, format_yolo_labels, read_yolo_labels
from components.video.extract import frame_index

DECIMALS = 8
"""Of the numbers written: a pixel of a very large image is kept to its thousandth."""

_NO_LABEL = re.compile(r"(readme|licen[cs]e)\b", re.IGNORECASE)
_DATA_YAML = "data.yaml"
_YAML_BYTES = 2**18  # a thousand classes with the names of their key points are less
_CLASS_LISTS = ("classes.txt", "obj.names")
# Of several the first one counts.
_DESCRIPTIONS = (_DATA_YAML, *_CLASS_LISTS, *(f"labels/{name}" for name in _CLASS_LISTS))
_UNREADABLE = (
    *(yaml.YAMLError, OSError, AttributeError, TypeError, ValueError),
    *(LookupError, OverflowError, RecursionError),
)


class _PlainLoader(yaml.SafeLoader):
    """Refuses aliases: lists of lists of them, merged, keep a few lines busy for hours."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            name = self.peek_event().anchor
            raise ValueError(f"it uses the alias *{name}; write out what that stands for")
        return super().compose_node(parent, index)


@dataclass(frozen=True)
class _Described:
    """What a folder says of its own labels; what is empty, it does not say.

    Attributes:
        source: the file that says so.
        points: the number of key points.
    """

    source: Path
    names: tuple[str, ...] = ()
    points: int = 0
    keypoints: tuple[str, ...] = ()
    flip_idx: tuple[int, ...] = ()


def recognises(path: Path) -> bool:
    """Whether ``path`` is a folder with text files that are laid out, named or look like YOLO's."""
    if not path.is_dir():
        return False
    try:
        images = find_images(path)
    except BadLabels:
        images = {}
    try:
        labels = _label_files(path, images)
    except BadLabels:
        return True  # Two of one name: what is wrong is said when they are read.
    laid_out = (path / "labels").is_dir() or (path / _DATA_YAML).is_file()
    return any(
        laid_out or stem in images or frame_index(stem) is not None or _looks_like(file)
        for stem, file in labels.items()
    )


def names(path: Path) -> list[str]:
    """The stems of the label files, sorted.

    Raises:
        BadLabels: if there is none, or two share a name.
    """
    return sorted(_labels(path))


def read(path: Path, wanted: WantedLabels, images: Mapping[str, Path]) -> LabelSet:
    """The labels of a folder; see ``formats``."""
    require_images(_labels(path), images, str(path))
    labels = read_each(path, wanted, images)
    for fault in labels.faults.values():
        raise BadLabels(fault)
    return labels


def read_each(path: Path, wanted: WantedLabels, images: Mapping[str, Path]) -> LabelSet:
    """The labels of a folder; what is wrong in one image's stands in the set's ``faults``.

    Raises:
        BadLabels: if there is none, two share a name, or it is not clear what they count by.
    """
    labels = _labels(path)
    described = _described(path)
    own = _own_spec(described, wanted)
    spec = wanted.resolve(
        str(path),
        described.names,
        own.keypoints,
        _flips(own, wanted.keypoints or own.keypoints),
    )
    frames: dict[str, LabelledFrame] = {}
    faults: dict[str, str] = {}
    for stem, file in sorted(labels.items()):
        try:
            require_images([stem], images, str(path))
            size = image_size(images[stem])
            # By name, since the folder may count its classes and key points in another order.
            objects = labelled_objects(read_yolo_labels(file, own), own, size)
            checked = frame_labels(objects, spec, size, str(file))
        except BadLabels as error:
            faults[stem] = str(error)
        else:
            frames[stem] = LabelledFrame(images[stem].name, size, checked)
    return LabelSet(spec, frames, faults=faults)


def write(labels: LabelSet, folder: Path) -> None:
    """Write ``data.yaml`` and ``labels/NAME.txt``."""
    write_text(folder / _DATA_YAML, _data_yaml(labels.spec))
    (folder / "labels").mkdir()
    for stem, frame in labels.frames.items():
        file = folder / "labels" / f"{stem}.txt"
        file.write_text(format_yolo_labels(frame.labels, DECIMALS), encoding="utf-8")


def counted_by(path: Path, spec: LabelSpec) -> LabelSpec:
    """What the numbers in a folder's labels count; ``spec`` where it does not say.

    Raises:
        BadLabels: if what it says cannot be read, or does not fit the key points of ``spec``.
    """
    asked = WantedLabels(spec.task, spec.names, spec.keypoints, spec.flip_idx)
    return _own_spec(_described(path), asked)


def describe(path: Path, spec: LabelSpec) -> list[Path]:
    """Name the classes and key points in a folder that has no description; return what is new."""
    described = _described(path)
    if described.names or described.source.is_file():
        return []
    # A list of classes gives way to whatever people put there; it has no room for key points.
    if spec.keypoints:
        file, text = path / _DATA_YAML, _data_yaml(spec)
    else:
        file, text = path / _CLASS_LISTS[0], "".join(f"{name}\n" for name in spec.names)
    write_text(file, text)
    return [file]


def _data_yaml(spec: LabelSpec) -> str:
    data: dict[str, Any] = {"names": dict(enumerate(spec.names))}
    if spec.keypoints:
        data["kpt_shape"] = [len(spec.keypoints), 3]
        data["kpt_names"] = {index: list(spec.keypoints) for index in range(len(spec.names))}
    if spec.flip_idx:
        data["flip_idx"] = list(spec.flip_idx)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _labels(path: Path) -> dict[str, Path]:
    if not path.is_dir():
        raise BadLabels(f"There is no label folder at {path}: give one that exists.")
    labels = _label_files(path, find_images(path))
    if not labels:
        raise BadLabels(
            f"The folder {path} holds no label file: put one YOLO .txt for each image in it."
        )
    return labels


def _label_files(path: Path, images: Collection[str]) -> dict[str, Path]:
    """The label files by stem, without what is written about a data set."""
    return {
        stem: file
        for stem, file in find_labels(path, images).items()
        if stem in images or not _NO_LABEL.match(stem)
    }


def _looks_like(file: Path) -> bool:
    """Whether the first line ends with numbers after a class, as well as it can be told."""
    with file.open("rb") as stream:
        fields = stream.readline(1000).split()
    try:
        return len([float(field) for field in fields[1:]]) >= 4
    except ValueError:
        return False


def _own_spec(described: _Described, wanted: WantedLabels) -> LabelSpec:
    """By what the folder's numbers count."""
    source = described.source
    points = described.points or len(described.keypoints)
    if wanted.task == "pose" and wanted.keypoints:
        if points not in (0, len(wanted.keypoints)):
            raise BadLabels(
                f"{source} says that an object has {points} key points, but the task has "
                f"{len(wanted.keypoints)} ({', '.join(wanted.keypoints)}); label these."
            )
        keypoints = described.keypoints or wanted.keypoints
    else:
        keypoints = described.keypoints or tuple(f"point_{i}" for i in range(points))
    return WantedLabels(
        task="pose" if keypoints or wanted.task == "pose" else "detect",
        names=described.names or wanted.names,
        keypoints=keypoints,
        flip_idx=described.flip_idx,
    ).resolve(str(source.parent))


def _flips(own: LabelSpec, keypoints: Sequence[str]) -> tuple[int, ...]:
    """The folder's mirrored key points, counted in the order of ``keypoints``."""
    if not own.flip_idx or set(own.keypoints) != set(keypoints):
        return ()
    mirrored = {
        name: own.keypoints[flip] for name, flip in zip(own.keypoints, own.flip_idx, strict=True)
    }
    return tuple(list(keypoints).index(mirrored[name]) for name in keypoints)


def description(path: Path) -> Path | None:
    """The file by which a folder names its classes; None if it does not."""
    return next((file for name in _DESCRIPTIONS if (file := path / name).is_file()), None)


def _described(path: Path) -> _Described:
    file = description(path)
    if file is None:
        return _Described(path / _DATA_YAML)
    if file.name == _DATA_YAML:
        try:
            return _from_yaml(file)
        except _UNREADABLE as error:
            raise BadLabels(
                f"{file} cannot be read as a YOLO data set's description: {error}."
            ) from error
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadLabels(f"{file} cannot be read as text: {error}.") from error
    return _Described(file, tuple(line.strip() for line in lines if line.strip()))


def _from_yaml(file: Path) -> _Described:
    if file.stat().st_size > _YAML_BYTES:
        raise ValueError(f"it is larger than {_YAML_BYTES} bytes; name classes and key points only")
    data = _PlainLoader(file.read_text(encoding="utf-8-sig")).get_single_data() or {}
    points = int((data.get("kpt_shape") or [0])[0])
    keypoints = data.get("kpt_names") or ()
    if isinstance(keypoints, dict):
        # Ultralytics names them for each class; the first class's count.
        keypoints = keypoints[min(keypoints)]
    keypoints = _texts(keypoints)
    if points and keypoints and len(keypoints) != points:
        raise ValueError(f"kpt_shape has {points} key points and kpt_names {len(keypoints)}")
    return _Described(
        file,
        _texts(data.get("names") or ()),
        points,
        keypoints,
        tuple(int(index) for index in data.get("flip_idx") or ()),
    )


def _texts(value: Any) -> tuple[str, ...]:
    """A list of names, or names by their number from 0 on."""
    if isinstance(value, dict):
        if sorted(value) != list(range(len(value))):
            raise ValueError(f"the numbers {sorted(value)} of the names do not count from 0 on")
        value = [value[key] for key in sorted(value)]
    if not isinstance(value, list | tuple) or not all(isinstance(v, str | int) for v in value):
        # Nested lists are refused before they are written out: they may be very many.
        raise ValueError("the names are not a list of texts")
    return tuple(str(name) for name in value)
