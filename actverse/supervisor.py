"""Keeps a few server processes running: started, probed, restarted, ended.

Each runs in a process group of its own, so that whatever it starts ends with it, and
writes to a log file of its own.
"""

import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from actverse.log_files import LOG_BYTES, OLD_LOGS, rotate
from actverse.private import OWNER_ONLY
from actverse.reaper import MARK, end_groups, marked_groups
from components.errors import Unavailable
from components.serving.leftovers import remove_abandoned, remove_shared_memory

logger = logging.getLogger("actverse.supervisor")

_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 15.0
_RESTARTS, _RESTART_WINDOW = 5, 120.0


@dataclass(frozen=True)
class Service:
    """A process that is to be kept running.

    Attributes:
        argv: the command.
        environment: the whole of it.
        log: takes its output, appended.
        ready: a real probe; true when it serves.
        patience: seconds it may take to become ready.
        relied_on: whether others ask it also while they end, so that it ends after them.
        works: whether it shows that it works, where it shows it: one that lives and does not,
            ``patience`` after its start, is ended and started again.
        shared_memory: what the names of its shared memory begin with; what it has left there
            is removed after its end.
    """

    name: str
    argv: list[str]
    environment: dict[str, str]
    log: Path
    ready: Callable[[], bool]
    patience: float = 90.0
    relied_on: bool = False
    works: Callable[[], bool] | None = None
    shared_memory: str = ""


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    starts: list[float] = field(default_factory=list)
    launched: float = field(default_factory=time.monotonic)

    @property
    def hangs(self) -> bool:
        """Whether it has had the time to show that it works, and does not."""
        works, since = self.service.works, time.monotonic() - self.launched
        return works is not None and since > self.service.patience and not works()


