"""Ends what a supervisor left behind when it was killed. ``python -m actverse.reaper``

The supervisor writes ``+pgid`` and ``-pgid`` lines to this process's standard input, and a
line ``~prefix`` for shared memory that is named so. When that ends without ``done``, the
supervisor is gone: every process group still listed is ended, then such shared memory removed.
Standard library only, so that it costs little memory and starts at once.
"""

import contextlib
import os
import signal
import sys
import time

from components.serving.leftovers import remove_shared_memory

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
    prefixes: set[str] = set()
    for line in sys.stdin:
        if line.strip() == "done":
            return
        if line[0] == "~":
            prefixes.add(line[1:].strip())
            continue
        change = groups.add if line[0] == "+" else groups.discard
        change(int(line[1:]))
    end_groups(groups)
    for prefix in prefixes:
        remove_shared_memory(prefix)


if __name__ == "__main__":
    main()
