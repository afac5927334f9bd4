"""SIGTERM as an exception, so that a training can say that it was ended."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(SystemExit):
    """The process was asked to end."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Raise Terminated in the block on SIGTERM.

    Only in the main thread, where Python lets signals be caught, and only where nobody else
    has taken the signal.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated(128 + number)

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
