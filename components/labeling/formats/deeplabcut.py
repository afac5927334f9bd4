"""DeepLabCut's CSV of labelled key points, of one animal or of several.

Three or four head rows (scorer, individuals where there are several, bodyparts, coords),
then a row for each image: its path in one cell or, since DeepLabCut 2.2, in three, and x
and y of each body part. An empty cell or NaN: that point is not labelled.

A row without any point is an image that nobody labelled, not a confirmed negative:
DeepLabCut keeps a row for each image that it extracted, and leaves such rows out of its own
training. To take them for negatives would teach the model that animals are background.

DeepLabCut knows no classes. One animal is of the task's only class. Of several, an
individual called after a class (``mouse1``, ``mouse_2``) is of that class, any other of the
only one. Where the task names none, the class is ``animal``. The individual ``single``
beside others holds the body parts of no animal, and is left out.

Neither does it know boxes, hidden points or confirmed negatives. ``write`` puts them into a
``boxes.csv`` beside it, and ``read`` heeds it; whoever moves points in DeepLabCut removes
that file, and boxes are drawn around the points.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.csv_text import csv_text, from_csv_text
from components.errors import BadInput, BadLabels
from components.files import whole_file
from components.labeling.companion import CompanionBox, read_companion, write_companion
from components.labeling.image_files import image_size, require_images
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels, labelled_objects
from components.labeling.pose_files import ANIMAL, class_of, only_file, recognised_files, stem_of
from components.labeling.wanted import WantedLabels

SCORER = "actverse"
FILE = f"CollectedData_{SCORER}.csv"

_TOOL = "DeepLabCut"
_NOBODY = "single"
_LONGEST_LINE = 2**20  # of the head, where the file is only looked at


@dataclass(frozen=True)
class _Head:
    """What the columns hold.

    Attributes:
        index: the number of first columns, which make up the image's path.
        points: of each following pair of columns the individual (empty where there is one
            only) and the body part; None for those of no animal.
    """

    index: int
    points: tuple[tuple[str, str] | None, ...]

    @property
    def bodyparts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(point[1] for point in self.points if point))


@dataclass(frozen=True)
class _Row:
    """One image: its line, its stem, and the labelled points of each individual that has any."""

    line: int
    stem: str
    individuals: dict[str, dict[str, tuple[float, float]]]


def recognises(path: Path) -> bool:
    """Whether ``path`` is, or holds, a CSV file whose first two rows are DeepLabCut's."""
    return bool(recognised_files(path, ".csv", _is_deeplabcut))


def names(path: Path) -> list[str]:
    """The stems of the labelled images, sorted.

    Raises:
        BadLabels: if the file cannot be used, or labels nothing.
    """
    file = only_file(path, ".csv", _is_deeplabcut, _TOOL)
    _, rows = _labelled(file, read_companion(file.parent) or {})
    return sorted(row.stem for row in rows)


def read(path: Path, wanted: WantedLabels, images: Mapping[str, Path]) -> LabelSet:
    """The labels; see ``formats``."""
    file = only_file(path, ".csv", _is_deeplabcut, _TOOL)
    beside = read_companion(file.parent) or {}
    head, rows = _labelled(file, beside)
    said = dict.fromkeys(box.name for boxes in beside.values() for box in boxes)
    spec = wanted.resolve(file.name, tuple(said) or (ANIMAL,), head.bodyparts)
    require_images([row.stem for row in rows], images, file.name)
    frames = {}
    for row in rows:
        where = f"{row.stem} in {file.name}, line {row.line}"
        size = image_size(images[row.stem])
        objects = _objects(row, beside.get(row.stem, ()), spec.names, where)
        checked = frame_labels(objects, spec, size, where)
        frames[row.stem] = LabelledFrame(images[row.stem].name, size, checked)
    return LabelSet(spec, frames)


