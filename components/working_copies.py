"""The working copies of an S3 storage, one a task; those that nobody uses make room.

Each lies in a folder of its own, so that what one task's steps do is never in the way of
another's, and goes as a whole. The processes and threads of a machine that share these
folders tell each other by a lock on a file in each that it is in use, and by what stands in
that file how large it was when it was last used: labels are looked at every few seconds. A
copy that is gone costs another transfer, and of a step that is tried again what it had not
kept yet.
"""

import fcntl
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from components.folder_storage import folder_errors
from components.layout import checked_name
from components.storage import Storage

logger = logging.getLogger("actverse.storage")

IDLE_BYTES = 8 * 2**30
_LOCK = ".in-use"


class WorkingCopies:
    """Those below one folder.

    Args:
        storage: whose files they hold.
        folder: made when it is first needed.
        idle_bytes: what those that nobody uses may hold together; the one that was used last
            stays in any case, for its task's next step.
    """

    def __init__(self, storage: Storage, folder: Path, idle_bytes: int = IDLE_BYTES) -> None:
        self._storage, self._folder, self._idle_bytes = storage, folder, idle_bytes

    @contextmanager
    def of(self, task_id: str) -> Iterator[Storage]:
        """Hold a task's copy: the storage to work with. A folder as the storage has no copies.

        Raises:
            Unavailable: if the copy's folder cannot be made.
        """
        if not self._storage.is_copied:
            yield self._storage
            return
        folder = self._folder / checked_name(task_id, "task id")
        with folder_errors(self._folder):
            lock = _held(folder)
        try:
            with lock:
                try:
                    yield self._storage.working_in(folder)
                finally:
                    # Always as long, so that of two at once neither leaves half of it.
                    os.pwrite(lock.fileno(), b"%020d" % _bytes_of(folder), 0)
        finally:
            self._trim()

    def _trim(self) -> None:
        """Remove copies that nobody uses, those that were used last last of all."""
        room, spared = self._idle_bytes, False
        try:
            for folder in self._by_last_use():
                with _unused(folder) as unused:
                    if not unused:
                        continue
                    room -= _noted_bytes(folder)
                    if spared and room < 0:
                        # It goes at once: who waits for its lock makes a new one.
                        gone = folder.with_name(f".{uuid.uuid4().hex}")
                        folder.replace(gone)
                        shutil.rmtree(gone, ignore_errors=True)
                    spared = True
        except OSError as error:
            # What the step has done is done; the next one trims again.
            logger.warning("the working copies could not be looked through: %s", error)

    def _by_last_use(self) -> list[Path]:
        found: list[tuple[float, Path]] = []
        for folder in self._folder.iterdir():
            if folder.name.startswith("."):  # of a process that was killed
                shutil.rmtree(folder, ignore_errors=True)
                continue
            with suppress(FileNotFoundError):
                found.append(((folder / _LOCK).stat().st_mtime, folder))
        return [folder for _, folder in sorted(found, reverse=True)]


def _held(folder: Path) -> IO[bytes]:
    """The open file by which a copy is held until it is closed."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # removed since
            # For reading too, and not to append: a size is written over another one.
            file = os.fdopen(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT), "r+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_SH)
            if _is_that_of(folder, file):
                file.truncate(0)  # who is killed leaves none
                return file
            file.close()


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Whether nobody uses a copy, nor can begin to in the block."""
    with ExitStack() as opened:
        unused = False
        with suppress(FileNotFoundError, BlockingIOError):
            file = opened.enter_context((folder / _LOCK).open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unused = _is_that_of(folder, file)
        yield unused


def _is_that_of(folder: Path, file: IO[bytes]) -> bool:
    """Whether what was locked still is the copy's: it may have been removed in between."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat())
    except FileNotFoundError:
        return False


def _noted_bytes(folder: Path) -> int:
    noted = (folder / _LOCK).read_bytes()
    return int(noted) if noted else _bytes_of(folder)


def _bytes_of(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).lstat().st_size
    return total
