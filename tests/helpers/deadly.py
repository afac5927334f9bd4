"""Work on a video that ends its process, as a broken decoder or the kernel does."""

import os
import signal
import subprocess
import sys
from typing import Any

from components.errors import BadVideo
from components.pipeline_step import PipelineStep


def end_by(step: PipelineStep, number: signal.Signals) -> dict[str, Any]:
    """Begin, then be ended by a signal."""
    step.progress(1, 2, begun=True)
    os.kill(os.getpid(), number)
    return {}


def leave(step: PipelineStep, code: int) -> dict[str, Any]:
    """End the process without a word."""
    os._exit(code)


def refuse(step: PipelineStep) -> dict[str, Any]:
    """Fail as a step does."""
    raise BadVideo("It is cut off.")


def own_process(step: PipelineStep, frames: int) -> dict[str, Any]:
    """Do it, and say in which process."""
    sys.stdout.write("printed by the work\n")
    return {"frames": frames, "pid": os.getpid()}


def allocate(
    step: PipelineStep, mebibytes: int, *, apart: bool = False, stays: bool = False
) -> dict[str, Any]:
    """Take memory bit by bit, also in a process of its own, which stays with it."""
    if apart:
        code = f"held = [bytearray(b'1' * 2**20) for _ in range({mebibytes})]; input()"
        subprocess.run([sys.executable, "-c", code], stdin=subprocess.PIPE, check=False)
        return {}
    held = [bytearray(b"1" * 2**20) for _ in range(mebibytes)]
    if stays:
        signal.pause()
    return {"mebibytes": len(held)}
