"""What a task's log and exit code say of why it failed, in one sentence."""

import re
import signal
from collections.abc import Iterable

_OURS = re.compile(r"^\s*components\.errors\.\w+: (?P<sentence>\S.*)$")
_ANY = re.compile(
    r"^\s*(?P<fault>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt)\b.*)$"
)
_LONGEST = 1000


def error_sentence(lines: Iterable[str], task: str) -> str:
    """The sentence at the end of the last traceback in a task's log; empty if there is none.

    An error of ours is a sentence already; another one is named with the task that it broke.
    """
    broke = ""
    for line in reversed(list(lines)):
        if found := _OURS.match(line):
            return found["sentence"].strip()[:_LONGEST]
        if not broke and (found := _ANY.match(line)):
            broke = f"The step {task} broke: {found['fault'].strip()}"[:_LONGEST]
    return broke


FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""The signals that no process sends itself by a fault of its own."""

_SHELL = 128


def ending_signal(code: int) -> int:
    """The signal that ended a process; 0 if none did.

    Args:
        code: how Python tells it, below 0, or how a shell or a container does, above 128.
    """
    number = -code if code < 0 else code - _SHELL
    return number if number in set(signal.Signals) else 0


def signal_sentence(number: int, task: str) -> str:
    """Why a task failed whose process a signal has ended; empty for 0."""
    if not number:
        return ""
    name = signal.Signals(number).name
    if number in FROM_OUTSIDE:
        return (
            f"The step {task} was ended from outside by signal {number} ({name}): see that the "
            "machine has memory enough, and who ends processes."
        )
    return f"The step {task} broke and was ended by signal {number} ({name}): see its log."
