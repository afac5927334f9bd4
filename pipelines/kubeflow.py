"""Pipelines on Kubeflow Pipelines, by its API v2beta1."""

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from components.errors import ActverseError, BadInput, Conflict, NotFound, Unavailable
from components.json_text import read_json
from components.settings import Settings
from pipelines.arguments import check_arguments
from pipelines.backend import PipelineBackend, RunRequest, RunState, RunStatus, TaskStatus
from pipelines.compile import compile_pipeline
from pipelines.kfp_connection import KfpConnection
from pipelines.kfp_errors import kfp_errors, server_words
from pipelines.kfp_tasks import moment, run_state, run_tasks, task_pods, was_canceling
from pipelines.run_errors import error_sentence
from pipelines.spec_tasks import pipeline_name, spec_tasks

SAME_SECOND = 1.0
# So Kubernetes says of a container without its image, ConfigMap or Secret.
_WAITING = "waiting to start"
_ERROR_KEYS = {"error_message", "error_details"}
_LOG = "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log"


class KubeflowBackend(PipelineBackend):
    """Runs in the namespace and the experiment that Settings name."""

    def __init__(self, settings: Settings) -> None:
        """Raises:
        BadInput: if the settings of Kubeflow Pipelines cannot be used.
        """
        self._settings = settings
        self._connection = KfpConnection(settings)
        self._canceling: set[str] = set()
        # Of the failed tasks of runs that go on, so that no log is read at each look.
        self._errors: dict[str, dict[tuple[str, datetime | None], str]] = {}

    def submit(self, request: RunRequest) -> str:
        check_arguments(request.pipeline, request.arguments)
        if (there := self._first(request.name)) is not None:
            return there.run_id
        body = self._body(request)
        try:
            with kfp_errors(self._settings, f"create the run {request.name}"):
                made = self._runs.run_service_create_run(run=body, **self._limits).run_id
        except Unavailable:
            # The answer may have been lost, and the run be there.
            if (there := self._first(request.name)) is None:
                raise
            return there.run_id
        # Somebody else may have submitted it in the same moment. Its times are whole seconds: once
        # one is over, both see the same two and take the same one for the first.
        time.sleep(SAME_SECOND)
        first = self._first(request.name)
        if first is None or first.run_id == made:
            return made
        self.cancel(made)
        return first.run_id

    def find(self, name: str) -> RunStatus | None:
        first = self._first(name)
        return None if first is None else self.status(first.run_id)

    def status(self, run_id: str) -> RunStatus:
        run = self._run(run_id)
        status = self._status(run)
        named = spec_tasks(run.pipeline_spec or {})
        tasks = run_tasks(_details(run), named, status.state)
        # A run may go on long after a task has failed: its exit handler is still to come.
        known = {} if status.state.ended else self._errors.setdefault(run_id, {})
        if status.state.ended:
            self._errors.pop(run_id, None)
        tasks = tuple(self._with_error(run, task, known) for task in tasks)
        if status.state != RunState.FAILED:
            return replace(status, tasks=tasks)
        error = next((task.error for task in tasks if task.error), status.error)
        error = error or f"The run {status.name} failed outside its steps: look at {status.url}."
        return replace(status, tasks=tasks, error=error)

    def runs(self, limit: int = 20) -> list[RunStatus]:
        experiment = self._experiment()
        if experiment is None:
            return []
        found: list[Any] = []
        page = ""
        while len(found) < limit:
            with kfp_errors(self._settings, "list runs"):
                answer = self._runs.run_service_list_runs(
                    experiment_id=experiment,
                    sort_by="created_at desc",
                    page_size=min(limit, 100),
                    page_token=page,
                    **self._limits,
                )
            found += answer.runs or []
            page = answer.next_page_token
            if not page:
                break
        return [self._status(run) for run in found[:limit]]

    def logs(self, run_id: str, task: str = "") -> Iterator[str]:
        run = self._run(run_id)
        details = _details(run)
        named = spec_tasks(run.pipeline_spec or {})
        begun = [t for t in run_tasks(details, named, RunState.RUNNING) if t.started is not None]
        meant = [t for t in begun if not task or task in (t.name, t.display_name)]
        if task and not meant:
            known = ", ".join(dict.fromkeys(t.name for t in begun)) or "none yet"
            raise NotFound(f"The run {run_id} has begun no task {task}: it has {known}.")
        ran = list(dict.fromkeys(t.name for t in meant if t.state != RunState.CACHED))
        if task and not ran:
            raise NotFound(
                f"The step {task} of the run {run_id} has no log: what it had made before was "
                "taken from the cache."
            )
        return self._logs(run, ran, named=not task)

    def cancel(self, run_id: str) -> None:
        if self._status(self._run(run_id)).state.ended:
            return
        try:
            with kfp_errors(self._settings, f"end the run {run_id}", run_id=run_id):
                self._runs.run_service_terminate_run(run_id=run_id, **self._limits)
            self._canceling.add(run_id)
        except ActverseError:
            # It may have ended by itself meanwhile, or its answer was lost.
            state = self._status(self._run(run_id)).state
            if not state.ended and state != RunState.CANCELING:
                raise

    @property
    def _runs(self) -> Any:
        # First, whether the server is one that we can talk to.
        _ = self._connection.namespace
        return self._connection.client.runs

    @property
    def _limits(self) -> dict[str, Any]:
        return {"_request_timeout": self._connection.timeout}

    def _first(self, name: str) -> Any:
        """The run of a name that was created first; there is another only after a race."""
        wanted = {"operation": "EQUALS", "key": "display_name", "string_value": name}
        namespace = self._connection.namespace
        with kfp_errors(self._settings, "list runs"):
            answer = self._runs.run_service_list_runs(
                **({"namespace": namespace} if namespace else {}),
                filter=json.dumps({"predicates": [wanted]}),
                sort_by="created_at asc",
                page_size=100,
                **self._limits,
            )
        # Its times are whole seconds.
        found = sorted(answer.runs or [], key=lambda run: (run.created_at, run.run_id))
        return found[0] if found else None

    def _run(self, run_id: str) -> Any:
        with kfp_errors(self._settings, f"show the run {run_id}", run_id=run_id):
            return self._runs.run_service_get_run(run_id=run_id, **self._limits)

    def _body(self, request: RunRequest) -> Any:
        import kfp_server_api
        import yaml

        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "pipeline.yaml"
            compile_pipeline(request.pipeline, target, self._settings)
            spec, *platform = yaml.safe_load_all(target.read_text(encoding="utf-8"))
        if platform:
            spec = {"pipeline_spec": spec, "platform_spec": platform[0]}
        return kfp_server_api.V2beta1Run(
            display_name=request.name,
            experiment_id=self._experiment() or self._made_experiment(),
            pipeline_spec=spec,
            runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=request.arguments),
        )

    def _experiment(self) -> str | None:
        """The experiment's id, if it is there."""
        name = self._settings.kfp_experiment
        wanted = {"operation": "EQUALS", "key": "display_name", "string_value": name}
        namespace = self._connection.namespace
        with kfp_errors(self._settings, "list experiments"):
            answer = self._connection.client.experiments.experiment_service_list_experiments(
                **({"namespace": namespace} if namespace else {}),
                filter=json.dumps({"predicates": [wanted]}),
                **self._limits,
            )
        return answer.experiments[0].experiment_id if answer.experiments else None

    def _made_experiment(self) -> str:
        import kfp_server_api

        name = self._settings.kfp_experiment
        body = kfp_server_api.V2beta1Experiment(
            display_name=name, namespace=self._connection.namespace or None
        )
        experiments = self._connection.client.experiments
        try:
            with kfp_errors(self._settings, f"create the experiment {name}"):
                return experiments.experiment_service_create_experiment(
                    experiment=body, **self._limits
                ).experiment_id
        except Conflict:
            # Somebody else was faster.
            if (there := self._experiment()) is None:
                raise
            return there

    def _status(self, run: Any) -> RunStatus:
        state = self._state(run)
        pages = (self._settings.kfp_public_url or self._settings.kfp_endpoint).rstrip("/")
        failed = state == RunState.FAILED and run.error is not None
        return RunStatus(
            run_id=run.run_id,
            name=run.display_name,
            pipeline=pipeline_name(run.pipeline_spec or {}),
            state=state,
            created=moment(run.created_at),
            ended=moment(run.finished_at) if state.ended else None,
            url=f"{pages}/#/runs/details/{run.run_id}",
            error=(run.error.message or "") if failed else "",
        )

    def _state(self, run: Any) -> RunState:
        """A run's state: canceled also where the server calls that failed.

        Its history may lack that the run was being canceled, if that was over soon: then it is
        known where it was seen.
        """
        state = run_state(run.state, moment(run.finished_at))
        if state == RunState.CANCELING:
            self._canceling.add(run.run_id)
        elif state != RunState.FAILED:
            # One that has ended may have been begun once more.
            self._canceling.discard(run.run_id)
        elif run.run_id in self._canceling or was_canceling(run.state_history):
            return RunState.CANCELED
        return state

    def _with_error(
        self, run: Any, task: TaskStatus, known: dict[tuple[str, datetime | None], str]
    ) -> TaskStatus:
        """A failed task with what its log says of it: the API itself says nothing.

        Args:
            known: the errors that were found before, by task and its end; this one is added.
        """
        if task.state != RunState.FAILED:
            return task
        key = (task.name, task.ended)
        if key in known:
            return replace(task, error=known[key])
        lines: list[str] = []
        away = False
        try:
            lines = list(self._logs(run, [task.name], named=False))
        except ActverseError as unread:
            # That it failed is known without: its log may be gone, or not be ours to read.
            away = isinstance(unread, Unavailable)
        error = error_sentence([*task.error.splitlines(), *lines], task.name) or task.error
        if not error:
            command = f"actverse pipeline logs {run.run_id} --task {task.name}"
            error = f"The step {task.name} failed; '{command}' may say why."
        if not away:
            known[key] = error
        return replace(task, error=error)

    def _logs(self, run: Any, tasks: list[str], *, named: bool) -> Iterator[str]:
        for task in tasks:
            if named:
                yield f"── {task}"
            for names in task_pods(_details(run), task):
                try:
                    yield from self._pod_log(run.run_id, task, names)
                except NotFound as error:
                    # Of several tasks' logs, those that are left are still worth reading.
                    if not named:
                        raise
                    yield str(error)

    def _pod_log(self, run_id: str, task: str, names: list[str]) -> Iterator[str]:
        from kfp_server_api import ApiException

        said = ""
        for name in names:
            try:
                with kfp_errors(self._settings, f"show the log of {task}", run_id=run_id):
                    lines = iter(self._connection.read(_LOG, run_id=run_id, node_id=name))
                    first = next(lines, b"")
            except (NotFound, Unavailable, BadInput) as error:
                cause = error.__cause__
                if not isinstance(cause, ApiException) or cause.status not in (400, 404, 500):
                    raise
                # So it says, too, that there is no such pod.
                said = server_words(cause.body)
            else:
                if not _is_error(first):
                    with kfp_errors(self._settings, f"show the log of {task}"):
                        for line in itertools.chain([first] if first else [], lines):
                            yield line.decode(errors="replace").rstrip("\n")
                    return
                said = server_words(first)
            if _WAITING in said:
                raise NotFound(f"The step {task} has not begun: {said}.")
        raise NotFound(
            f"The log of {task} is not kept any more: Kubeflow Pipelines has it while the pod is "
            f"there, or in an archive where one is set up ({said})."
        )


def _is_error(line: bytes) -> bool:
    """Whether a log's first line is no log: a server of 2.16 has said 200 by then."""
    try:
        content = read_json(line)
    except ValueError:
        return False
    return isinstance(content, dict) and bool(content) and content.keys() <= _ERROR_KEYS


def _details(run: Any) -> list[Any]:
    return list((run.run_details and run.run_details.task_details) or [])
