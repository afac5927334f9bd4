"""A step of a run on Kubeflow Pipelines that does not begin.

Its pod may lack a node, its image or its ConfigMap: Kubernetes waits for each without an end, and
Kubeflow Pipelines' API tells of none. So a step whose turn it is, and of which no report comes,
is told of, and given up in the end.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from components.errors import ActverseError, StepFailed
from components.settings import Settings
from components.steps import StepReport
from gateway.models import now
from gateway.pipeline_progress import of_this_run
from pipelines import TRAINING_STEPS
from pipelines.backend import PipelineBackend, RunState, RunStatus

TOLD_AFTER = timedelta(minutes=3)
_EXIT_HANDLER = "run-end"
_ASKED_EVERY = timedelta(minutes=1)


class StallWatch:
    """What keeps the steps of one training's run from beginning."""

    def __init__(self, settings: Settings, backend: PipelineBackend) -> None:
        self._settings = settings
        self._backend = backend
        self._step = ""
        self._since = self._asked = now()
        self._words = ""

    def look(self, run: RunStatus, written: Iterable[StepReport]) -> str:
        """What holds the run up, in a sentence; nothing while its steps begin in time.

        Args:
            run: as its backend sees it now.
            written: the reports that were found.

        Raises:
            StepFailed: if a step has not begun for ``pipeline_start_timeout``.
        """
        step, since = due_step(run, written)
        if step != self._step:
            self._step, self._since, self._words = step, now(), ""
            self._asked = now() - _ASKED_EVERY
        self._since = since or self._since
        waited = now() - self._since
        if not step or waited < TOLD_AFTER:
            return ""
        if now() - self._asked >= _ASKED_EVERY:
            self._asked, self._words = now(), self._said(run.run_id)
        namespace = self._settings.kfp_namespace or "kubeflow"
        told = (
            f"The step {step} has not begun since {self._since:%Y-%m-%d %H:%M} UTC: its pod may "
            "lack a node that is free, its image or its ConfigMap; 'kubectl --namespace "
            f"{namespace} get pods' and 'describe pod' say what. {self._words}"
        ).rstrip()
        if waited.total_seconds() > self._settings.pipeline_start_timeout:
            raise StepFailed(told)
        return told

    def _said(self, run_id: str) -> str:
        """What its pod's log says, or why there is none."""
        try:
            lines = list(self._backend.logs(run_id, self._step))
        except ActverseError as error:
            return str(error)
        return f"It has printed: {lines[-1]}" if lines else ""


def due_step(run: RunStatus, written: Iterable[StepReport]) -> tuple[str, datetime | None]:
    """The step whose turn it is and which says nothing of itself, and since when; else nothing.

    The exit handler writes no report: its turn is when no other step has one any more.
    """
    if run.state not in (RunState.PENDING, RunState.RUNNING):
        return "", None
    reports = {report.step: report for report in written if of_this_run(run, report)}
    tasks = {task.name: task for task in run.tasks}
    for name in TRAINING_STEPS:
        task, report = tasks.get(name), reports.get(name)
        if task is not None and task.state in (RunState.FAILED, RunState.CANCELED):
            break
        if (task is not None and task.state.ended) or (report and report.state == "succeeded"):
            continue
        if report is not None and report.state == "running":
            return "", None
        if report is not None:  # it has failed, and is to be repeated
            return name, datetime.fromtimestamp(report.ended, UTC)
        return name, task.started if task is not None else None
    handler = tasks.get(_EXIT_HANDLER)
    return _EXIT_HANDLER, handler.started if handler is not None else None
