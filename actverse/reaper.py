"""Ends what a supervisor left behind when it was killed. ``python -m actverse.reaper``

The supervisor writes ``+pgid`` and ``-pgid`` lines to this process's standard input, ``@mark`` by
which its processes are known, and ``~prefix`` for shared memory that is named so. When that ends
without ``done``, the supervisor is gone: every process group still listed is ended, and each other
one with a process of that mark; then such shared memory and the temporary files of killed steps
are removed. Standard library only, so that it costs little memory and starts at once.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from components.serving.leftovers import remove_abandoned, remove_shared_memory

MARK = "ACTVERSE_STARTED_BY"
_PATIENCE_SECONDS = 10.0


def end_groups(groups: set[int], patience: float = _PATIENCE_SECONDS) -> None:
    """End whole process groups, at first politely; return when none is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, number)
        deadline = time.monotonic() + patience
        while any(_alive(group) for group in groups) and time.monotonic() < deadline:
            time.sleep(0.05)


def marked_groups(mark: str) -> set[int]:
    """The process groups in which a process was started with a mark in its environment.

    Of this user's processes on Linux; elsewhere none is found.
    """
    found: set[int] = set()
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*") if mark else ():
        # Others' processes cannot be read, and those that end meanwhile are gone.
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(os.getpgid(int(folder.name)))
    return found - {os.getpgrp()}


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Follow the supervisor's list until it ends."""
    # A Ctrl-C in the terminal is the supervisor's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    groups: set[int] = set()
    mark = ""
    prefixes: set[str] = set()
    for line in sys.stdin:
        if line.strip() == "done":
            return
        if line[0] == "@":
            mark = line[1:].rstrip("\n")
            continue
        if line[0] == "~":
            prefixes.add(line[1:].strip())
            continue
        change = groups.add if line[0] == "+" else groups.discard
        change(int(line[1:]))
    end_groups(groups | marked_groups(mark))
    for prefix in prefixes:
        remove_shared_memory(prefix)
    remove_abandoned()


if __name__ == "__main__":
    main()
