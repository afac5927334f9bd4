"""What a step says of itself while it runs, where others can read it.

Each step keeps one small JSON file. Whoever watches (the gateway, the command line)
reads these files and needs no line to the process that does the work.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from components.errors import ActverseError, StorageFull, Unavailable
from components.files import write_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter

logger = logging.getLogger("actverse.steps")


class Progress(Protocol):
    """Tells how far a step is; ``done`` and ``total`` are in the step's own unit."""

    def __call__(self, done: float, total: float, **facts: Any) -> None: ...


class Reporter(Progress, Protocol):
    """The Progress of a step that keeps a report."""

    def waits(self, sentence: str) -> None:
        """Say what the step waits for; "" when it waits no more."""


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
        error: one sentence: why it failed, or while it runs what it waits for; else empty.
        facts: whatever else is worth showing (epoch, metrics, version …).
        seen: seconds since the epoch: when it was last written; 0 if that is not known.
        passing: whether it failed for want of something that comes back by itself.
    """

    step: str
    state: str = "running"
    percent: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    seen: float = 0.0
    passing: bool = False

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
    step: str,
    folder: Path,
    written: Callable[[Path], None] = lambda _: None,
    beat_seconds: float = 0.0,
) -> Iterator[Reporter]:
    """Keep the report of ``step`` in ``folder`` while the block runs.

    Yields a Reporter; the facts it is given are merged into the report. An error is
    recorded and raised on.

    Args:
        step: its name.
        folder: made if missing.
        written: is given the report's path each time that it was written; from another
            thread, too, where the step is silent.
        beat_seconds: the report is written at least so often, which tells that the step is
            alive; 0: only when there is news.
    """
    report = StepReport(step, started=time.time())
    kept = _Kept(report, folder, written)
    kept.tell()
    try:
        with _beating(step, kept.beat, beat_seconds):
            yield kept
    except BaseException as error:
        report.state = "failed"
        report.passing = isinstance(error, Unavailable | StorageFull)
        report.error = (
            str(error)
            if isinstance(error, ActverseError)
            else f"The step {step} broke: {type(error).__name__}: {error}"
        )
        raise
    else:
        report.state, report.percent, report.error = "succeeded", 100.0, ""
    finally:
        report.ended = time.time()
        kept.tell()


class _Kept:
    """Writes a step's report when there is news."""

    def __init__(self, report: StepReport, folder: Path, written: Callable[[Path], None]) -> None:
        self._report, self._folder, self._written = report, folder, written
        self._lock = threading.Lock()
        self._last = 0.0

    def __call__(self, done: float, total: float, **facts: Any) -> None:
        with self._lock:
            self._report.percent = round(100 * done / total, 1) if total else 0.0
            self._report.facts.update(facts)
            # Ten writes a second are enough for any watcher.
            if time.monotonic() - self._last > 0.1 or done >= total:
                self._last = time.monotonic()
                self.tell()

    def waits(self, sentence: str) -> None:
        with self._lock:
            self._report.error = sentence
            self.tell()

    def beat(self) -> None:
        with self._lock:
            self.tell()

    def tell(self) -> None:
        self._report.seen = time.time()
        self._written(self._report.write(self._folder))


@contextmanager
def _beating(step: str, beat: Callable[[], None], seconds: float) -> Iterator[None]:
    """Have ``beat`` called every so many seconds while the block runs, and no more behind it."""
    if not seconds:
        yield
        return
    ended = threading.Event()

    def keep_on() -> None:
        while not ended.wait(seconds):
            try:
                beat()
            except (ActverseError, OSError) as error:
                logger.warning("the report of %s was not written: %s", step, error)

    thread = threading.Thread(target=keep_on, name=step, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
