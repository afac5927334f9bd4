"""Starts and watches the process in which a checkpoint is exported."""

import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from components import errors
from components.errors import ActverseError, BadInput, StepFailed
from components.export.checkpoint import REPORT
from components.steps import Progress, StepReport, no_progress, read_report

_log = logging.getLogger(__name__)

SECONDS = 900.0
_POLL_SECONDS = 0.3
_LOG_SHOWN = 2000


def export_apart(
    checkpoint: Path,
    frames: Path,
    out: Path,
    *,
    imgsz: int | None,
    environment: Mapping[str, str],
    seconds: float = SECONDS,
    progress: Progress = no_progress,
) -> None:
    """As ``export_checkpoint``, in a process of its own, which is ended with this call.

    What it leaves in ``out`` was made beside a file that nobody vouches for: check it.

    Args:
        checkpoint, frames, out, imgsz: as of ``export_checkpoint``; the folder of ``out`` also
            takes the process's log and report.
        environment: the whole of the process's; it must hold no secret.
        seconds: after which it is ended.
        progress: told of frames; what it raises ends the process.

    Raises:
        BadInput: also if it takes too long.
        ParityFailed, StorageFull: as ``export_checkpoint``.
        StepFailed: if the process breaks.
    """
    log = out.parent / f"{REPORT}.log"
    places = [str(checkpoint), str(frames), str(out)]
    numbers = [str(imgsz or 0), str(int(seconds) + 1)]
    total = len(list(frames.iterdir()))
    deadline = time.monotonic() + seconds
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "components.export.checkpoint", *places, *numbers],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while _running(process):
            report = _read_report(out.parent)
            progress(round((report.percent if report else 0) * total / 100), total)
            if time.monotonic() > deadline:
                raise BadInput(
                    f"{checkpoint} was not exported within {seconds:g} s: give a smaller model."
                )
    finally:
        process.kill()
        process.wait()
    report = _read_report(out.parent)
    if process.returncode == 0 and report is not None and report.state == "succeeded":
        return
    _log.warning("the export of a checkpoint ended with %d: %s", process.returncode, _end_of(log))
    if report is not None and report.error and (kind := _error_of(report)):
        raise kind(report.error)
    raise StepFailed(
        f"{checkpoint} could not be exported: the process ended with {process.returncode}, for "
        "want of memory perhaps; give a smaller model, or see the worker's log."
    )


def _running(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _read_report(folder: Path) -> StepReport | None:
    with contextlib.suppress(OSError, ValueError):
        return read_report(folder / f"{REPORT}.json")
    return None


def _error_of(report: StepReport) -> type[ActverseError] | None:
    kind = getattr(errors, str(report.facts.get("kind", "")), None)
    return kind if isinstance(kind, type) and issubclass(kind, ActverseError) else None


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_LOG_SHOWN:]
