"""The file beside key points that keeps what their format cannot hold.

``boxes.csv`` has a line for each object: its image, the individual that the key points
stand under (empty where there is one only), its class, its box in pixels and, as a JSON
list, its key points that are hidden. A line with an image alone confirms that nothing is
in it.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.csv_text import csv_text, from_csv_text
from components.errors import BadLabels
from components.files import whole_file
from components.json_text import read_json
from components.labeling.pose_files import stem_of

NAME = "boxes.csv"
_HEADER = ["image", "individual", "class", "x1", "y1", "x2", "y2", "hidden"]


@dataclass(frozen=True)
class CompanionBox:
    """What the companion knows of one object.

    Attributes:
        individual: what its key points stand under.
        name: its class.
        xyxy: its box in the image's pixels.
        hidden: the names of its key points that are labelled and hidden.
    """

    individual: str
    name: str
    xyxy: tuple[float, float, float, float]
    hidden: frozenset[str]


def write_companion(folder: Path, boxes: Mapping[str, Sequence[CompanionBox]]) -> None:
    """Write the objects of each image, by its file name; none: nothing is in it."""
    with (
        whole_file(folder / NAME) as beside,
        beside.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_HEADER)
        for image, found in boxes.items():
            if not found:
                table.writerow([csv_text(image)] + [""] * (len(_HEADER) - 1))
            for box in found:
                hidden = json.dumps(sorted(box.hidden), ensure_ascii=False)
                texts = [csv_text(text) for text in (image, box.individual, box.name)]
                table.writerow([*texts, *box.xyxy, csv_text(hidden)])


def read_companion(folder: Path) -> dict[str, list[CompanionBox]] | None:
    """The objects of each image, by its stem; None where the folder has no companion.

    A ``boxes.csv`` with another head is somebody else's, and is let be.

    Raises:
        BadLabels: naming the line that cannot be used.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    found: dict[str, list[CompanionBox]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.reader(file)
            if next(table, []) != _HEADER:
                return None
            for row in table:
                where = f"{path.name}, line {table.line_num}"
                if len(row) != len(_HEADER):
                    raise BadLabels(
                        f"{where}: {len(row)} cells instead of {len(_HEADER)}; remove the file to "
                        "have boxes drawn around the key points."
                    )
                boxes = found.setdefault(stem_of(from_csv_text(row[0])), [])
                if any(row[1:]):
                    boxes.append(_box(row, where))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadLabels(f"{path.name} cannot be read as CSV: {error}.") from error
    return found


def _box(row: list[str], where: str) -> CompanionBox:
    try:
        x1, y1, x2, y2 = (float(cell) for cell in row[3:7])
        hidden = read_json(from_csv_text(row[7]))
        if not all(math.isfinite(value) for value in (x1, y1, x2, y2)):
            raise ValueError("a corner is not finite")
        if not (isinstance(hidden, list) and all(isinstance(name, str) for name in hidden)):
            raise ValueError("the hidden key points are no list of names")
    except ValueError as error:
        raise BadLabels(f"{where}: {error}; write the box as four numbers.") from error
    individual, name = from_csv_text(row[1]), from_csv_text(row[2])
    return CompanionBox(individual, name, (x1, y1, x2, y2), frozenset(hidden))
