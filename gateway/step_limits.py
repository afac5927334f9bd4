"""What one attempt of a step may have of a machine."""

import psutil

from components.child_process import Limits, container_memory
from components.settings import Settings
from gateway.flows import STEPS

_PROCESSES = 64
_MEMORY_SHARE = 0.8
_MOST_MEMORY, _LEAST_MEMORY = 8 * 2**30, 2**30


def limits_of(name: str, settings: Settings) -> Limits:
    """Return the limits of a step: narrower ones where it works on a model that somebody brings."""
    seconds, memory = settings.step_timeout, step_memory(settings)
    plan = STEPS.get(name)
    if plan is not None and plan.foreign:
        seconds = min(seconds, settings.import_timeout)
        memory = min(memory, settings.import_memory)
    if name == "download":
        seconds = min(seconds, settings.download_timeout + 60)
    return Limits(seconds, memory, _PROCESSES)


def step_memory(settings: Settings) -> int:
    """Return the bytes of one step: as set, or an equal share of what there is for each slot."""
    if settings.step_memory:
        return settings.step_memory
    share = int(_MEMORY_SHARE * _memory_here() / settings.worker_slots)
    return max(_LEAST_MEMORY, min(share, _MOST_MEMORY))


def _memory_here() -> float:
    return min(container_memory(), psutil.virtual_memory().total)
