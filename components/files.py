"""Files and folders that appear whole: written beside, then renamed."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.errors import disk_errors


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; rename it to ``path`` at the end.

    The temporary name keeps the suffix, since writers choose formats by it. When
    the block fails, nothing is left and an older ``path`` stays as it was.

    Raises:
        StorageFull: when the disk is full.
    """
    path = Path(path)
    with disk_errors(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
        try:
            yield beside
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path`` to fill; it takes ``path``'s place at the end.

    An older folder at ``path`` is replaced as a whole; when the block fails it stays.

    Raises:
        StorageFull: when the disk is full.
    """
    path = Path(path)
    with disk_errors(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        beside.mkdir()
        try:
            yield beside
            old = path.with_name(f".{path.name}.{uuid.uuid4().hex}.old")
            if path.exists():
                path.replace(old)
            beside.replace(path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process left beside the file or folder ``path``, or in the folder.

    Only for who knows that nobody writes there now.
    """
    left = [*path.parent.glob(f".{path.stem}.*"), *path.glob(".*")]
    for leftover in left:
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 so that ``path`` appears whole."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Make ``target`` a second name of ``source``, or a copy across file systems.

    A symbolic link is followed: what it leads to is what stands in ``target``. Text is
    taken too, so that ``shutil.copytree`` can use this as its ``copy_function``.
    """
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    try:
        # os.link itself would make a second name of the symbolic link.
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


def publish_folder(source: Path, target: Path) -> None:
    """Make ``target`` a copy of the finished folder ``source``; it appears whole."""
    with whole_folder(target) as beside:
        shutil.copytree(source, beside, copy_function=link_or_copy, dirs_exist_ok=True)


def publish_file(source: Path, target: Path) -> None:
    """Make ``target`` a copy of the finished file ``source``; it appears whole."""
    with whole_file(target) as beside:
        link_or_copy(source, beside)
