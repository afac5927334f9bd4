"""Keeps the home folder to its owner: database, videos, logs and secrets lie in it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.errors import Refused

OWNER_ONLY = 0o077
"""The umask by which files and shared memory are their owner's alone."""


@contextmanager
def owner_only() -> Iterator[None]:
    """Let what this process makes while the block runs be its owner's alone."""
    before = os.umask(OWNER_ONLY)
    try:
        yield
    finally:
        os.umask(before)


def own_home(home: Path) -> None:
    """Make the home folder, or close one that is there to every other account.

    Whatever the modes of the files in it, nobody else reaches them through a closed folder.

    Raises:
        Refused: if the folder is another account's, or one that all accounts share.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = home.stat()
    if found.st_mode & stat.S_ISVTX:
        raise Refused(
            f"{home} is a folder that all accounts share: set ACTVERSE_HOME to one of your own, "
            f"such as {home / 'actverse'}."
        )
    if found.st_mode & OWNER_ONLY:
        try:
            home.chmod(stat.S_IMODE(found.st_mode) & ~OWNER_ONLY)
        except PermissionError as error:
            raise Refused(
                f"{home} is open to other accounts, and this account may not close it: let its "
                "owner do so, or set ACTVERSE_HOME to a folder of your own."
            ) from error
