"""A step of a run on Kubeflow Pipelines that does not begin, or is heard of no more.

Its pod may lack a node, its image or its ConfigMap: Kubernetes waits for each without an end, and
Kubeflow Pipelines' API tells of none. A pod that was lost may so wait for the one that repeats
it. So a step whose turn it is, and of which no report comes, is told of, and given up in the end.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from components.errors import ActverseError, StepFailed
from components.settings import Settings
from components.steps import StepReport
from gateway.models import now
from gateway.pipeline_progress import of_this_run
from pipelines import TRAINING_STEPS
from pipelines.backend import PipelineBackend, RunState, RunStatus

TOLD_AFTER = timedelta(minutes=3)
EXIT_HANDLER = "run-end"
_ASKED_EVERY = timedelta(minutes=1)
_BROKEN = (RunState.FAILED, RunState.CANCELED)


@dataclass(frozen=True)
class Due:
    """The step whose turn it is; no name, where none is to be waited for.

    Attributes:
        since: when its turn came or, of one that has begun, when it was last heard of; None
            where nobody knows.
        begun: whether it has said that it runs.
        last: whether it is the exit handler, and the run has ended but for it.
    """

    step: str = ""
    since: datetime | None = None
    begun: bool = False
    last: bool = False


class StallWatch:
    """What keeps the steps of one training's run from beginning.

    Attributes:
        only_its_end_is_due: whether the run waits for nothing but an exit handler that does
            not begin: how it has ended is known without that.
    """

    def __init__(self, settings: Settings, backend: PipelineBackend) -> None:
        self._settings = settings
        self._backend = backend
        self._due = Due()
        self._heard: datetime | None = None
        self._since = self._asked = now()
        self._words = ""
        self.only_its_end_is_due = False

    def look(self, run: RunStatus, written: Iterable[StepReport]) -> str:
        """What holds the run up, in a sentence; nothing while its steps go on.

        Args:
            run: as its backend sees it now.
            written: the reports that were found.

        Raises:
            StepFailed: if a step has said nothing for ``pipeline_start_timeout``.
        """
        self.only_its_end_is_due = False
        due = due_step(run, written)
        if replace(due, since=None) != replace(self._due, since=None):
            self._since, self._heard, self._words = now(), None, ""
            self._asked = now() - _ASKED_EVERY
        elif due.begun and due.since and self._due.since and due.since > self._due.since:
            self._heard = now()  # whatever its pod's clock says
        self._due, self._since = due, self._heard or due.since or self._since
        waited = now() - self._since
        if not due.step or waited < TOLD_AFTER:
            return ""
        if now() - self._asked >= _ASKED_EVERY:
            self._asked, self._words = now(), self._said(run.run_id)
        namespace = self._settings.kfp_namespace or "kubeflow"
        verb = "has said nothing" if due.begun else "has not begun"
        pod = "the pod that repeats it" if due.begun else "its pod"
        told = (
            f"The step {due.step} {verb} since {self._since:%Y-%m-%d %H:%M} UTC: {pod} may "
            "lack a node that is free, its image or its ConfigMap; 'kubectl --namespace "
            f"{namespace} get pods' and 'describe pod' say what. {self._words}"
        ).rstrip()
        self.only_its_end_is_due = due.last
        if waited.total_seconds() > self._settings.pipeline_start_timeout and not due.last:
            raise StepFailed(told)
        return told

    def _said(self, run_id: str) -> str:
        """What its pod's log says, or why there is none."""
        try:
            lines = list(self._backend.logs(run_id, self._due.step))
        except ActverseError as error:
            return str(error)
        return f"It has printed: {lines[-1]}" if lines else ""


def due_step(run: RunStatus, written: Iterable[StepReport]) -> Due:
    """The step whose turn it is.

    The exit handler writes no report: its turn is when no other step has one any more.
    """
    tasks = {task.name: task for task in run.tasks}
    handler = tasks.get(EXIT_HANDLER)
    called = handler.started if handler is not None else None
    if run.state is RunState.CANCELING:  # which ends with the exit handler, too
        return Due(EXIT_HANDLER, called, last=True)
    if run.state not in (RunState.PENDING, RunState.RUNNING):
        return Due()
    reports = {report.step: report for report in written if of_this_run(run, report)}
    of_steps = [tasks[name].state for name in TRAINING_STEPS if name in tasks]
    broken = any(state in _BROKEN for state in of_steps)
    for name in TRAINING_STEPS:
        task, report = tasks.get(name), reports.get(name)
        if broken:
            break
        if (task is not None and task.state.ended) or (report and report.state == "succeeded"):
            continue
        if report is not None and report.state == "running":
            # An image of before does not say when it was seen.
            return Due(name, _moment(report.seen), begun=True) if report.seen else Due()
        if report is not None:  # it has failed, and is to be repeated
            return Due(name, _moment(report.ended))
        return Due(name, task.started if task is not None else None)
    last = broken or (
        len(of_steps) == len(TRAINING_STEPS) and all(state.ended for state in of_steps)
    )
    return Due(EXIT_HANDLER, called, last=last)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
