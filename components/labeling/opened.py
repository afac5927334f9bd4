"""Labels that somebody gives: a file, a folder or an archive, of any format known here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components.errors import BadInput, BadLabels
from components.label_files import IMAGE_SUFFIXES, find_images
from components.labeling.archive import is_archive, unpacked
from components.labeling.formats import FORMATS, FormatName, open_format, recognise
from components.labeling.label_set import LabelSet
from components.labeling.text_size import check_text
from components.labeling.wanted import WantedLabels

_DEPTH = 2  # COCO's annotations/instances_default.json


@dataclass(frozen=True)
class OpenedLabels:
    """Labels whose format is known.

    Attributes:
        path: the file or folder of the labels proper.
        format: what it is.
        images: the images that came along, by stem; empty if none did.
    """

    path: Path
    format: FormatName
    images: dict[str, Path] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The stems of the labelled images, sorted.

        Raises:
            BadLabels: if the labels cannot be read.
        """
        return open_format(self.format).names(self.path)

    def frames_needed(self) -> list[str]:
        """The names of the frames that the labels belong to; none if images came along.

        Raises:
            BadLabels: if the labels cannot be read.
        """
        return [] if self.images else self.names()

    def read(self, wanted: WantedLabels, images: Mapping[str, Path] | None = None) -> LabelSet:
        """The labels, checked whole.

        Args:
            wanted: what the task asks for.
            images: the frames, by stem, for labels that brought no image.

        Raises:
            BadLabels: if they cannot be used.
        """
        return open_format(self.format).read(self.path, wanted, self.images or images or {})


@contextmanager
def opened_labels(path: Path, format: FormatName | None = None) -> Iterator[OpenedLabels]:
    """Find the labels in a file, a folder or an archive, which stays unpacked meanwhile.

    In a folder, the first format of ``FORMATS`` that anything in it is of counts: YOLO text
    before all others. Images count as come along if they lie in the folder too.

    Args:
        format: the only one to look for.

    Raises:
        BadLabels: if there is nothing of a known format, or two files of the same one.
        TooLarge: for a file of text that would fill the memory, see ``check_text``.
        TooLarge, StorageFull: for an archive, see ``unpacked``.
    """
    path = Path(path)
    if path.is_dir():
        yield _in_folder(path, path, format)
    elif not path.is_file():
        raise BadLabels(f"There are no labels at {path}: name a folder, file or archive.")
    elif is_archive(path):
        with unpacked(path) as folder:
            try:
                yield _in_folder(folder, path, format)
            except BadInput as error:
                # People know the archive, not where it was unpacked.
                said = str(error).replace(f"{folder}/", "").replace(str(folder), path.name)
                raise type(error)(said) from error
    else:
        check_text(path)
        yield OpenedLabels(path, format or recognise(path))


def _in_folder(folder: Path, given: Path, format: FormatName | None) -> OpenedLabels:
    top = _top(folder)
    for path in top.rglob("*"):
        check_text(path)
    for name in [format] if format else FORMATS:
        if found := _of_format(top, name):
            return OpenedLabels(found, name, find_images(top))
    known = format or ", ".join(FORMATS)
    raise BadLabels(
        f"{given} holds no label file of a format known here ({known}): put one into it, or "
        "for YOLO a .txt for each image."
    )


def _top(folder: Path) -> Path:
    """Where the labels begin: archives often hold all in one folder."""
    inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
    # YOLO's own folders are told by their names.
    if len(inside) == 1 and inside[0].is_dir() and inside[0].name not in ("images", "labels"):
        return inside[0]
    return folder


def _of_format(top: Path, name: FormatName) -> Path | None:
    """The top folder, or the one file in it, that is of a format."""
    module = open_format(name)
    if module.recognises(top):
        return top
    found = [path for path in _files(top, _DEPTH) if module.recognises(path)]
    if len(found) > 1:
        some = ", ".join(str(path.relative_to(top)) for path in found[:3])
        raise BadLabels(
            f"{top} holds {len(found)} label files of the format {name} ({some}): give one alone."
        )
    return found[0] if found else None


def _files(folder: Path, depth: int) -> Iterator[Path]:
    """What may be a label file, in a folder and those in it."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        if path.is_dir():
            if depth:
                yield from _files(path, depth - 1)
        elif path.suffix.lower() not in IMAGE_SUFFIXES and path.suffix.lower() != ".txt":
            yield path
