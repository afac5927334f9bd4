"""The processes of one run: found by its folder in their environment, and told apart by role."""

import os
import signal
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.plan import How, Target

HELPER, CHILD = "helper", "child"
_SERVERS = {
    "beam.smp": Target.RABBITMQ,
    "postgres": Target.POSTGRES,
    "redis-server": Target.REDIS,
    "redis-check-rdb": Target.REDIS,  # the same file
}
_SIGNALS = {How.KILL: signal.SIGKILL, How.TERM: signal.SIGTERM, How.STOP: signal.SIGSTOP}
_YOUNG_SECONDS = 10.0
_READ = ("0", "63")  # the number of the system call, on x86-64 and on arm64


@dataclass(frozen=True)
class Found:
    """A process of the run, as it was when it was looked for.

    Attributes:
        role: a ``Target``, or ``child`` for any child of a worker, or ``helper``.
        root: whether its parent has another role.
    """

    pid: int
    created: float
    role: str
    command: str
    root: bool

    @property
    def there(self) -> bool:
        """Whether it is still there and no zombie."""
        try:
            process = psutil.Process(self.pid)
            same = process.create_time() == self.created
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def send(self, number: int) -> bool:
        """Send it a signal; False if it is gone."""
        if not self.there:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False

    def waits_for_work(self) -> bool:
        """Whether it stands in ``read``: of a pool's idle children, the one that is next."""
        try:
            return Path(f"/proc/{self.pid}/syscall").read_text().split()[0] in _READ
        except (OSError, IndexError):
            return False


class Family:
    """All processes whose environment names the folder of a run, and what they have started."""

    def __init__(self, folder: Path) -> None:
        self._mark = str(folder).encode()
        self._lock = threading.Lock()
        self._ours: dict[tuple[int, float], bool] = {}
        self.pids: set[int] = set()

    def look(self) -> list[Found]:
        """The processes that are there now."""
        with self._lock:
            return self._look()

    def _look(self) -> list[Found]:
        processes: dict[int, psutil.Process] = {}
        parents: dict[int, int] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                    processes[process.pid] = process
                    parents[process.pid] = process.ppid()
        ours = {pid for pid, process in processes.items() if self._is_ours(process)}
        grown = True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in ours} - ours
            grown = bool(more)
            ours |= more
        self.pids |= ours
        roles: dict[int, str] = {}
        found = []
        for pid in sorted(ours, key=lambda pid: (_depth(pid, parents, ours), pid)):
            with suppress(psutil.Error, OSError):
                # A program may hide its arguments, its file it cannot.
                command = " ".join([*processes[pid].cmdline(), f"({_file(pid)})"])
                above = roles.get(parents[pid], "")
                roles[pid] = role_of(command, above)
                created = processes[pid].create_time()
                found.append(Found(pid, created, roles[pid], command, roles[pid] != above))
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        key = (process.pid, process.create_time())
        if key not in self._ours or not self._ours[key]:
            try:
                ours = self._mark in Path(f"/proc/{process.pid}/environ").read_bytes()
                # Redis knows its folder by an argument alone.
                ours = ours or str(Path(f"/proc/{process.pid}/cwd").readlink()).startswith(
                    self._mark.decode()
                )
            except OSError:
                return False
            # A young one may be about to become another program.
            if ours or time.time() - key[1] > _YOUNG_SECONDS:
                self._ours[key] = ours
            return ours
        return True


def _file(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""


def role_of(command: str, above: str) -> str:
    """The role of a process by its command line and its parent's role."""
    if "actverse.reaper" in command:
        return Target.REAPER
    if "resource_tracker" in command or "semaphore_tracker" in command:
        return HELPER
    if "(triton_python_backend_stub)" in command:
        return Target.STUB
    if "(tritonserver)" in command:
        return Target.TRITON
    if "mlflow server" in command or "tracking_app" in command or above == Target.MLFLOW:
        return Target.MLFLOW
    if "gateway.server:" in command:
        return Target.GATEWAY
    if "gateway.watcher" in command:
        return Target.WATCHER
    if "pipelines.local" in command:
        return Target.RUN
    if above in (Target.RUN, Target.STEP):
        return Target.STEP
    if "gateway.celery_app:app" in command:
        return _role_in_celery(command, above)
    if above in (Target.WORKER, CHILD):
        return CHILD
    if "/actverse up " in command:
        return Target.SUPERVISOR
    return next((server for name, server in _SERVERS.items() if f"({name})" in command), HELPER)


def _role_in_celery(command: str, above: str) -> str:
    if " beat " in command:
        return Target.BEAT
    if above == Target.ERRANDS:
        return Target.BEAT
    if above in (Target.WORKER, CHILD):
        return CHILD
    return Target.WORKER if "--hostname worker" in command else Target.ERRANDS


def _depth(pid: int, parents: dict[int, int], ours: set[int]) -> int:
    depth = 0
    while (pid := parents.get(pid, 0)) in ours:
        depth += 1
    return depth


def choose(
    found: Collection[Found], target: Target, pick: float, busy: Collection[int]
) -> Found | None:
    """The process that a kill is for; None if there is none now.

    Args:
        pick: 0 to 1, which of several.
        busy: the ids of processes that hold the lease of a step.
    """
    if target in (Target.IDLE_CHILD, Target.BUSY_CHILD):
        idle = target is Target.IDLE_CHILD
        children = [one for one in found if one.role == CHILD]
        some = [one for one in children if (one.pid in busy) is not idle]
        if idle:
            some = [one for one in some if one.waits_for_work()] or some
        elif any(one.pid in busy for one in found if one.role == Target.WORKER):
            # The worker itself holds the lease of what its child does.
            some = some or [one for one in children if not one.waits_for_work()]
    else:
        role = Target.REAPER if target is Target.BOTH else target
        some = [one for one in found if one.role == role]
        # MLflow's server is a child of what was started; either may die.
        if target is not Target.MLFLOW and target is not Target.STEP:
            some = [one for one in some if one.root] or some
    return some[min(int(pick * len(some)), len(some) - 1)] if some else None


def strike(one: Found, how: How, held: float) -> bool:
    """Send what is planned; one that was stopped goes on after ``held`` seconds."""
    sent = one.send(_SIGNALS[how])
    if how is How.STOP and sent:
        timer = threading.Timer(held, one.send, (signal.SIGCONT,))
        timer.daemon = True
        timer.start()
    return sent


def end_all(found: Collection[Found]) -> None:
    """End processes for good, each by its id."""
    for one in found:
        one.send(signal.SIGKILL)
        one.send(signal.SIGCONT)
