"""Work in a process of its own that can be ended, with limits of time, memory and processes.

What is from outside, a model's graph or a checkpoint or a video, may run for ever, take all of
the memory or end its process. ``call_apart`` runs a function in a fresh interpreter, ``watch``
keeps the limits of a process that the caller has started by itself. Either way the process and
all that it has started are gone when the call returns, whatever happens.

python -m components.child_process FOLDER
"""

import contextlib
import ctypes
import json
import logging
import math
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from components import errors
from components.errors import ActverseError, StepFailed
from components.files import write_text

LOOK_SECONDS = 0.1
"""Between two looks at the memory of a process."""
_FAMILY_SECONDS = 0.5
"""Between two looks for what it has started: all of the machine's processes are read for it."""
_LOOKS = 40
"""How often what multiplies while it is ended is looked for again."""
_DEATH_SECONDS = 2.0
"""How long what was killed is waited for: it may hang in the kernel."""
_MAX_ANSWER = 16 * 2**20
_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")
"""What the container may use; there since cgroup v2, which is where all of it is ended."""
_WORK, _ANSWER = "work.json", "answer.json"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class Limit(StrEnum):
    """What a process had too much of."""

    SECONDS = "seconds"
    MEMORY = "memory"
    PROCESSES = "processes"


@dataclass(frozen=True)
class Limits:
    """What a process may have; by default as much as there is.

    Attributes:
        seconds: from its start to its end.
        memory: bytes that the kernel cannot take back, of it and of all that it has started.
        processes: how many these may be, itself included.
    """

    seconds: float = math.inf
    memory: float = math.inf
    processes: float = math.inf


UNLIMITED = Limits()


@dataclass(frozen=True)
class End:
    """How a process ended.

    Attributes:
        code: as of ``subprocess.Popen``: below zero it is a signal.
        limit: the limit that it was ended for, if any.
    """

    code: int
    limit: Limit | None = None

    def __str__(self) -> str:
        if self.code >= 0:
            return f"its process ended with {self.code}"
        return f"its process was ended by signal {-self.code} ({signal.strsignal(-self.code)})"


class ChildEnded(StepFailed):
    """A child process gave no answer; ``end`` says how it ended."""

    def __init__(self, message: str, end: End = End(0)) -> None:
        super().__init__(message)
        self.end = end


@dataclass
class Family:
    """A process and all that it has started, also what has outlived its own parent."""

    pid: int
    _members: dict[int, psutil.Process] = field(default_factory=dict)
    _looked: float = -math.inf

    def reached(self, limits: Limits, begun: float) -> Limit | None:
        """Return the limit that is reached, if any.

        Args:
            begun: of ``time.monotonic``, when the process was started.
        """
        if time.monotonic() - begun > limits.seconds:
            return Limit.SECONDS
        if time.monotonic() - self._looked > _FAMILY_SECONDS:
            self.look()
        if len(self._members) > limits.processes:
            return Limit.PROCESSES
        if sum(map(memory_of, self._members.values())) > limits.memory:
            return Limit.MEMORY
        return None

    def look(self) -> None:
        """Find out who belongs to it now."""
        self._looked = time.monotonic()
        known = self._members or _processes([self.pid])
        found: dict[int, psutil.Process] = {}
        for pid, process in known.items():
            if pid not in found and process.is_running():
                found[pid] = process
                with contextlib.suppress(psutil.Error):
                    children = process.children(recursive=True)
                    found.update((child.pid, child) for child in children)
        self._members = found

    def end(self) -> None:
        """Kill all of it but this process, and wait until it is gone."""
        stopped: set[int] = {os.getpid()}
        for _ in range(_LOOKS):
            self.look()
            found = [one for one in self._members.values() if one.pid not in stopped]
            if not found:
                break
            # One that is stopped starts no other while those are looked for.
            _send(found, signal.SIGSTOP)
            stopped.update(one.pid for one in found)
        others = [one for one in self._members.values() if one.pid != os.getpid()]
        _send(others, signal.SIGKILL)
        until = time.monotonic() + _DEATH_SECONDS
        while not all(map(_is_dead, others)) and time.monotonic() < until:
            time.sleep(0.005)


