"""What the files of pose tools leave open: which file, which image, which class."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from components.errors import BadLabels

ANIMAL = "animal"
"""The class where neither the task nor the file names one."""

_NUMBER = re.compile(r"[_ -]?\d+$")


def only_file(path: Path, suffix: str, recognised: Callable[[Path], bool], tool: str) -> Path:
    """The one file of labels that ``path`` is, or that lies in the folder ``path``.

    Args:
        suffix: of the files to look at, as in ``.csv``.
        recognised: whether a file is one.
        tool: names the kind of file, for the errors.

    Raises:
        BadLabels: if there is none, or more than one.
    """
    found = recognised_files(path, suffix, recognised)
    if not found:
        raise BadLabels(f"{path.name} holds no labels of {tool}: give its {suffix} file.")
    if len(found) > 1:
        some = ", ".join(str(file.relative_to(path)) for file in found[:3])
        raise BadLabels(
            f"{path.name} holds {len(found)} files of {tool} ({some}): give one at a time."
        )
    return found[0]


def recognised_files(path: Path, suffix: str, recognised: Callable[[Path], bool]) -> list[Path]:
    """The files of a kind that ``path`` is or holds, sorted; hidden ones are left out."""
    if not path.is_dir():
        return [path] if path.suffix.lower() == suffix and recognised(path) else []
    return [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() == suffix
        and not any(part.startswith((".", "__")) for part in file.relative_to(path).parts)
        and recognised(file)
    ]


def stem_of(name: str) -> str:
    """The stem of a file's name as a tool on any system wrote it, folders or not."""
    return PurePosixPath(name.replace("\\", "/")).stem


def class_of(hints: Iterable[str | None], names: Sequence[str], where: str) -> str:
    """The class of an animal of whom a file says no class, only what else it is called.

    An animal called ``mouse``, ``mouse2`` or ``mouse_2`` is a ``mouse`` where that is a
    class; any other is of the one class that there is.

    Args:
        hints: names of the animal, track or skeleton, the best one first.
        names: the classes.
        where: names the image, for the errors.

    Raises:
        BadLabels: if there are several classes and the hints fit none.
    """
    called = [hint for hint in hints if hint]
    for hint in called:
        for name in (hint, _NUMBER.sub("", hint)):
            if name in names:
                return name
    if len(names) == 1:
        return names[0]
    raise BadLabels(
        f"{where}: nothing tells which of {', '.join(names)} the animal "
        f"{' / '.join(called) or 'without a name'} is; call it after its class "
        f"({names[0]}_1), or give the task one class."
    )
