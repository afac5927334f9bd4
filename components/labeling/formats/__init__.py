"""Label files of other tools, read into a LabelSet and written from one.

Each format is a module of this folder with

- ``recognises(path)``: whether a file or folder is one of its kind, told by a quick look;
- ``names(path)``: the stems of the images that it labels, without their sizes being known;
- ``read(path, wanted, images)``: a LabelSet, checked whole; ``images`` are the files by stem;
- ``write(labels, folder)``: its files into an empty folder.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, cast, get_args

from components.errors import BadLabels
from components.labeling.label_set import LabelSet
from components.labeling.wanted import WantedLabels

FormatName = Literal["yolo", "coco", "deeplabcut", "label-studio", "cvat", "sleap"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)


class Format(Protocol):
    """What a module of this folder offers."""

    def recognises(self, path: Path) -> bool:
        """Whether ``path``, a file or folder, looks like one of this format."""

    def names(self, path: Path) -> list[str]:
        """The stems of the images that have labels here, sorted.

        Raises:
            BadLabels: if it cannot be read.
        """

    def read(self, path: Path, wanted: WantedLabels, images: Mapping[str, Path]) -> LabelSet:
        """The labels.

        Args:
            wanted: what the task asks for; by its names the classes are known.
            images: the files of the images that may be labelled, by stem.

        Raises:
            BadLabels: for a label of an image that is not among ``images``, and for all that
                ``frame_labels`` refuses; each names the file and the image.
        """

    def write(self, labels: LabelSet, folder: Path) -> None:
        """Write the labels into an empty folder.

        Raises:
            BadInput: if the format cannot hold them.
        """


def open_format(name: FormatName) -> Format:
    """The module of a format; imported here, since some bring large libraries."""
    return cast(Format, import_module(f"{__name__}.{name.replace('-', '_')}"))


def recognise(path: Path) -> FormatName:
    """The format of a file or folder of labels.

    Raises:
        BadLabels: if it is of none of them.
    """
    for name in FORMATS:
        if open_format(name).recognises(path):
            return name
    raise BadLabels(
        f"{path.name} is of no label format known here ({', '.join(FORMATS)}): give one of "
        "these, or a folder or .zip of one."
    )
