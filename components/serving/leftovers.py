"""What killed processes leave. Standard library only: the reaper imports it."""

from pathlib import Path

from components.abandoned import remove_abandoned_folders, taken_over

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
BLOCK_PREFIX = "actverse-"
"""What the names of the blocks of frames begin with."""


def remove_shared_memory(prefix: str) -> list[str]:
    """Remove what a killed Triton left in shared memory; return the names.

    Only after the end of that Triton and its stubs.
    """
    left = [path for path in SHARED_MEMORY.glob(f"{prefix}*") if prefix]
    for path in left:
        path.unlink(missing_ok=True)
    return [path.name for path in left]


def remove_abandoned_blocks() -> list[str]:
    """Remove the blocks of this user's whose makers have ended; return the names."""
    removed = []
    for path in SHARED_MEMORY.glob(f"{BLOCK_PREFIX}*"):
        with taken_over(path) as free:
            if free:
                path.unlink(missing_ok=True)
                removed.append(path.name)
    return removed


def remove_abandoned() -> None:
    """Remove the blocks and the temporary folders whose makers have ended."""
    remove_abandoned_blocks()
    remove_abandoned_folders()
