"""What a step says of itself while it runs, where others can read it.

Each step keeps one small JSON file. Whoever watches (the gateway, the command line)
reads these files and needs no line to the process that does the work.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from components.errors import ActverseError
from components.files import write_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter

logger = logging.getLogger("actverse.steps")


class Progress(Protocol):
    """Tells how far a step is; ``done`` and ``total`` are in the step's own unit."""

    def __call__(self, done: float, total: float, **facts: Any) -> None: ...


def no_progress(done: float, total: float, **facts: Any) -> None:
    """A Progress for those who do not watch."""


@dataclass
class StepReport:
    """One step's state as it stands in its file.

    Attributes:
        step: its name.
        state: ``running``, ``succeeded`` or ``failed``.
        percent: 0 to 100.
        started, ended: seconds since the epoch; ``ended`` is 0 while it runs.
        error: one sentence, empty unless it failed.
        facts: whatever else is worth showing (epoch, metrics, version …).
    """

    step: str
    state: str = "running"
    percent: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write ``{step}.json`` in ``folder`` whole; return its path."""
        path = folder / f"{self.step}.json"
        write_text(path, json.dumps(self.__dict__, default=str))
        return path


@lru_cache
def _report_type() -> "TypeAdapter[StepReport]":
    from pydantic import TypeAdapter

    return TypeAdapter(StepReport)


def read_report(path: Path) -> StepReport:
    """A report from its file.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is no report: what loads somebody's weights may have written it.
    """
    return _report_type().validate_json(path.read_bytes())


def read_reports(folder: Path) -> list[StepReport]:
    """All reports in ``folder``, in the order in which their steps started.

    One that cannot be read is left out, and the log says so.
    """
    reports = []
    # A hidden one is still being written, and will have its name when it is whole.
    for path in folder.glob("[!.]*.json"):
        try:
            reports.append(read_report(path))
        except (OSError, ValueError) as error:
            logger.warning("the report %s cannot be read: %s", path, error)
    return sorted(reports, key=lambda report: report.started)


@contextmanager
def reported(
    step: str, folder: Path, written: Callable[[Path], None] = lambda _: None
) -> Iterator[Progress]:
    """Keep the report of ``step`` in ``folder`` while the block runs.

    Yields a Progress; the facts it is given are merged into the report. An error is
    recorded and raised on.

    Args:
        step: its name.
        folder: made if missing.
        written: is given the report's path each time that it was written.
    """
    report = StepReport(step, started=time.time())
    written(report.write(folder))
    last = 0.0

    def progress(done: float, total: float, **facts: Any) -> None:
        nonlocal last
        report.percent = round(100 * done / total, 1) if total else 0.0
        report.facts.update(facts)
        # Ten writes a second are enough for any watcher.
        if time.monotonic() - last > 0.1 or done >= total:
            last = time.monotonic()
            written(report.write(folder))

    try:
        yield progress
    except BaseException as error:
        report.state = "failed"
        report.error = (
            str(error)
            if isinstance(error, ActverseError)
            else f"The step {step} broke: {type(error).__name__}: {error}"
        )
        raise
    else:
        report.state, report.percent = "succeeded", 100.0
    finally:
        report.ended = time.time()
        written(report.write(folder))
