"""A program that handles a file which nobody vouches for, in a process with limits.

python -m components.confined MEMORY_BYTES SECONDS PARENT MODULE ARGUMENT...

The limits are set here, before MODULE is imported, so that nothing of it runs without them:
memory (``RLIMIT_DATA``), no core dump, and the whole time. Who started it watches from outside
what the kernel does not count for one program: how many processes there are, and what they take
together. It ends with the process that started it, however that ends.
"""

import logging
import math
import os
import resource
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from components import child_process, errors
from components.child_process import End, Limit, container_memory, die_with_parent, memory_of, watch
from components.errors import ActverseError, BadInput, StepFailed
from components.steps import Progress, StepReport, no_progress, read_report, reported

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.3
_ALARM_GRACE = 5
_LOG_SHOWN = 2000
_CONTAINER_SHARE = 0.85
# What a program needs to run at all; neither settings nor secrets are among them.
_PLAIN = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ")


@dataclass(frozen=True)
class Limits:
    """What a confined program may take.

    Attributes:
        seconds: from its start to its end.
        memory_bytes: of it and of what it starts, together.
        processes: it and what it starts.
    """

    seconds: float
    memory_bytes: int
    processes: int = 4

    @property
    def memory(self) -> str:
        """The memory as a sentence says it."""
        return f"{self.memory_bytes / 2**30:.3g} GiB"


@dataclass(frozen=True)
class Thing:
    """What a program handles, as sentences say it: "{name} was not {done} within …"."""

    name: str
    done: str


def plain_environment() -> dict[str, str]:
    """An environment in which a program can run, without any setting or secret."""
    return {name: os.environ[name] for name in _PLAIN if name in os.environ}


def run_confined(
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    limits: Limits,
    tick: Callable[[], None],
) -> End:
    """Run a module's program within ``limits``; it and all that it started end with this call.

    Args:
        module: is run as by ``python -m``.
        arguments: of the program.
        environment: the whole of the process's; it must hold no secret.
        log: takes what the program prints.
        limits: what it may take.
        tick: called again and again while it runs; what it raises ends the program.
    """
    limits = replace(limits, memory_bytes=min(limits.memory_bytes, _left_in_container()))
    numbers = [str(limits.memory_bytes), str(int(limits.seconds) + _ALARM_GRACE), str(os.getpid())]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, *numbers, module, *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    kept = child_process.Limits(limits.seconds, limits.memory_bytes, limits.processes)
    return watch(process, kept, tick, _POLL_SECONDS)


def run_reported(
    module: str,
    arguments: Sequence[str],
    *,
    thing: Thing,
    report: Path,
    environment: Mapping[str, str],
    limits: Limits,
    progress: Progress = no_progress,
    total: int = 1,
) -> StepReport:
    """Run a program that keeps a step report, as ``run_confined``.

    Args:
        module, arguments, environment, limits: as of ``run_confined``.
        thing: what it handles.
        report: the file of its report; the log lies beside it. The fact ``kind`` of the report
            is the class of an error.
        progress: told of ``total``; what it raises ends the program.
        total: of what the program does.

    Returns:
        The report of a program that has reached its end.

    Raises:
        ActverseError: the one that the report tells of.
        BadInput: if the program was ended for a limit.
        StepFailed: if it breaks.
    """
    log = report.with_suffix(".log")

    def tick() -> None:
        seen = _read(report)
        progress(round((seen.percent if seen else 0) * total / 100), total)

    ended = run_confined(
        module, arguments, environment=environment, log=log, limits=limits, tick=tick
    )
    if ended.limit is not None:
        raise BadInput(_beyond(thing, limits, ended.limit))
    seen = _read(report)
    if ended.code == 0 and seen is not None and seen.state == "succeeded":
        return seen
    if ended.code == -signal.SIGALRM:
        raise BadInput(_beyond(thing, limits, Limit.SECONDS))
    if seen is not None and seen.error and (kind := _error_of(seen)):
        raise kind(seen.error)
    _log.warning("%s was not %s: %d, %s", thing.name, thing.done, ended.code, _end_of(log))
    raise StepFailed(
        f"{thing.name} could not be {thing.done}: the process ended with {ended.code}, for "
        f"want of memory perhaps (it may take {limits.memory}); give a smaller model, or see the "
        "worker's log."
    )


def _beyond(thing: Thing, limits: Limits, limit: Limit) -> str:
    return {
        Limit.SECONDS: f"{thing.name} was not {thing.done} within {limits.seconds:g} s: "
        "give a smaller model.",
        Limit.MEMORY: f"{thing.name} needs more than {limits.memory} of memory to be "
        f"{thing.done}: give a smaller model.",
        Limit.PROCESSES: f"{thing.name} starts more than {limits.processes} processes to be "
        f"{thing.done}: give another model.",
    }[limit]


def _read(report: Path) -> StepReport | None:
    with suppress(OSError, ValueError):
        return read_report(report)
    return None


def _error_of(report: StepReport) -> type[ActverseError] | None:
    kind = getattr(errors, str(report.facts.get("kind", "")), None)
    return kind if isinstance(kind, type) and issubclass(kind, ActverseError) else None


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_LOG_SHOWN:]


@contextmanager
def reported_errors(report: Path, name: str) -> Iterator[Progress]:
    """Keep the report that ``run_reported`` reads, in the program itself.

    Args:
        report: its file.
        name: of what is handled, for a sentence.
    """
    with reported(report.stem, report.parent) as progress:
        try:
            yield progress
        except ActverseError as error:
            progress(0, 1, kind=type(error).__name__)
            raise
        except MemoryError as error:
            progress(0, 1, kind=BadInput.__name__)
            raise BadInput(
                f"{name} needs more memory than a model may take: give a smaller model."
            ) from error


def _left_in_container() -> int:
    """What a container has left: where it has none, the kernel ends all of it, us too."""
    if (most := container_memory()) == math.inf:
        return sys.maxsize
    return max(int(_CONTAINER_SHARE * most) - memory_of(psutil.Process()), 0)


def _confine(memory_bytes: int, seconds: int, parent: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # By default the signal ends the process, in the middle of any library's work.
    signal.alarm(seconds)
    die_with_parent(parent)
    with suppress(OSError):
        # Where the machine's memory runs out all the same, this is what is to go.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _main(memory_bytes: str, seconds: str, parent: str, module: str, *arguments: str) -> None:
    _confine(int(memory_bytes), int(seconds), int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
