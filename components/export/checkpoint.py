"""Exports a checkpoint that somebody brings, in a process of its own.

python -m components.export.checkpoint CHECKPOINT FRAMES OUT IMGSZ

A checkpoint is a pickle. It is loaded weights-only, and here, where there is no secret to be
had, so that a hole in that guard would lead nowhere. How far it is, and what is wrong, stands
in the step report ``checkpoint.json`` beside OUT; ``kind`` among its facts is the error's class.
"""

import sys
from pathlib import Path

from components.confined import reported_errors
from components.errors import ActverseError, BadInput, ParityFailed
from components.export.export import ExportResult, export_on_frames
from components.export.proof import frames_in
from components.export.reference import describe_checkpoint
from components.parity_set import ParitySet
from components.steps import Progress, no_progress

REPORT = "checkpoint"


def export_checkpoint(
    checkpoint: Path,
    frames: Path,
    out: Path,
    *,
    imgsz: int | None = None,
    progress: Progress = no_progress,
) -> ExportResult:
    """Export a checkpoint as what it says it is, proven on frames.

    Args:
        checkpoint: a model.pt of Ultralytics, for detection or pose.
        frames: the folder of the proof, as ``gather_frames`` made it.
        out: the folder to make, as ``export_on_frames`` says.
        imgsz: long side of the input, pixels; as in its training if None.
        progress: counts frames.

    Raises:
        BadInput: if it cannot be used, or finds nothing in any of the frames.
        ParityFailed: if the export does not behave like it.
        StorageFull: when the disk is full.
    """
    facts = describe_checkpoint(checkpoint)
    try:
        exported = export_on_frames(
            checkpoint,
            frames_in(frames),
            out,
            facts.spec,
            imgsz=imgsz or facts.imgsz,
            progress=progress,
        )
    except ParityFailed as error:
        raise ParityFailed(
            f"{checkpoint} behaves otherwise once it is exported ({error.report.fault}): "
            "give another model, or other images if these are unlike what it was trained for.",
            error.report,
        ) from error
    except ActverseError:
        raise
    except Exception as error:
        # A checkpoint may hold what no export has met before.
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise BadInput(
            f"{checkpoint} cannot be exported ({reason}): give another model."
        ) from error
    if not any(len(frame.expected) for frame in ParitySet.read(exported.parity_set)):
        raise BadInput(
            f"{checkpoint} finds nothing in any of the {len(list(frames.iterdir()))} images, even "
            "at a low confidence: give images that show what it was trained for."
        )
    return exported


def _main(checkpoint: str, frames: str, out: str, imgsz: str) -> int:
    with reported_errors(Path(out).parent / f"{REPORT}.json", checkpoint) as progress:
        export_checkpoint(
            Path(checkpoint),
            Path(frames),
            Path(out),
            imgsz=int(imgsz) or None,
            progress=progress,
        )
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:5]))