def call_apart(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    limits: Limits = UNLIMITED,
    environment: Mapping[str, str] | None = None,
    look: Callable[[], None] = lambda: None,
) -> Any:
    """Return what a function returns that runs in a fresh interpreter, within limits.

    It prints where this process does, and ends when this process or thread ends. Its answer is
    JSON: nothing that it says can run code here.

    Args:
        function: of a module; its arguments and what it returns are as JSON can hold them.
        environment: the whole of the process's; this one's by default.
        look: called ten times a second; what it raises ends the process.

    Raises:
        ActverseError: what the function raised, if it is one of ours.
        ChildEnded: if it gave no answer: a limit was reached, a signal ended it, or it broke.
    """
    with tempfile.TemporaryDirectory(prefix="actverse-child-") as name:
        folder = Path(name)
        work = {"function": name_of(function), "arguments": dict(arguments), "parent": os.getpid()}
        write_text(folder / _WORK, json.dumps(work))
        # The fault handler prints where native code broke.
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", __name__, name],
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = watch(process, limits, look)
        answer = folder / _ANSWER
        if end.code == 0 and answer.exists() and answer.stat().st_size <= _MAX_ANSWER:
            return take_answer(json.loads(answer.read_text(encoding="utf-8")), end)
    raise ChildEnded(f"{function.__name__} gave no answer: {end}.", end)


def watch(
    process: "subprocess.Popen[bytes]",
    limits: Limits,
    look: Callable[[], None] = lambda: None,
    every: float = LOOK_SECONDS,
) -> End:
    """Wait for the end of a process, and end it and all that it has started at a limit.

    Args:
        limits: of the process and what it has started.
        look: called at each look; what it raises ends them too.
        every: seconds between two looks.
    """
    begun = time.monotonic()
    family = Family(process.pid)
    leads = os.getpgid(process.pid) == process.pid
    limit: Limit | None = None
    ended = os.pidfd_open(process.pid)
    # Not ``select``: it takes no descriptor above 1023.
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    try:
        # It is not waited for yet: until it is, its number is nobody else's.
        while limit is None and not poll.poll(every * 1000):
            limit = family.reached(limits, begun)
            look()
    finally:
        os.close(ended)
        family.end()
        if leads:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    return End(code, limit)


def answer_of(work: Callable[[], Any]) -> dict[str, Any]:
    """Do some work; return what ``take_answer`` makes its result or its error of."""
    try:
        return {"result": work()}
    except ActverseError as error:
        return {"kind": type(error).__name__, "error": str(error)}
    except Exception as error:
        logging.getLogger(__name__).exception("the work of a child process broke")
        return {"kind": "", "error": f"{type(error).__name__}: {error}"}


def take_answer(answer: dict[str, Any], end: End) -> Any:
    """Return the result that an answer holds, or raise its error."""
    if "result" in answer:
        return answer["result"]
    kind = getattr(errors, str(answer.get("kind", "")), None)
    if isinstance(kind, type) and issubclass(kind, ActverseError):
        raise kind(str(answer.get("error")))
    raise ChildEnded(str(answer.get("error")), end)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name by which another process finds a module's function."""
    return f"{function.__module__}:{function.__qualname__}"


def memory_of(process: psutil.Process) -> int:
    """Return the bytes of a process that the kernel cannot take back: none that a file has."""
    try:
        memory = process.memory_info()
    except psutil.Error:  # it has ended in between
        return 0
    return int(memory.rss - memory.shared)


def container_memory() -> float:
    """Return the bytes that this container may use; infinite where there is no such limit."""
    try:
        return int(_MEMORY_MAX.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no cgroup v2; "max"
        return math.inf


def die_with_parent(parent: int) -> None:
    """Let the kernel end this process when the thread that started it ends.

    What it starts itself stays below it, also when what came between has ended.

    Args:
        parent: the parent's process id, as that one knows it.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    adopt_strays()
    if os.getppid() != parent:  # it was gone before
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_strays() -> None:
    """Let the kernel give to this process what is started below it and loses its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _processes(pids: list[int]) -> dict[int, psutil.Process]:
    found = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found[pid] = psutil.Process(pid)
    return found


def _is_dead(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _main(folder: Path) -> int:
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    work = json.loads((folder / _WORK).read_text(encoding="utf-8"))
    die_with_parent(work["parent"])
    function = pkgutil.resolve_name(work["function"])
    answer = answer_of(lambda: function(**work["arguments"]))
    write_text(folder / _ANSWER, json.dumps(answer))
    # Who is gone cannot be asked what it has started.
    Family(os.getpid()).end()
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
