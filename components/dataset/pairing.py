"""Which label file belongs to which image."""

import re
from dataclasses import dataclass
from pathlib import Path

from components.errors import BadLabels
from components.label_files import IMAGE_SUFFIXES, find_images, find_labels


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
    image_files = find_images(images)
    if not image_files:
        raise BadLabels(
            f"There are no images in {images}: put the labelled frames there "
            f"({', '.join(sorted(IMAGE_SUFFIXES))})."
        )
    label_files = find_labels(labels, image_files)
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
