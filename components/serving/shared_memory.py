"""A block of POSIX shared memory, which others remove if its maker is killed.

Not ``multiprocessing.shared_memory``: that one reserves nothing, so that a full
``/dev/shm`` (64 MB in a container by default) kills the process that writes to it.
"""

import contextlib
import mmap
import os
import socket
import uuid
from typing import Any

from components.abandoned import hold
from components.errors import disk_errors
from components.serving.leftovers import BLOCK_PREFIX, SHARED_MEMORY, remove_abandoned_blocks


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
        remove_abandoned_blocks()
        self.key = f"/{BLOCK_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.size = size
        self._path = SHARED_MEMORY / self.key[1:]
        with disk_errors(f"{size} bytes of shared memory"), contextlib.ExitStack() as opened:
            # Without a name until its lock is held: nobody takes it for one that is left over.
            handle = os.open(SHARED_MEMORY, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            opened.callback(os.close, handle)
            hold(handle)
            os.posix_fallocate(handle, 0, size)
            self.memory = mmap.mmap(handle, size)
            # A folder, though none is needed: without one ``os.link`` would link the link in /proc.
            os.link(f"/proc/self/fd/{handle}", self._path, src_dir_fd=handle)
            self._opened = opened.pop_all()

    def unlink(self) -> None:
        """Remove the name; the memory is given back with the last view of it."""
        self._path.unlink(missing_ok=True)
        self._opened.close()
