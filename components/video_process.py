"""A step of one video in a process of its own: what kills it is that video's failure too.

A decoder that meets a broken video may end its process, and no exception tells of that. One
whose memory runs out is ended here before the container's does: Kubernetes would end all of
the container, us too, and the video would end its run.
"""

import pkgutil
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import psutil

from components.child_process import (
    ChildEnded,
    Limit,
    Limits,
    call_apart,
    container_memory,
    memory_of,
    name_of,
)
from components.errors import StepFailed
from components.pipeline_step import PipelineStep
from components.video_outcome import VideoOutcome, settle

_MEMORY_SHARE = 0.85
"""Of that: what is allocated between two looks has to fit above it."""


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
    limit = container_memory()
    # The rest is for the process, with the programs that it starts.
    left = _MEMORY_SHARE * limit - memory_of(psutil.Process())
    task = {"step": step, "work": name_of(work), "arguments": arguments}
    try:
        settled = call_apart(
            _settle, {"before": outcome.model_dump(), **task}, limits=Limits(memory=left)
        )
    except ChildEnded as error:
        starved = error.end.limit is Limit.MEMORY
        sentence = _starved(step, limit) if starved else _sentence(step, error.end.code)
    else:
        return VideoOutcome.model_validate(settled)

    def ended(_: PipelineStep) -> dict[str, Any]:
        raise StepFailed(sentence)

    return settle(outcome, step, ended)


def _settle(
    before: dict[str, Any], step: str, work: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    done = partial(pkgutil.resolve_name(work), **arguments)
    return settle(VideoOutcome.model_validate(before), step, done).model_dump()


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
