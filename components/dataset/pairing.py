"""Which label file belongs to which image."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from components.errors import BadLabels

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# Text that labelling tools put beside the labels.
_NOT_LABELS = frozenset(
    {"classes", "labels", "notes", "readme", "train", "val", "test", "train_test_split"}
)


@dataclass(frozen=True)
class LabelledImage:
    """An image and the text file with its labels; both have the same stem."""

    image: Path
    label: Path

    @property
    def name(self) -> str:
        """The image's file name, as it stands in the split file."""
        return self.image.name


def labelled_images(images: Path, labels: Path) -> tuple[list[LabelledImage], int]:
    """The images that have labels, in time order, and the number of those that have none.

    Time order is the natural order of the names, so ``img9`` comes before ``img10``. Either
    folder may be flat, hold subfolders, or be the parent of YOLO's ``images/`` and ``labels/``.

    Raises:
        BadLabels: if a folder is missing or has no such files, a label file has no image, or
            two images or two label files share a stem.
    """
    image_files = _by_stem(_below(images, "images", IMAGE_SUFFIXES), images)
    if not image_files:
        raise BadLabels(
            f"There are no images in {images}: put the labelled frames there "
            f"({', '.join(sorted(IMAGE_SUFFIXES))})."
        )
    label_files = _by_stem(
        [
            path
            for path in _below(labels, "labels", {".txt"})
            if path.stem in image_files or path.stem.lower() not in _NOT_LABELS
        ],
        labels,
    )
    if not label_files:
        raise BadLabels(
            f"There are no labels in {labels}: put one YOLO .txt file there for each labelled "
            "image, under the image's name."
        )
    lost = sorted(label_files.keys() - image_files.keys(), key=natural_key)
    if lost:
        named = ", ".join(f"{stem}.txt" for stem in lost[:3]) + (", …" if len(lost) > 3 else "")
        raise BadLabels(
            f"{len(lost)} label files in {labels} have no image of their name in {images} "
            f"({named}): add the images or remove the labels."
        )
    pairs = [
        LabelledImage(image_files[stem], label_files[stem])
        for stem in sorted(label_files, key=natural_key)
    ]
    return pairs, len(image_files) - len(pairs)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts text with its numbers as numbers."""
    return tuple(
        (1, int(part), "") if part.isdecimal() else (0, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    )


def _below(folder: Path, yolo_name: str, suffixes: Iterable[str]) -> list[Path]:
    if not folder.is_dir():
        raise BadLabels(f"The folder {folder} with the {yolo_name} is not there: name another one.")
    inner = folder / yolo_name
    top = inner if inner.is_dir() else folder
    return [
        path
        for path in sorted(top.rglob("*"))
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith((".", "__")) for part in path.relative_to(top).parts)
    ]


def _by_stem(paths: Iterable[Path], folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise BadLabels(
                f"{found[path.stem].relative_to(folder)} and {path.relative_to(folder)} in "
                f"{folder} share a name, so their labels cannot be told apart: rename one."
            )
        found[path.stem] = path
    return found
