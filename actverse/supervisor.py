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

from actverse.private import OWNER_ONLY
from actverse.reaper import end_groups
from components.errors import Unavailable
from components.serving.leftovers import remove_shared_memory

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
    shared_memory: str = ""


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    starts: list[float] = field(default_factory=list)


class Supervisor:
    """Starts services and keeps them running until ``stop``.

    A service that dies is started again, at most five times in two minutes; then
    ``failure`` says so. When this process is killed, a reaper ends all that it started.
    """

    def __init__(self) -> None:
        self.failure = ""
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._reaper: subprocess.Popen[bytes] | None = None

    def start(self, services: list[Service], told: Callable[[str], None] = lambda _: None) -> None:
        """Start services side by side and return when each is ready; ``told`` hears of each.

        Raises:
            Unavailable: if one dies or is not ready in time, with the end of its log.
        """
        if self._reaper is None:
            self._reaper = subprocess.Popen(
                [sys.executable, "-m", "actverse.reaper"],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
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
            self._reaper.stdin.close()
            self._reaper.wait()
            self._reaper = None

    def pid(self, name: str) -> int:
        """The process id of a service."""
        return self._running[name].process.pid

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

    def _launch(self, service: Service) -> subprocess.Popen[bytes]:
        service.log.parent.mkdir(parents=True, exist_ok=True)
        with service.log.open("ab") as log:
            process = subprocess.Popen(
                service.argv,
                env=service.environment,
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
        if self._reaper is not None and self._reaper.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.write(f"{line}\n".encode())
                self._reaper.stdin.flush()

    def _wait_ready(self, running: _Running) -> None:
        service = running.service
        deadline = time.monotonic() + service.patience
        while not service.ready():
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
            for running in list(self._running.values()):
                if running.process.poll() is not None and not self._restart(running):
                    return

    def _restart(self, running: _Running) -> bool:
        name, code = running.service.name, running.process.returncode
        end_groups({running.process.pid}, patience=2.0)
        remove_shared_memory(running.service.shared_memory)
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
            running.starts = [*recent, time.monotonic()]
        return True


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][-300:] if lines else "it said nothing"
