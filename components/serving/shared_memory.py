"""A block of POSIX shared memory that ends with its maker.

Not ``multiprocessing.shared_memory``: that one reserves nothing, so that a full
``/dev/shm`` (64 MB in a container by default) kills the process that writes to it.
"""

import mmap
import os
import socket
import uuid
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from components.errors import disk_errors

_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory


def on_this_host(url: str) -> bool:
    """Whether the server at ``url`` (host:port) can be one that shares memory with us.

    A Triton in another pod or on another machine has an address that is none of ours. One in
    a container of this machine may have one of ours; that it finds no block is its own answer.
    """
    host = url.rpartition(":")[0].strip("[]")
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    return any(_is_ours(family, address) for family, _, _, _, address in found)


def _is_ours(family: int, address: tuple[Any, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


class SharedBlock:
    """A named block, mapped here.

    Attributes:
        key: its name, as ``shm_open`` and Triton take it.
        size: bytes.
        memory: the mapping; views into it stay valid after ``unlink``.
    """

    def __init__(self, size: int) -> None:
        """Make a block of ``size`` bytes, reserved as a whole.

        Raises:
            StorageFull: if there is not that much shared memory.
        """
        self.key = f"/actverse-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.size = size
        self._path = _FOLDER / self.key[1:]
        with disk_errors(f"{size} bytes of shared memory"):
            handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                # The tracker removes the block even if this process is killed.
                resource_tracker.register(self.key, "shared_memory")
                os.posix_fallocate(handle, 0, size)
                self.memory = mmap.mmap(handle, size)
            except BaseException:
                self.unlink()
                raise
            finally:
                os.close(handle)

    def unlink(self) -> None:
        """Remove the name; the memory is given back with the last view of it."""
        if self._path.exists():
            self._path.unlink()
            resource_tracker.unregister(self.key, "shared_memory")
