"""The label files and images of a folder, by stem: what belongs together shares its stem.

A folder may be flat, hold subfolders, or be the parent of YOLO's ``images/`` and ``labels/``.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from components.errors import BadLabels

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# Text that labelling tools put beside the labels.
_NOT_LABELS = frozenset(
    {"classes", "held_out", "labels", "notes", "readme", "test", "train", "train_test_split", "val"}
)


def find_images(folder: Path) -> dict[str, Path]:
    """The images of a folder.

    Raises:
        BadLabels: if the folder is missing, or two images share a stem.
    """
    return _by_stem(_below(folder, "images", IMAGE_SUFFIXES), folder)


def find_labels(folder: Path, images: Collection[str] = ()) -> dict[str, Path]:
    """The label files of a folder; a ``classes.txt`` is one only for an image of that stem.

    Raises:
        BadLabels: if the folder is missing, or two label files share a stem.
    """
    found = _below(folder, "labels", {".txt"})
    return _by_stem(
        [path for path in found if path.stem in images or path.stem.lower() not in _NOT_LABELS],
        folder,
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
