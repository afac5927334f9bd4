"""How far a pipeline run is: what its steps report, together with what its backend says."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from components.errors import Interrupted, Unavailable
from components.steps import StepReport
from pipelines import TRAINING_STEPS
from pipelines.backend import RunState, RunStatus, TaskStatus
from pipelines.task_policy import POLICIES

# The clocks of a pod and of the API server may differ by so much.
_SKEW_SECONDS = 60.0
_GOES_ON = (RunState.RUNNING, RunState.PAUSED, RunState.CANCELING)


def step_reports(run: RunStatus, reports: Iterable[StepReport]) -> dict[str, StepReport]:
    """The report of each step of a training that has begun, by name, in the pipeline's order.

    A step's own report tells most, but not everything: a step whose result was cached wrote
    none, one that could not be started neither, and one that was killed could not say so. A
    report of an earlier run is taken for a cached step alone: one that says so, or one that
    may be cached and has succeeded without a report of this run.

    Args:
        run: as its backend sees it.
        reports: those that were found.
    """
    written = {report.step: report for report in reports}
    tasks = {task.name: task for task in run.tasks}
    found = {}
    for name in TRAINING_STEPS:
        report = _report(run, tasks.get(name), written.get(name), name)
        if report is not None:
            found[name] = report
    return found


def failure(run: RunStatus, reports: dict[str, StepReport]) -> str:
    """Why a run has failed, in one sentence: the failed step's own if it left one."""
    for report in reports.values():
        if report.state == "failed" and report.error:
            return report.error
    for task in run.tasks:
        if task.state is RunState.FAILED and task.error:
            return f"The step {task.name} of the pipeline failed: {task.error}"
    said = f": {run.error}" if run.error else "."
    return f"The pipeline run {run.name} broke before its end{said}"


def passing_failure(run: RunStatus, reports: dict[str, StepReport]) -> type[Unavailable] | None:
    """Whether a run has failed by what passes: Interrupted, or Unavailable; else None."""
    if run.killed or any(task.killed for task in run.tasks):
        return Interrupted
    failed = [report for report in reports.values() if report.state == "failed"]
    return Unavailable if failed and all(report.passing for report in failed) else None


def unreported(reports: dict[str, StepReport]) -> list[str]:
    """The steps that have not succeeded, or have said nothing of what they did."""
    return [
        name
        for name in TRAINING_STEPS
        if name not in reports or reports[name].state != "succeeded" or not reports[name].facts
    ]


def percent(reports: dict[str, StepReport]) -> float:
    """How much is done, of a hundred for each step."""
    return sum(report.percent for report in reports.values())


def _report(
    run: RunStatus, task: TaskStatus | None, report: StepReport | None, name: str
) -> StepReport | None:
    fresh = report if report is not None and of_this_run(run, report) else None
    if task is None or task.state is RunState.PENDING:
        return fresh
    # Kubeflow Pipelines calls what was cached a success; not always can it be told from others.
    unsaid = task.state is RunState.SUCCEEDED and fresh is None and POLICIES[name].cached
    made = report.facts if report is not None and report.state == "succeeded" else None
    if task.state is RunState.CACHED or (unsaid and made is not None):
        # Without times: so soon it ends only because it did nothing.
        return StepReport(name, "succeeded", 100.0, facts={**(made or {}), "cached": True})
    if task.state is RunState.SKIPPED:
        return StepReport(name, "succeeded", 100.0, facts={"skipped": True})
    told = fresh or StepReport(name, started=_seconds(task.started))
    if task.state in _GOES_ON:
        # What has failed is begun once more: the backend knows when it is given up.
        return _changed(told, "running", error="") if told.state == "failed" else told
    ended = told.ended or _seconds(task.ended)
    if task.state is RunState.SUCCEEDED:
        return _changed(told, "succeeded", percent=100.0, ended=ended, error="")
    if task.state is RunState.FAILED:
        # What one that was killed had said last is what it waited for.
        last = told.error if told.state == "failed" else ""
        error = last or task.error or told.error
        return _changed(told, "failed", ended=ended, error=error)
    return _changed(told, "cancelled", ended=ended, error="")


def of_this_run(run: RunStatus, report: StepReport) -> bool:
    """Whether a report is not of an earlier run of the same task."""
    return run.created is None or report.started >= run.created.timestamp() - _SKEW_SECONDS


def _changed(report: StepReport, state: str, **values: Any) -> StepReport:
    return StepReport(**{**report.__dict__, "state": state, **values})


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
