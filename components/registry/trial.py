"""Tries a user's ONNX file out, in a process with limits that ends with this call.

python -m components.registry.trial WORK.json

A graph runs no code of its own, but it may loop for ever or ask for any amount of memory: while
it is checked, while it is loaded, and for some inputs only. How far the trial is, and what is
wrong, stands in the step report ``trial.json`` beside WORK.json.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from components.confined import Limits, Thing, plain_environment, reported_errors, run_reported
from components.export.parity import HeldOutFrame
from components.labels import LabelSpec
from components.onnx_model import ANSWER_SECONDS
from components.served_model import ModelCard
from components.settings import Settings
from components.steps import Progress, no_progress

_REPORT = "trial.json"


@dataclass(frozen=True)
class TrialLimits:
    """What a user's file may take.

    Attributes:
        answer_seconds: for one inference.
        seconds: for the whole trial.
        memory_bytes: for the process.
    """

    answer_seconds: float = ANSWER_SECONDS
    seconds: float = 900.0
    memory_bytes: int = 8 * 2**30

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of an installation."""
        return cls(
            settings.model_answer_seconds,
            settings.model_trial_seconds,
            settings.model_memory_bytes,
        )


def try_out_apart(
    onnx: Path,
    frames: Sequence[HeldOutFrame],
    parity_set: Path,
    *,
    of: str,
    spec: LabelSpec | None = None,
    limits: TrialLimits | None = None,
    progress: Progress = no_progress,
) -> ModelCard:
    """Check a file, run it on frames and write its parity set.

    Args:
        onnx: the file; its name stands in the sentences.
        frames: what it is tried out on.
        parity_set: the folder to make.
        of: whose frames they are, as a sentence should call them.
        spec: what the file must be for; without one, its names must be such as can be read.
        limits: what it may take.
        progress: told of frames; what it raises ends the trial.

    Returns:
        The file's card.

    Raises:
        NotFound, BadInput: as ``check_onnx`` and ``try_out``; BadInput also for a file that
            takes too long, or too much memory.
        StepFailed: if the process breaks.
    """
    limits = limits or TrialLimits()
    with tempfile.TemporaryDirectory(prefix="actverse-trial-") as folder:
        work = Path(folder) / "work.json"
        content = {
            "onnx": str(onnx),
            "frames": [[str(frame.path), frame.half] for frame in frames],
            "of": of,
            "spec": None if spec is None else spec.model_dump(mode="json"),
            "answer_seconds": limits.answer_seconds,
            "parity_set": str(parity_set),
        }
        work.write_text(json.dumps(content), encoding="utf-8")
        seen = run_reported(
            __name__,
            [str(work)],
            thing=Thing(onnx.name, "tried out"),
            report=work.with_name(_REPORT),
            environment=plain_environment(),
            limits=Limits(limits.seconds, limits.memory_bytes, processes=1),
            progress=progress,
            total=len(frames),
        )
    return ModelCard.model_validate(seen.facts["card"])


def _main(work: Path) -> int:
    # What is heavy is imported within the limits, and not by those who start this.
    from components.registry.bring import check_labels, check_names, try_out
    from components.serving.onnx_file import check_onnx

    content = json.loads(work.read_text(encoding="utf-8"))
    onnx = Path(content["onnx"])
    with reported_errors(work.with_name(_REPORT), onnx.name) as progress:
        card = check_onnx(onnx)
        if content["spec"] is None:
            check_names(card, onnx.name)
        else:
            check_labels(card, LabelSpec.model_validate(content["spec"]), onnx.name)
        frames = [HeldOutFrame(Path(path), half) for path, half in content["frames"]]
        found = try_out(onnx, frames, content["of"], progress, seconds=content["answer_seconds"])
        found.write(Path(content["parity_set"]))
        progress(1, 1, card=card.model_dump(mode="json"))
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
