"""What a task's log says of why it failed, in one sentence."""

import re
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
