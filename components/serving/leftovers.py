"""What a killed server leaves in shared memory. Standard library only: the reaper imports it."""

from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory


def remove_shared_memory(prefix: str) -> list[str]:
    """Remove what a killed Triton left in shared memory; return the names.

    Only after the end of that Triton and its stubs.
    """
    left = [path for path in SHARED_MEMORY.glob(f"{prefix}*") if prefix]
    for path in left:
        path.unlink(missing_ok=True)
    return [path.name for path in left]