def write(labels: LabelSet, folder: Path) -> None:
    """Write ``CollectedData_actverse.csv`` and ``boxes.csv``.

    DeepLabCut opens it after ``deeplabcut.convertcsv2h5``, in the folder
    ``labeled-data/actverse`` of a project whose scorer is ``actverse``, beside the images.

    Raises:
        BadInput: for a detect task.
    """
    spec = labels.spec
    if spec.task != "pose":
        raise BadInput(
            "DeepLabCut holds key points only, and these labels are boxes: export them as yolo "
            "or coco."
        )
    found = {
        frame.file: labelled_objects(frame.labels, spec, frame.size_wh)
        for _, frame in sorted(labels.frames.items())
    }
    several = any(len(objects) > 1 for objects in found.values()) or (
        len(spec.names) > 1 and any(found.values())
    )
    called = {image: _individuals(objects, several) for image, objects in found.items()}
    everybody = dict.fromkeys(who for each in called.values() for who in each) or {"": None}
    columns = [(who, part) for who in everybody for part in spec.keypoints]
    with (
        whole_file(folder / FILE) as new,
        new.open("w", encoding="utf-8", newline="") as stream,
    ):
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["scorer", *_twice([SCORER] * len(columns))])
        if several:
            table.writerow(["individuals", *_twice(csv_text(who) for who, _ in columns)])
        table.writerow(["bodyparts", *_twice(csv_text(part) for _, part in columns)])
        table.writerow(["coords", *["x", "y"] * len(columns)])
        # pandas, and so DeepLabCut, takes a first row without numbers for a part of the head.
        for image, objects in sorted(found.items(), key=lambda each: not _has_points(each[1])):
            points = {
                (who, part): place[:2]
                for who, item in zip(called[image], objects, strict=True)
                for part, place in item.keypoints.items()
            }
            cells = [cell for column in columns for cell in points.get(column, ("", ""))]
            table.writerow([csv_text(f"labeled-data/{SCORER}/{image}"), *cells])
    write_companion(
        folder,
        {
            image: [_beside(item, who) for item, who in zip(objects, called[image], strict=True)]
            for image, objects in found.items()
        },
    )


