"""Keys of stored files, and the local paths they stand for.

A key is relative to the storage's root and '/'-separated. It comes from clients, too, so
only such keys are let through that mean the same to a folder and to S3 and that cannot
lead elsewhere: no empty part, no '.' or '..', no backslash, no control character.
"""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from components.errors import Refused

_MAX_KEY_BYTES = 800  # S3 takes 1024, with the prefix of the storage
_MAX_NAME_BYTES = 200  # file systems take 255, with what a temporary name adds


def checked_key(key: str) -> str:
    """Return ``key`` if it may name a file or folder of a storage.

    Raises:
        Refused: if it is empty or too long, absolute, holds '..' or another name that
            means something else to a file system than to S3.
    """
    parts = key.split("/")
    odd = any(unicodedata.category(sign) in ("Cc", "Cs") for sign in key)
    if odd or "\\" in key or any(part in ("", ".", "..") for part in parts):
        raise Refused(
            f"The storage key {key!r} is not allowed: give names with single '/' between them, "
            "without '.', '..', backslashes and control characters."
        )
    if len(key.encode()) > _MAX_KEY_BYTES or any(
        len(part.encode()) > _MAX_NAME_BYTES for part in parts
    ):
        raise Refused(
            f"The storage key {key[:40]!r}… is too long: give at most {_MAX_NAME_BYTES} bytes "
            f"for each name and {_MAX_KEY_BYTES} for all."
        )
    return key


def is_listed(key: str) -> bool:
    """Whether listings show this key: temporaries of ``components/files.py`` are left out."""
    if any(name.startswith(".") for name in key.split("/")):
        return False
    try:
        return bool(checked_key(key))
    except Refused:
        return False


def key_of(root: Path, path: Path) -> str:
    """The key of a local path below ``root``; ``root`` and ``path`` may be given resolved.

    Raises:
        Refused: if the path does not lie below the root, or its name can be no key.
    """
    for base, inner in ((root, path), (root.resolve(), path.resolve())):
        if inner.is_relative_to(base) and ".." not in inner.parts:
            return checked_key(inner.relative_to(base).as_posix())
    raise Refused(f"{path} lies outside the storage {root}: give a path inside it.")


def path_of(root: Path, key: str) -> Path:
    """The local path of a key.

    Symbolic links are followed as long as they stay below ``root``, and for what belongs
    to a user, below ``users/{user}``.

    Raises:
        Refused: if the key is malformed or leads outside.
    """
    path = root / checked_key(key)
    parts = key.split("/")
    home = root.joinpath(*parts[:2]) if parts[0] == "users" and len(parts) > 2 else root
    try:
        inside = path.resolve().is_relative_to(home.resolve())
    except (OSError, RuntimeError):  # links that lead in a circle
        inside = False
    if not inside:
        raise Refused(f"The storage key {key!r} leads outside by a link: give another one.")
    return path


def walk(folder: Path, key: str, after: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files below ``folder``, whose own key is ``key``, in the order of their keys.

    The order is that of S3, by whole keys: ``a-b`` comes before ``a/b``. Temporaries and
    what is no file are left out, linked folders are not entered. Files that vanish on the
    way are no error.

    Args:
        folder: where to look; it need not exist.
        key: its key, empty for the root.
        after: only keys greater than this one are given.
    """
    entries: list[tuple[str, os.DirEntry[str]]] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        for entry in found:
            if not entry.name.startswith("."):
                slash = "/" if entry.is_dir(follow_symlinks=False) else ""
                entries.append((entry.name + slash, entry))
    for name, entry in sorted(entries, key=lambda one: one[0]):
        below = f"{key}/{name}" if key else name
        if name.endswith("/"):
            if below > after or after.startswith(below):
                yield from walk(Path(entry.path), below[:-1], after)
        elif below > after and _is_file(entry):
            yield below, entry


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # links that lead in a circle
        return False
