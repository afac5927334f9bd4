"""Runs that were posted to the tests' Kubeflow Pipelines, really run on this machine."""

from datetime import datetime
from typing import Any

import yaml

from components.settings import Settings
from pipelines.backend import RunRequest, RunState
from pipelines.local import start_local
from pipelines.local_backend import LocalBackend
from pipelines.run_folder import RunFolder, RunProcess
from pipelines.spec_tasks import pipeline_name
from tests.helpers.kfp_runs import ServedRun, wire_time


class Execution:
    """Runs the posted pipeline spec by KFP's local runner, in the place of pods."""

    def __init__(self, settings: Settings, environment: dict[str, str]) -> None:
        """Args:
        settings: whose home has the runs' folders.
        environment: of the steps: in a cluster their ConfigMap's and Secrets' variables.
        """
        self._settings = settings
        self._environment = environment
        self._local = LocalBackend(settings)
        self._begun: dict[str, Any] = {}

    def start(self, run: ServedRun) -> None:
        """Begin a run."""
        fields = run.fields
        spec = fields["pipeline_spec"]
        documents = [spec]
        if "pipeline_spec" in spec:
            documents = [spec["pipeline_spec"], spec["platform_spec"]]
        folder = RunFolder(self._settings.home / "pipelines" / "runs" / fields["run_id"])
        folder.path.mkdir(parents=True)
        folder.yaml.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        arguments = fields["runtime_config"].get("parameters", {})
        name: Any = pipeline_name(spec)
        folder.write_request(RunRequest(name, fields["run_id"], arguments))
        process = start_local(
            folder.yaml, arguments, folder.path, self._environment, folder.log, own_session=True
        )
        folder.write_process(RunProcess.of(process.pid))
        self._begun[fields["run_id"]] = process

    def refresh(self, run: ServedRun) -> None:
        """Let a run be told of as it is."""
        run_id = run.fields["run_id"]
        if run_id not in self._begun:
            return
        self._begun[run_id].poll()
        status = self._local.status(run_id)
        for task in status.tasks:
            if task.state != RunState.PENDING:
                log = "\n".join(self._local.logs(run_id, task.name))
                started, ended = _time(task.started), _time(task.ended)
                run.task(task.name, task.state, log=log, started=started, ended=ended)
        # Argo has no state of its own for what was terminated.
        state = "FAILED" if status.state == RunState.CANCELED else status.state
        if state != run.fields["state"]:
            run.become(state)

    def cancel(self, run: ServedRun) -> None:
        """End a run and its processes."""
        run.become("CANCELING")
        self._local.cancel(run.fields["run_id"])
        self.refresh(run)

    def close(self) -> None:
        """End what still runs."""
        for run_id, process in self._begun.items():
            self._local.cancel(run_id)
            process.wait(30)


def _time(time: datetime | None) -> str:
    return wire_time(time) if time else ""
