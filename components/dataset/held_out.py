"""Which images no model may learn from: named by an earlier round, or those of a dataset.

A task's later rounds must be measured on what its first one was measured on. So its labels
folder holds ``held_out.txt``, the stem of one image a line, and ``build_dataset`` keeps to it.
"""

from collections.abc import Iterable
from pathlib import Path

from components.dataset.facts import SPLIT
from components.errors import BadInput, BadLabels, NotFound
from components.files import write_text

HELD_OUT = "held_out.txt"


def write_held_out(labels: Path, stems: Iterable[str]) -> None:
    """Name the images that the next dataset of a labels folder must hold out; none: no file."""
    named = sorted(set(stems))
    if named:
        write_text(Path(labels) / HELD_OUT, "".join(f"{stem}\n" for stem in named))
    else:
        (Path(labels) / HELD_OUT).unlink(missing_ok=True)


def read_held_out(labels: Path) -> tuple[str, ...]:
    """The stems that a labels folder's ``held_out.txt`` names, each once; none without a file.

    Raises:
        BadLabels: if the file cannot be read as text.
    """
    path = Path(labels) / HELD_OUT
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise BadLabels(
            f"{path} cannot be read as text: write the name of one held-out image a line, "
            "without its suffix, or remove the file."
        ) from error
    return tuple(dict.fromkeys(stem for line in lines if (stem := line.strip())))


def held_out_stems(dataset: Path) -> tuple[str, ...]:
    """The stems of the images that a finished dataset holds out, in time order.

    Raises:
        NotFound: if there is no dataset.
        BadInput: if its split file cannot be read.
    """
    path = Path(dataset) / SPLIT
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        return tuple(Path(name).stem for part, name in rows if part == "val")
    except FileNotFoundError as error:
        raise NotFound(f"No dataset lies in {dataset}: build one first.") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is not a dataset's split: build the dataset again.") from error


def held_out_images(dataset: Path) -> list[Path]:
    """The held-out images of a dataset, by name.

    Raises:
        BadInput: if there are none.
    """
    images = Path(dataset) / "images" / "val"
    paths = sorted(path for path in images.glob("*") if path.is_file())
    if not paths:
        raise BadInput(f"{dataset} holds no images in images/val: make the dataset again.")
    return paths
