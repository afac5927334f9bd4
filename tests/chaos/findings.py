"""What was killed, what was found, and which kill stood before what was found."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

COLUMNS = {
    "lost": "tasks, events or notifications without an end in time",
    "failed": "tasks that failed, though unkilled ones of their kind succeed",
    "doubled": "side effects that happened more often than they may",
    "retrained": "trainings run to their end twice for one task",
    "differing": "results that differ from those of an unkilled task",
    "stalls": "times at which work was due and no worker began any",
    "stack": "times at which the stack gave up, or did not stop",
    "leftovers": "what is left: processes, temporary files, shared memory, open runs",
}


@dataclass(frozen=True)
class Finding:
    """Something that should not be.

    Attributes:
        column: one of ``COLUMNS``.
        what: in a sentence.
        details: more of it.
        moment: when it came about, seconds since the epoch; 0 if that is not known.
        after: the last kill before that.
    """

    column: str
    what: str
    details: tuple[str, ...] = ()
    moment: float = 0.0
    after: str = ""


@dataclass(frozen=True)
class Struck:
    """A kill that was done, or could not be.

    Attributes:
        aimed: whether the moment had come that was waited for.
        victim: the process; empty if there was none.
        tasks: what was open then, and its steps.
    """

    time: float
    number: int
    target: str
    text: str
    aimed: bool
    victim: str
    tasks: tuple[str, ...]


class Log:
    """Takes what happens, writes kills and findings down as they come.

    Args:
        told: is given each line of progress.
    """

    def __init__(self, folder: Path, told: Callable[[str], None]) -> None:
        self._path, self._told = folder / "kills.jsonl", told
        self._lock = threading.Lock()
        self.struck: list[Struck] = []
        self.findings: list[Finding] = []
        self.begun = time.time()

    def say(self, line: str) -> None:
        """Tell a line of progress."""
        self._told(f"{time.time() - self.begun:7.1f} s  {line}")

    def kill(self, struck: Struck) -> None:
        """Write a kill down."""
        with self._lock:
            self.struck.append(struck)
            self._write({"kill": struck.__dict__})
        missed = "" if struck.aimed else "  (its moment did not come)"
        self.say(f"{struck.text}  {struck.victim or 'nobody was there'}{missed}")

    def find(self, finding: Finding) -> None:
        """Write a finding down, with the kill that stood before it."""
        moment = finding.moment or time.time()
        found = replace(finding, moment=moment, after=finding.after or self.before(moment))
        with self._lock:
            self.findings.append(found)
            self._write({"finding": found.__dict__})
        self.say(f"FOUND [{found.column}] {found.what}")

    def before(self, moment: float) -> str:
        """The last kill before a moment, in words."""
        earlier = [one for one in self.struck if one.time <= moment and one.victim]
        return earlier[-1].text if earlier else ""

    def _write(self, entry: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, default=str) + "\n")
