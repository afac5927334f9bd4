"""A step of one video in a process of its own: what kills it is that video's failure too.

A decoder that meets a broken video may end its process, and no exception tells of that. One
whose memory runs out is ended here before the container's does: Kubernetes would end all of
the container, us too, and the video would end its run.

python -m components.video_process FOLDER
"""

import json
import logging
import math
import pkgutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from components.errors import StepFailed
from components.files import write_text
from components.pipeline_step import PipelineStep
from components.video_outcome import VideoOutcome, read_outcome, settle

_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")
"""What the container may use; there since cgroup v2, which is where all of it is ended."""
_MEMORY_SHARE = 0.85
"""Of that: what is allocated between two looks has to fit above it."""
_LOOK_SECONDS = 0.05

_WORK, _BEFORE, _OUTCOME = "work.json", "before.json", "outcome.json"


def settle_apart(
    outcome: VideoOutcome, step: str, work: Callable[..., dict[str, Any]], **arguments: Any
) -> VideoOutcome:
    """As ``settle``, in a process that prints where this one does and ends with this call.

    Args:
        outcome: of the step before.
        step: the step's name.
        work: as of ``settle``, with further arguments: a function of a module.
        arguments: those, as JSON can hold them.
    """
    if outcome.failed:
        return settle(outcome, step, partial(work, **arguments))
    with tempfile.TemporaryDirectory(prefix="actverse-video-") as folder:
        outcome.write(Path(folder) / _BEFORE)
        task = {"step": step, "work": f"{work.__module__}:{work.__qualname__}"}
        write_text(Path(folder) / _WORK, json.dumps({**task, "arguments": arguments}))
        # The fault handler prints where a decoder broke.
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", __name__, folder],
            stdin=subprocess.DEVNULL,
        )
        limit = _memory_limit()
        try:
            starved = _watch(process, limit)
        finally:
            process.kill()
            code = process.wait()
        if code == 0 and (settled := Path(folder) / _OUTCOME).exists():
            return read_outcome(settled)

    def ended(_: PipelineStep) -> dict[str, Any]:
        raise StepFailed(_starved(step, limit) if starved else _sentence(step, code))

    return settle(outcome, step, ended)


def _watch(process: subprocess.Popen[bytes], limit: float) -> bool:
    """Wait for its end; True if it had to be ended, since too little of so many bytes was left."""
    if limit == math.inf:
        process.wait()
        return False
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
            return False
        # The programs that it has started, too; the newest first, so that none is left alone.
        family = _family(process.pid)
        if sum(map(_memory_of, [psutil.Process(), *family])) > _MEMORY_SHARE * limit:
            for one in reversed(family):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            return True


def _family(pid: int) -> list[psutil.Process]:
    """A process and what it has started; nothing once it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory_limit() -> float:
    try:
        return int(_MEMORY_MAX.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no cgroup v2; "max"
        return math.inf


def _memory_of(process: psutil.Process) -> int:
    """Its bytes that the kernel cannot take back: not those that are mapped from files."""
    try:
        memory = process.memory_info()
    except psutil.Error:  # ended in between
        return 0
    return int(memory.rss - memory.shared)


def _starved(step: str, limit: float) -> str:
    return (
        f"The step {step} was ended, since the video needs more memory than it has "
        f"({limit / 2**20:.0f} MiB): raise ACTVERSE_ANALYSIS_MEMORY, or leave the "
        "video out."
    )


def _sentence(step: str, code: int) -> str:
    if code >= 0:
        return f"The step {step} broke: its process ended with {code}; see its log."
    why = (
        "for want of memory perhaps: raise ACTVERSE_ANALYSIS_MEMORY"
        if -code == signal.SIGKILL
        else "the video may be broken: mend it, or leave it out"
    )
    return f"The step {step} was ended by signal {-code} ({signal.strsignal(-code)}), {why}."


def _main(folder: Path) -> int:
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    task = json.loads((folder / _WORK).read_text(encoding="utf-8"))
    work = partial(pkgutil.resolve_name(task["work"]), **task["arguments"])
    settle(read_outcome(folder / _BEFORE), task["step"], work).write(folder / _OUTCOME)
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
