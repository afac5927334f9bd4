"""The folder of a run on this machine: who wants it, who runs it, how far it is, how it ended.

Each file appears whole. The run's own process writes what it does, whoever submitted it reads.
"""

import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.files import write_text
from pipelines.backend import RunRequest, RunState


@dataclass(frozen=True)
class RunProcess:
    """A process, told from later ones of the same number by when it was made."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "RunProcess":
        """A process that is there."""
        import psutil

        return cls(pid, psutil.Process(pid).create_time())

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            same = process.create_time() == self.created
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@dataclass
class TaskRecord:
    """A task that was begun.

    Attributes:
        log: the name of its log in ``logs/``.
        started, ended: seconds since the epoch; ``ended`` is 0 while it runs.
        killed: whether its process was ended from outside.
    """

    name: str
    state: str
    log: str
    started: float
    ended: float = 0.0
    error: str = ""
    killed: bool = False


@dataclass(frozen=True)
class RunEnd:
    """How a run ended; ``ended`` is in seconds since the epoch.

    Attributes:
        killed: whether its process was ended from outside.
    """

    state: RunState
    error: str
    ended: float
    killed: bool = False


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.yaml = path / "pipeline.yaml"
        self.log = path / "run.log"
        self.logs = path / "logs"
        self._cancel = path / "cancel"

    @contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[bool]:
        """Keep others, also in other processes, from submitting this run meanwhile.

        Yields:
            Whether it is ours; always, unless it is not waited for.
        """
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def write_request(self, request: RunRequest) -> None:
        """Write down what is wanted, and since when."""
        self._write("request", {**asdict(request), "created": time.time()})

    def request(self) -> tuple[RunRequest, float] | None:
        """What is wanted, and since when; None before it was written down."""
        read = self._read("request")
        if read is None:
            return None
        created = read.pop("created")
        return RunRequest(**read), created

    def write_process(self, process: RunProcess) -> None:
        """Write down which process runs it."""
        self._write("process", asdict(process))

    def process(self) -> RunProcess | None:
        """The process that runs it; None before it was started."""
        read = self._read("process")
        return None if read is None else RunProcess(**read)

    def write_tasks(self, tasks: list[TaskRecord]) -> None:
        """Write down the tasks that were begun."""
        self._write("tasks", [asdict(task) for task in tasks])

    def tasks(self) -> list[TaskRecord]:
        """The tasks that were begun."""
        return [TaskRecord(**task) for task in self._read("tasks") or []]

    def make_temporary(self) -> Path:
        """A new folder for what the run's processes need for a while; kept short.

        It lies where temporary files do, since the sockets of worker processes, which are made
        in it, take no long paths. ``remove_temporary`` removes it, also after a crash.
        """
        path = Path(tempfile.gettempdir()) / f"actverse-run-{uuid.uuid4().hex[:12]}"
        # Written down first: whatever happens next, it is found again.
        self._write("temporary", str(path))
        path.mkdir(mode=0o700)
        return path

    def remove_temporary(self) -> None:
        """Remove what a run that has ended has left of temporary files."""
        if (path := self._read("temporary")) is not None:
            shutil.rmtree(path, ignore_errors=True)
        for work in self.path.glob("artifacts/**/.*.work"):
            shutil.rmtree(work, ignore_errors=True)

    def write_end(self, state: RunState, error: str = "", *, killed: bool = False) -> None:
        """Write down how it ended; what was written first stays."""
        beside = self.path / f".end.{uuid.uuid4().hex}.json"
        end = {"state": state, "error": error, "ended": time.time(), "killed": killed}
        try:
            beside.write_text(json.dumps(end), encoding="utf-8")
            os.link(beside, self.path / "end.json")
        except FileExistsError:
            pass
        finally:
            beside.unlink(missing_ok=True)

    def end(self) -> RunEnd | None:
        """How it ended; None where nobody has said so."""
        read = self._read("end")
        if read is None:
            return None
        killed = read.get("killed", False)
        return RunEnd(RunState(read["state"]), read["error"], read["ended"], killed)

    def ask_to_cancel(self) -> None:
        """Write down that it is to be ended."""
        self._cancel.touch()

    @property
    def canceling(self) -> bool:
        """Whether it is to be ended."""
        return self._cancel.exists()

    def _write(self, name: str, content: Any) -> None:
        write_text(self.path / f"{name}.json", json.dumps(content))

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.path / f"{name}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
