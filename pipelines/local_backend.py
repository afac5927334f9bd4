"""Pipelines on this machine: each run a folder, and a process that works in it."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from components.errors import NotFound
from components.layout import checked_name
from components.settings import Settings
from pipelines.arguments import check_arguments
from pipelines.backend import (
    PipelineBackend,
    RunRequest,
    RunState,
    RunStatus,
    TaskStatus,
)
from pipelines.compile import compile_pipeline
from pipelines.local import end_strays, end_tree, start_local
from pipelines.local_docker import end_containers
from pipelines.run_folder import RunEnd, RunFolder, RunProcess
from pipelines.spec_tasks import SpecTask, read_tasks


class LocalBackend(PipelineBackend):
    """Runs below ``home/pipelines/runs``; a run's id is its name."""

    def __init__(self, settings: Settings, *, own_session: bool = True) -> None:
        """Args:
        own_session: let runs outlive this process and its terminal; without it they are in its
            process group, and end with that.
        """
        self._settings = settings
        self._own_session = own_session
        self._root = settings.home / "pipelines" / "runs"
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def submit(self, request: RunRequest) -> str:
        check_arguments(request.pipeline, request.arguments)
        folder = self._folder(request.name)
        with folder.locked():
            # Without a process nothing of it was ever run: whoever submitted it was killed.
            if folder.process() is None and folder.end() is None:
                # A repeat is for a lost pod; what fails here would only fail again, later.
                settings = self._settings.model_copy(update={"pipeline_retries": 0})
                compile_pipeline(request.pipeline, folder.yaml, settings)
                folder.write_request(request)
                self._tidy_up()
                self._start(folder, request)
        return request.name

    def find(self, name: str) -> RunStatus | None:
        folder = self._folder(name)
        return None if folder.request() is None else self._status(folder)

    def status(self, run_id: str) -> RunStatus:
        return self._status(self._existing(run_id))

    def runs(self, limit: int = 20) -> list[RunStatus]:
        folders = [RunFolder(path) for path in self._root.glob("[!.]*") if path.is_dir()]
        dated = [(found[1], f) for f in folders if (found := f.request()) is not None]
        newest = sorted(dated, key=lambda pair: pair[0], reverse=True)[:limit]
        return [self._status(folder, tasks=False) for _, folder in newest]

    def logs(self, run_id: str, task: str = "") -> Iterator[str]:
        folder = self._existing(run_id)
        if not task:
            return _lines([folder.log])
        named = read_tasks(folder.yaml)
        begun = folder.tasks()
        meant = {t.name for t in named.values() if task in (t.name, t.display_name)} or {task}
        logs = [folder.logs / record.log for record in begun if record.name in meant]
        if not logs:
            known = ", ".join(dict.fromkeys(record.name for record in begun)) or "none yet"
            raise NotFound(f"The run {run_id} has begun no task {task}: it has {known}.")
        return _lines(logs)

    def cancel(self, run_id: str) -> None:
        folder = self._existing(run_id)
        if self._state(folder).ended:
            return
        folder.ask_to_cancel()
        with folder.locked():
            if (process := folder.process()) is not None and self._alive(folder):
                end_tree(process.pid)
                if self._settings.pipeline_runner == "docker":
                    end_containers(run_id)
                self._alive(folder)
            folder.write_end(RunState.CANCELED)
            folder.remove_temporary()

    def _start(self, folder: RunFolder, request: RunRequest) -> None:
        # What loads a user's weights is given no secrets.
        environment = self._settings.environment(secrets=False)
        # But for the one that lets a step write its own run and register its model.
        environment |= self._settings.tracking_environment()
        # Nor the key of an S3 storage: who submits brings what the steps read, and keeps what
        # they leave.
        environment["ACTVERSE_ROOT"] = str(self._settings.layout.root)
        # Each step leaves a folder there: KFP's own script makes it, and removes none.
        environment["TMPDIR"] = str(folder.make_temporary())
        process = start_local(
            folder.yaml,
            request.arguments,
            folder.path,
            environment,
            folder.log,
            own_session=self._own_session,
        )
        self._children[request.name] = process
        folder.write_process(RunProcess.of(process.pid))

    def _tidy_up(self) -> None:
        """Write the end of runs that were killed, and remove what they have left."""
        for path in self._root.glob("[!.]*"):
            folder = RunFolder(path)
            if folder.end() is None and folder.process() is not None:
                self._state(folder)

    def _folder(self, name: str) -> RunFolder:
        return RunFolder(self._root / checked_name(name, "run"))

    def _existing(self, run_id: str) -> RunFolder:
        folder = self._folder(run_id)
        if folder.request() is None:
            raise NotFound(f"There is no run {run_id} in {self._root}.")
        return folder

    def _alive(self, folder: RunFolder) -> bool:
        if (child := self._children.get(folder.path.name)) is not None:
            # A child that has ended stays in the process list until it is asked.
            child.poll()
        process = folder.process()
        return process is not None and process.alive

    def _state(self, folder: RunFolder) -> RunEnd:
        """How a run ended, or how it is: then its ``ended`` is 0."""
        if (end := folder.end()) is not None:
            return end
        if self._alive(folder):
            state = RunState.CANCELING if folder.canceling else RunState.RUNNING
            return RunEnd(state, "", 0.0)
        with folder.locked(wait=False) as ours:
            if not ours:
                # It is being submitted or ended just now.
                state = RunState.CANCELING if folder.canceling else RunState.PENDING
                return RunEnd(state, "", 0.0)
            name = folder.path.name
            if folder.process() is None:
                return RunEnd(
                    RunState.FAILED, f"The run {name} was never begun: submit it again.", 0.0
                )
            if folder.canceling:
                folder.write_end(RunState.CANCELED)
            else:
                # It may have told how it ended just now: then that stands.
                folder.write_end(
                    RunState.FAILED,
                    f"The run {name} ended without a word, killed perhaps: read {folder.log}.",
                    killed=True,
                )
            end_strays(folder.path)
            folder.remove_temporary()
        return folder.end() or RunEnd(RunState.RUNNING, "", 0.0)

    def _status(self, folder: RunFolder, *, tasks: bool = True) -> RunStatus:
        found = folder.request()
        if found is None:
            raise NotFound(f"The run {folder.path.name} was removed.")
        request, created = found
        end = self._state(folder)
        return RunStatus(
            run_id=request.name,
            name=request.name,
            pipeline=request.pipeline,
            state=end.state,
            created=_moment(created),
            ended=_moment(end.ended),
            error=end.error,
            tasks=_tasks(folder, end) if tasks else (),
            killed=end.killed,
        )


def _tasks(folder: RunFolder, end: RunEnd) -> tuple[TaskStatus, ...]:
    named = read_tasks(folder.yaml)
    records = folder.tasks()
    begun = [
        TaskStatus(
            name=record.name,
            display_name=named[record.name].display_name if record.name in named else record.name,
            # Who was killed could not say so.
            state=RunState(record.state) if record.ended or not end.state.ended else end.state,
            started=_moment(record.started),
            ended=_moment(record.ended or end.ended),
            error=record.error,
            killed=record.killed,
        )
        for record in records
    ]
    names = {record.name for record in records}
    waiting: list[SpecTask] = []
    if not end.state.ended:
        waiting = [task for task in named.values() if task.name not in names]
    return (
        *begun,
        *(TaskStatus(task.name, task.display_name, RunState.PENDING) for task in waiting),
    )


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _lines(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as file:
                yield from (line.rstrip("\n") for line in file)
