"""Starts and watches the process in which a checkpoint is exported."""

from collections.abc import Mapping
from pathlib import Path

from components.confined import Limits, Thing, run_reported
from components.export.checkpoint import REPORT
from components.steps import Progress, no_progress

SECONDS = 900.0
MEMORY_BYTES = 8 * 2**30


def export_apart(
    checkpoint: Path,
    frames: Path,
    out: Path,
    *,
    imgsz: int | None,
    environment: Mapping[str, str],
    seconds: float = SECONDS,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress = no_progress,
) -> None:
    """As ``export_checkpoint``, in a process of its own, which is ended with this call.

    What it leaves in ``out`` was made beside a file that nobody vouches for: check it.

    Args:
        checkpoint, frames, out, imgsz: as of ``export_checkpoint``; the folder of ``out`` also
            takes the process's log and report.
        environment: the whole of the process's; it must hold no secret.
        seconds: after which it is ended.
        memory_bytes: that it may take, with what it starts.
        progress: told of frames; what it raises ends the process.

    Raises:
        BadInput: also if it takes too long, too much memory or too many processes.
        ParityFailed, StorageFull: as ``export_checkpoint``.
        StepFailed: if the process breaks.
    """
    run_reported(
        "components.export.checkpoint",
        [str(checkpoint), str(frames), str(out), str(imgsz or 0)],
        thing=Thing(str(checkpoint), "exported"),
        report=out.parent / f"{REPORT}.json",
        environment=environment,
        limits=Limits(seconds, memory_bytes),
        progress=progress,
        total=len(list(frames.iterdir())),
    )
