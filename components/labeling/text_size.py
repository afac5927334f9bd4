"""Files of text that are taken into memory as a whole: whether they leave room for the rest."""

from collections.abc import Mapping
from pathlib import Path

from components.errors import TooLarge

MAX_BYTES = 256 * 2**20
"""Of one file of text."""

MAX_PLAIN_BYTES = 8 * 2**20
"""Of the labels of one image, or of a list of names."""

MAX_MEMORY = 2**30
"""For what a file of text is read into, about; a worker has 2 GiB.

Two animals of 12 key points in each of 20,000 frames take 0.2 GiB as COCO, 0.6 GiB as CVAT's
XML and, by far the most, 1.4 GiB as Label Studio's JSON; one of them there half of that.
"""

_LETTERS, _LETTERS_OF_ANY_SCRIPT = 2, 5
_PLAIN = frozenset({".names", ".txt", ".yaml", ".yml"})

# Bytes of memory for each of these characters, measured with files made of little else: 3
# bytes of '[],' take 74, and a key of its own or an element of its own name some 300. What
# real files repeat, such as keys, takes less; so these lie between the two.
_COSTS: Mapping[str, Mapping[bytes, int]] = {
    ".json": {b"{": 100, b"[": 80, b",": 48, b":": 100},
    ".xml": {b"<": 300, b"=": 150},
    ".csv": {b"\n": 900, b"\r": 900, b",": 100},
}


def check_text(path: Path) -> None:
    """Refuse a file of text that would fill the memory; any other file passes.

    Raises:
        TooLarge: if it is larger than ``MAX_BYTES`` or, of a kind that is small,
            ``MAX_PLAIN_BYTES``, or would be read into more than ``MAX_MEMORY``.
    """
    suffix = path.suffix.lower()
    if (suffix not in _COSTS and suffix not in _PLAIN) or not path.is_file():
        return
    most = MAX_PLAIN_BYTES if suffix in _PLAIN else MAX_BYTES
    if path.stat().st_size > most:
        raise TooLarge(
            f"{path} is larger than the {most} bytes that such a label file may have: give the "
            "labels in parts."
        )
    if suffix in _COSTS and _memory(path, suffix) > MAX_MEMORY:
        raise TooLarge(
            f"{path} holds so much that it would take more than {MAX_MEMORY} bytes of memory: give "
            "the labels in parts."
        )


def _memory(path: Path, suffix: str) -> int:
    """About what a file is read into, bytes."""
    size = path.stat().st_size
    if size * (_LETTERS_OF_ANY_SCRIPT + max(_COSTS[suffix].values())) <= MAX_MEMORY:
        return 0  # whatever is in it
    total, ascii = 0, True
    with path.open("rb") as stream:
        while part := stream.read(2**20):
            total += sum(part.count(sign) * cost for sign, cost in _COSTS[suffix].items())
            ascii = ascii and part.isascii()
    if suffix == ".json":
        # It is there as bytes and as text, which one far letter makes four times as large.
        total += size * (_LETTERS if ascii else _LETTERS_OF_ANY_SCRIPT)
    return total
