"""Files and folders that a killed process could not remove.

A process holds a lock (``flock``) on what it has made. The kernel releases the lock however the
process ends, also in another container, where process ids say nothing. Standard library only: the
reaper imports it.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDER_PREFIX = "actverse-step-"
"""What the names of the temporary folders begin with."""


def hold(handle: int) -> None:
    """Mark an open file or folder as in use, until it is closed or this process ends."""
    fcntl.flock(handle, fcntl.LOCK_SH)


@contextlib.contextmanager
def taken_over(path: Path) -> Iterator[bool]:
    """Whether a file or folder is this user's and not in use; nobody can use it in the block."""
    # Others may put what they like under such a name.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        yield os.fstat(handle).st_uid == os.getuid() and _is_free(handle)
    finally:
        os.close(handle)


def _is_free(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for all temporary files of this process and of the processes that it starts.

    It is removed at the end; if this process is killed, by ``remove_abandoned_folders``.
    """
    folder, handle = _made()
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _made() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        # Until it is held, another process may remove it as abandoned.
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            hold(handle)
            if folder.exists():
                return folder, handle
            os.close(handle)


def remove_abandoned_folders() -> list[str]:
    """Remove the temporary folders whose processes have ended; return their names."""
    removed = []
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with taken_over(path) as free:
            if free:
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path.name)
    return removed
