"""Work that does not end, takes too much or breaks, for what has to end it."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy

from components import errors
from components.serving.leftovers import SHARED_MEMORY
from components.serving.shared_memory import SharedBlock

HOLD = "import time; time.sleep(600)"


def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


def raise_error(kind: str, sentence: str) -> None:
    """Raise one of our errors, or a built-in one."""
    raise getattr(errors, kind, ValueError)(sentence)


def spin() -> None:
    """Never end, and listen to nothing."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    while True:
        pass


def wait() -> None:
    """Never end, but as anybody who is told to."""
    signal.pause()


def draw() -> list[float]:
    """Return random numbers, of Python and of NumPy."""
    return [random.random(), float(numpy.random.random())]


def has_module(name: str) -> bool:
    """Return whether a module is imported already."""
    return name in sys.modules


def take(mebibytes: int) -> None:
    """Take memory bit by bit and stay with it."""
    held = []
    for _ in range(mebibytes):
        held.append(bytearray(b"1" * 2**20))
        time.sleep(0.001)
    signal.pause()


def multiply(processes: int) -> None:
    """Start many processes and stay."""
    for _ in range(processes):
        subprocess.Popen([sys.executable, "-c", HOLD])
    signal.pause()


def end_by(number: int) -> None:
    """End by a signal."""
    os.kill(os.getpid(), number)


def end_while_sending(number: int, blocks: str) -> None:
    """End by a signal, with a block of shared memory and a temporary folder.

    Args:
        blocks: the file that is told their paths, each in a line of its own.
    """
    block = SharedBlock(4096)
    with Path(blocks).open("a") as told:
        told.write(f"{SHARED_MEMORY / block.key[1:]}\n{tempfile.mkdtemp()}\n")
    os.kill(os.getpid(), number)


def leave(code: int) -> None:
    """End without a word."""
    os._exit(code)


def have_children(pids: str, *, stay: bool) -> None:
    """Start a child, a child of a child, and one in a session of its own whose parent is gone.

    Args:
        pids: the file that is told who they are, and this process first.
        stay: do not end.
    """
    child = (
        "import os, subprocess, sys\n"
        f"grandchild = subprocess.Popen([sys.executable, '-c', {HOLD!r}])\n"
        "print(grandchild.pid, flush=True)\n"
        "if sys.argv[1] == 'stay':\n"
        f"    {HOLD}\n"
    )
    found = [os.getpid()]
    for argument, apart in (("stay", False), ("go", True)):
        started = subprocess.Popen(
            [sys.executable, "-c", child, argument],
            stdout=subprocess.PIPE,
            start_new_session=apart,
        )
        assert started.stdout is not None
        found.append(int(started.stdout.readline()))
        if argument == "stay":
            found.append(started.pid)
        else:
            started.wait()
    written = Path(f"{pids}.half")
    written.write_text(" ".join(map(str, found)))
    written.rename(pids)
    if stay:
        signal.pause()
