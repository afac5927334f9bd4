"""What killed processes leave in shared memory. Standard library only: the reaper imports it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
BLOCK_PREFIX = "actverse-"
"""What the names of the blocks begin with that frames are sent in."""


def remove_shared_memory(prefix: str) -> list[str]:
    """Remove what a killed Triton left in shared memory; return the names.

    Only after the end of that Triton and its stubs.
    """
    left = [path for path in SHARED_MEMORY.glob(f"{prefix}*") if prefix]
    for path in left:
        path.unlink(missing_ok=True)
    return [path.name for path in left]


def remove_abandoned_blocks() -> list[str]:
    """Remove the blocks of this user's whose makers have ended; return the names.

    A maker holds the lock of its block (``flock``), which the kernel takes from it however it
    ends. That also tells of a maker in another container, where process ids say nothing.
    """
    return [path.name for path in SHARED_MEMORY.glob(f"{BLOCK_PREFIX}*") if _remove_free(path)]


def _remove_free(path: Path) -> bool:
    # Others may put here what they like under such a name.
    with _opened(path) as handle:
        if handle is None or os.fstat(handle).st_uid != os.getuid():
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        path.unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)