class Supervisor:
    """Starts services and keeps them running until ``stop``.

    A service that dies or hangs is started again, at most five times in two minutes; then
    ``failure`` says so. When this process is killed, a reaper ends all that it started; a
    reaper that dies is started again. What outlives both, since both were killed at once, is
    ended by the next supervisor with the same mark.

    Args:
        mark: what its services' processes are known by, unlike any other supervisor's.
        log_bytes, old_logs: a log that has grown to this size is put aside, so many are left.
    """

    def __init__(
        self, mark: str = "", *, log_bytes: int = LOG_BYTES, old_logs: int = OLD_LOGS
    ) -> None:
        self.failure = ""
        self._mark = mark
        self._log_bytes, self._old_logs = log_bytes, old_logs
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._reaper: subprocess.Popen[bytes] | None = None
        self._told: dict[str, None] = {}
        self._log_fault = False

    def start(self, services: list[Service], told: Callable[[str], None] = lambda _: None) -> None:
        """Start services side by side and return when each is ready; ``told`` hears of each.

        Raises:
            Unavailable: if one dies or is not ready in time, with the end of its log.
        """
        if self._reaper is None:
            self._end_left_behind()
            self._reaper = _start_reaper()
            if self._mark:
                self._tell(f"@{self._mark}")
        for service in services:
            running = _Running(service, self._launch(service), [time.monotonic()])
            self._running[service.name] = running
        for service in services:
            self._wait_ready(self._running[service.name])
            told(f"{service.name} is ready")
        if not self._watch.is_alive():
            self._watch.start()

    def stop(self) -> None:
        """End every service and all that they started."""
        self._stopping.set()
        if self._watch.is_alive():
            self._watch.join()
        with self._lock:
            for relied_on in (False, True):
                services = self._running.values()
                self._end([r for r in services if r.service.relied_on is relied_on])
            self._running.clear()
        if self._reaper is not None and self._reaper.stdin is not None:
            self._tell("done")
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.close()
            self._told.clear()
            self._reaper.wait()
            self._reaper = None

    def pid(self, name: str) -> int:
        """The process id of a service."""
        return self._running[name].process.pid

    def _end_left_behind(self) -> None:
        """End what an earlier supervisor with this mark has started and could not end."""
        if groups := marked_groups(self._mark):
            logger.warning("%d process groups of a killed stack are ended", len(groups))
            end_groups(groups)

    def _keep_reaper(self) -> None:
        """Start a reaper that was killed again; the new one is told of all that runs."""
        if self._reaper is None or self._reaper.poll() is None:
            return
        code = self._reaper.returncode
        logger.warning("the reaper ended with code %s; it is started again", code)
        with self._lock:
            self._reaper = _start_reaper()
            for line in list(self._told):
                self._tell(line)

    def _end(self, services: list[_Running]) -> None:
        for running in services:
            # Not its children: a pool's child that dies may take a lock with it.
            running.process.terminate()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for running in services:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(max(0.0, deadline - time.monotonic()))
        for running in services:
            # The leader may be gone while what it started is not.
            end_groups({running.process.pid}, patience=2.0)
            running.process.wait()
            remove_shared_memory(running.service.shared_memory)
        remove_abandoned()

    def _launch(self, service: Service) -> subprocess.Popen[bytes]:
        service.log.parent.mkdir(parents=True, exist_ok=True)
        with service.log.open("ab") as log:
            process = subprocess.Popen(
                service.argv,
                env={**service.environment, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=OWNER_ONLY,
            )
        self._tell(f"+{process.pid}")
        if service.shared_memory:
            self._tell(f"~{service.shared_memory}")
        return process

    def _tell(self, line: str) -> None:
        """Tell the reaper a line, and the one that is started in its place."""
        if line.startswith("-"):
            self._told.pop(f"+{line[1:]}", None)
        else:
            self._told[line] = None
        if self._reaper is not None and self._reaper.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.write(f"{line}\n".encode())
                self._reaper.stdin.flush()

    def _wait_ready(self, running: _Running) -> None:
        service = running.service
        deadline = time.monotonic() + service.patience
        while not service.ready():
            self._keep_reaper()
            if running.process.poll() is not None:
                raise Unavailable(
                    f"{service.name} ended at its start (code {running.process.returncode}): "
                    f"{_last_words(service.log)} (log: {service.log})"
                )
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{service.name} was not ready after {service.patience:.0f} s: "
                    f"read {service.log}."
                )
            time.sleep(_POLL_SECONDS)

    def _keep(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            self._keep_reaper()
            self._rotate_logs()
            for running in list(self._running.values()):
                if running.process.poll() is None and running.hangs:
                    logger.error("%s lives and does not work; it is ended", running.service.name)
                    end_groups({running.process.pid}, patience=2.0)
                    running.process.wait()
                if running.process.poll() is not None and not self._restart(running):
                    return

    def _rotate_logs(self) -> None:
        for running in self._running.values():
            try:
                rotate(running.service.log, self._log_bytes, self._old_logs)
            except OSError as error:
                if not self._log_fault:
                    logger.warning("%s could not be put aside: %s", running.service.log, error)
                self._log_fault = True
            else:
                self._log_fault = False

    def _restart(self, running: _Running) -> bool:
        name, code = running.service.name, running.process.returncode
        end_groups({running.process.pid}, patience=2.0)
        remove_shared_memory(running.service.shared_memory)
        remove_abandoned()
        self._tell(f"-{running.process.pid}")
        recent = [t for t in running.starts if time.monotonic() - t < _RESTART_WINDOW]
        if len(recent) > _RESTARTS:
            self.failure = (
                f"{name} died {len(recent)} times in two minutes, last with code {code}: "
                f"read {running.service.log}."
            )
            logger.error("%s", self.failure)
            return False
        logger.warning("%s ended with code %s; it is started again", name, code)
        with self._lock:
            running.process = self._launch(running.service)
            running.launched = time.monotonic()
            running.starts = [*recent, running.launched]
        return True


def _start_reaper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "actverse.reaper"],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][-300:] if lines else "it said nothing"
