"""Checks an ONNX file in a process with limits: reading a hostile one may fill the memory.

python -m components.serving.check_apart FILE REPORT.json

A file of 20 MB that holds nothing but empty nodes takes gigabytes once it is read, and the
shapes of a graph can be made to take long to infer.
"""

import sys
import tempfile
from pathlib import Path

from components.confined import Limits, Thing, plain_environment, reported_errors, run_reported
from components.served_model import ModelCard

SECONDS = 120.0
MEMORY_BYTES = 8 * 2**30


def check_apart(
    onnx: Path, *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES
) -> ModelCard:
    """As ``check_onnx``, in a process of its own, which ends with this call.

    Raises:
        NotFound, BadInput: as ``check_onnx``; BadInput also for a file that takes too long, or
            too much memory, to read.
        StepFailed: if the process breaks.
    """
    with tempfile.TemporaryDirectory(prefix="actverse-check-") as folder:
        report = Path(folder) / "check.json"
        seen = run_reported(
            __name__,
            [str(onnx), str(report)],
            thing=Thing(onnx.name, "checked"),
            report=report,
            environment=plain_environment(),
            limits=Limits(seconds, memory_bytes, processes=1),
        )
    return ModelCard.model_validate(seen.facts["card"])


def _main(onnx: str, report: str) -> int:
    # Imported within the limits.
    from components.serving.onnx_file import check_onnx

    with reported_errors(Path(report), Path(onnx).name) as progress:
        progress(1, 1, card=check_onnx(Path(onnx)).model_dump(mode="json"))
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:3]))