def _is_deeplabcut(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            first, second = (stream.readline(_LONGEST_LINE).split(",")[0] for _ in range(2))
    except OSError:
        return False
    return first == "scorer" and second in ("individuals", "bodyparts")


def _labelled(file: Path, beside: Mapping[str, Sequence[CompanionBox]]) -> tuple[_Head, list[_Row]]:
    """The head, and the rows of images that have points or are in the companion.

    Raises:
        BadLabels: if the file cannot be used, or labels nothing.
    """
    lines: dict[str, int] = {}
    rows = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.reader(stream)
            head = _head(table, file.name)
            for cells in table:
                if not any(cells):
                    continue
                row = _row(cells, head, table.line_num, file.name)
                if row.stem in lines:
                    raise BadLabels(
                        f"{file.name} labels the image {row.stem} twice, in the lines "
                        f"{lines[row.stem]} and {row.line}: remove one, or give one video's "
                        "labels at a time."
                    )
                lines[row.stem] = row.line
                if row.individuals or row.stem in beside:
                    rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadLabels(f"{file.name} cannot be read as CSV: {error}.") from error
    if lost := sorted(beside.keys() - lines.keys()):
        raise BadLabels(
            f"The boxes.csv beside {file.name} has the image {lost[0]}, and {file.name} does not: "
            "give the two files that belong together, or leave boxes.csv out."
        )
    if not rows:
        raise BadLabels(f"{file.name} has no labelled point at all: label some images first.")
    return head, rows


def _head(table: Iterator[list[str]], source: str) -> _Head:
    rows = [_texts(next(table, [])) for _ in range(3)]
    if rows[1][:1] == ["individuals"]:
        rows.append(_texts(next(table, [])))
    *_, parts, coords = rows
    individuals = rows[1] if len(rows) == 4 else [""] * len(coords)
    index = 1 + next((i for i, cell in enumerate(coords[1:]) if cell), len(coords))
    kinds = coords[index:]
    if "likelihood" in kinds:
        raise BadLabels(
            f"{source} holds what a model predicted, with its likelihood: give the "
            "CollectedData file of what people labelled."
        )
    columns = list(zip(individuals[index:], parts[index:], strict=False))
    if (
        not kinds
        or coords[:1] != ["coords"]
        or parts[:1] != ["bodyparts"]
        or len({len(row) for row in (parts, coords, individuals)}) > 1
        or kinds != ["x", "y"] * (len(kinds) // 2)
        or columns[::2] != columns[1::2]
        or len(set(columns)) != len(columns) // 2
    ):
        raise BadLabels(
            f"{source} has not the head of DeepLabCut's labels, which names x and y of each body "
            "part once: export it anew."
        )
    points = columns[::2]
    others = any(who != _NOBODY for who, _ in points)
    return _Head(index, tuple(None if who == _NOBODY and others else (who, p) for who, p in points))


def _texts(cells: list[str]) -> list[str]:
    return [from_csv_text(cell) for cell in cells]


def _row(cells: list[str], head: _Head, line: int, source: str) -> _Row:
    where = f"{source}, line {line}"
    width = head.index + 2 * len(head.points)
    if len(cells) != width:
        raise BadLabels(f"{where}: {len(cells)} cells, but the head has {width}; export it anew.")
    stem = stem_of(from_csv_text(cells[head.index - 1]))
    if not stem:
        raise BadLabels(f"{where}: the row names no image; name its file in the first cell.")
    individuals: dict[str, dict[str, tuple[float, float]]] = {}
    for point, x, y in zip(
        head.points, cells[head.index :: 2], cells[head.index + 1 :: 2], strict=True
    ):
        if point is None:
            continue
        try:
            place = (float(x or "nan"), float(y or "nan"))
        except ValueError as error:
            raise BadLabels(f"{where}: {point[1]}: {error}; write numbers only.") from error
        missing = [math.isnan(value) for value in place]
        if any(missing) != all(missing):
            raise BadLabels(f"{where}: {point[1]} has only one of x and y; write both or none.")
        if not any(missing):
            individuals.setdefault(point[0], {})[point[1]] = place
    return _Row(line, stem, individuals)


def _objects(
    row: _Row, boxes: Sequence[CompanionBox], names: Sequence[str], where: str
) -> list[LabelledObject]:
    """The objects of the companion in its order, then what has been added to the points."""
    left = dict(row.individuals)
    objects = []
    for box in boxes:
        points = {
            part: (x, y, 1 if part in box.hidden else 2)
            for part, (x, y) in left.pop(box.individual, {}).items()
        }
        objects.append(LabelledObject(box.name, box.xyxy, points))
    for who, places in left.items():
        points = {part: (x, y, 2) for part, (x, y) in places.items()}
        objects.append(LabelledObject(class_of([who], names, where), None, points))
    return objects


def _individuals(objects: Sequence[LabelledObject], several: bool) -> list[str]:
    """What each object of an image is called: its class and the how manyth of it it is."""
    if not several:
        return [""] * len(objects)
    classes = [item.name for item in objects]
    return [f"{name}_{classes[: i + 1].count(name)}" for i, name in enumerate(classes)]


def _has_points(objects: Sequence[LabelledObject]) -> bool:
    return any(item.keypoints for item in objects)


def _beside(item: LabelledObject, individual: str) -> CompanionBox:
    assert item.xyxy is not None  # noqa: S101 labels always have boxes
    hidden = frozenset(part for part, (_, _, visible) in item.keypoints.items() if visible == 1)
    return CompanionBox(individual, item.name, item.xyxy, hidden)


def _twice(values: Iterable[str]) -> list[str]:
    return [value for value in values for _ in "xy"]
