"""What a run on this machine leaves of its tasks while it goes on: their states and their logs."""

import io
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

from pipelines.backend import RunState
from pipelines.run_errors import FROM_OUTSIDE, ending_signal, error_sentence, signal_sentence
from pipelines.run_folder import RunFolder, TaskRecord

_PROCESS_RUNNERS = {
    "kfp.local.subprocess_task_handler": "run_local_subprocess",
    "kfp.local.docker_task_handler": "run_docker_container",
}
"""KFP's functions that run a step's process to its end and return its exit code."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class LocalRecorder:
    """Writes down each task that KFP's local runner begins and ends, and what it prints."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._tasks: list[TaskRecord] = []
        self._lock = threading.Lock()
        self._output = _Output(sys.stdout)
        self._ended = threading.local()

    @property
    def failed(self) -> list[TaskRecord]:
        """The tasks that failed, in the order in which they began."""
        return [task for task in self._tasks if task.state == RunState.FAILED]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Follow what runs in this process meanwhile."""
        # KFP tells of its tasks in coloured prose only.
        from kfp.local.orchestrator import task_executor

        run, before = task_executor.execute_single_task, sys.stdout
        with ExitStack() as codes:
            # It loses how a process ended.
            for module, name in _PROCESS_RUNNERS.items():
                if (loaded := sys.modules.get(module)) is not None:
                    codes.callback(setattr, loaded, name, getattr(loaded, name))
                    setattr(loaded, name, self._noting_code(getattr(loaded, name)))
            task_executor.execute_single_task = self._recorded(run)
            sys.stdout = self._output
            try:
                yield
            finally:
                sys.stdout = before
                task_executor.execute_single_task = run

    def _noting_code(self, run: Callable[..., int]) -> Callable[..., int]:
        def noting(*args: Any, **kwargs: Any) -> int:
            self._ended.code = run(*args, **kwargs)
            return int(self._ended.code)

        return noting

    def _recorded(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def execute(*args: Any, task_name: str, **kwargs: Any) -> Any:
            from kfp.local.status import Status

            with self._lock:
                log = f"{len(self._tasks):03d}-{task_name}.log"
                task = TaskRecord(task_name, RunState.RUNNING, log, time.time())
                self._tasks.append(task)
                self._folder.write_tasks(self._tasks)
            self._folder.logs.mkdir(exist_ok=True)
            path = self._folder.logs / log
            succeeded = False
            self._ended.code = 0
            try:
                with path.open("w", encoding="utf-8") as file, self._output.also_to(file):
                    outputs, status = run(*args, task_name=task_name, **kwargs)
                    succeeded = status == Status.SUCCESS
            finally:
                task.state = RunState.SUCCEEDED if succeeded else RunState.FAILED
                task.ended = time.time()
                if not succeeded:
                    lines = path.read_text(encoding="utf-8").splitlines()
                    number = ending_signal(self._ended.code)
                    task.killed = number in FROM_OUTSIDE
                    task.error = (
                        signal_sentence(number, task_name)
                        or error_sentence(lines, task_name)
                        or f"The step {task_name} ended without a word: see its log."
                    )
                with self._lock:
                    self._folder.write_tasks(self._tasks)
            return outputs, status

        return execute


class _Output(io.TextIOBase):
    """Standard output without colours, which each thread's task has for itself too."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._thread = threading.local()

    @contextmanager
    def also_to(self, file: TextIO) -> Iterator[None]:
        self._thread.file = file
        try:
            yield
        finally:
            self._thread.file = None

    def write(self, text: str) -> int:
        plain = _COLOURS.sub("", text)
        for file in (self._stream, getattr(self._thread, "file", None)):
            if file is not None:
                file.write(plain)
                file.flush()
        return len(text)

    def flush(self) -> None:
        self._stream.flush()
