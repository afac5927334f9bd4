"""Where a task stands, from its rows, with an honest guess of what is left.

Honest means: what is not known is null or 0 and never made up; nothing is called complete
that is not; a step that is to be done again counts for nothing until it begins.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.flows import STEPS, TRAINING
from gateway.models import Attempt, Step, Task, now
from gateway.pipeline_runs import KUBEFLOW
from gateway.schemas import PipelineRunStatus, ProcessStatus, StepStatus, TaskStatus
from gateway.tasks import OPEN, unfinished_stages
from pipelines import TRAINING_STEPS
from pipelines.backend import RunState

# Below these a pace says nothing.
_LEAST_PERCENT, _LEAST_SECONDS = 3.0, 2.0
# Beyond twice what is usual, and these, nobody knows how long a step will take.
_GRACE_SECONDS = 5.0
_HISTORY, _TRAININGS, _HISTORY_DAYS = 500, 20, 30
_GOING_ON = [state for state in RunState if not state.ended]


def task_status(
    task: Task, durations: Mapping[str, float] | None = None, moment: datetime | None = None
) -> TaskStatus:
    """Where a task stands, as REST tells it.

    Args:
        task: with its steps loaded.
        durations: seconds that each step usually takes, by name; see ``usual_durations``.
        moment: the present, by default.
    """
    moment = moment or now()
    steps = [status for step in task.steps for status in _statuses(task, step, moment)]
    percent = sum(step.percent for step in steps) / max(len(steps), 1)
    return TaskStatus(
        task_id=task.id,
        user_id=task.user_id,
        kind=task.kind,
        revision=task.revision,
        process_status=ProcessStatus(
            state=cast(Any, task.state),
            percent=100.0 if task.state == "succeeded" else min(_floor(percent), 99.9),
            remaining_seconds=_remaining(task, durations or {}, moment),
            error=task.error,
            created=task.created,
            updated=task.updated,
            steps=steps,
            pipeline_run=_pipeline_run(task),
        ),
    )


def is_final(state: str) -> bool:
    """Whether a task of this state has ended."""
    return state not in OPEN


def usual_durations(session: Session) -> dict[str, float]:
    """The median seconds of the latest successful attempts at each step, of anybody's tasks.

    The steps of the training pipeline are called ``training.<step>``.
    """
    since = now() - timedelta(_HISTORY_DAYS)
    attempts = (
        select(Attempt.step, Attempt.started, Attempt.ended)
        .where(Attempt.outcome == "succeeded", Attempt.started > since)
        .order_by(Attempt.id.desc())
        .limit(_HISTORY)
    )
    taken: dict[str, list[float]] = {}
    for step, started, ended in session.execute(attempts).tuples():
        if ended is not None:
            taken.setdefault(step, []).append((ended - started).total_seconds())
    trainings = (
        select(Step.facts)
        .where(Step.name == TRAINING, Step.state == "succeeded", Step.ended > since)
        .order_by(Step.id.desc())
        .limit(_TRAININGS)
    )
    for facts in session.scalars(trainings):
        for name, report in facts.get("pipeline", {}).items():
            if report.get("started") and report.get("ended"):
                seconds = report["ended"] - report["started"]
                taken.setdefault(f"{TRAINING}.{name}", []).append(seconds)
    return {step: median(seconds) for step, seconds in taken.items()}


def _remaining(task: Task, durations: Mapping[str, float], moment: datetime) -> float | None:
    """Seconds until the task's end; None where a part of it cannot be told."""
    if task.state not in ("queued", "running"):
        return None
    left = 0.0
    for stage in unfinished_stages(task):
        parts = [_left(task, step, durations, moment) for step in stage]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        left += max(known)
    return round(left, 1)


def _left(task: Task, step: Step, durations: Mapping[str, float], moment: datetime) -> float | None:
    """Seconds that a step which has not succeeded still needs, and waits before it."""
    if step.name == "labels" and not task.request.get("labels_path"):
        return None  # nobody knows when people will have labelled
    usual = durations.get(step.name)
    if step.state != "running" or step.started is None:
        wait = (step.not_before - moment).total_seconds() if step.not_before else 0.0
        return None if usual is None else usual + max(wait, 0.0)
    if step.name == TRAINING:
        return _pipeline_left(step, durations, moment)
    own = _step_pace(step, moment)
    return own if own is not None else _usual_left(usual, step.started, moment)


def _pipeline_left(step: Step, durations: Mapping[str, float], moment: datetime) -> float | None:
    left = 0.0
    for status in _pipeline_statuses(step, moment):
        if status.state == "succeeded":
            continue
        part = durations.get(f"{TRAINING}.{status.name}")
        if status.state == "running":
            part = (
                status.remaining_seconds
                if status.remaining_seconds is not None
                else _usual_left(part, status.started, moment)
            )
        if part is None:
            return None
        left += part
    return left


def _usual_left(usual: float | None, started: datetime | None, moment: datetime) -> float | None:
    if usual is None or started is None:
        return usual
    elapsed = (moment - started).total_seconds()
    return None if elapsed > 2 * usual + _GRACE_SECONDS else max(usual - elapsed, 0.0)


def _pace(done: float, total: float, started: datetime | None, moment: datetime) -> float | None:
    """Seconds from ``done`` to ``total``, if it goes on as since ``started``; None if unknown."""
    if started is None or done <= 0 or total <= 0:
        return None
    elapsed = (moment - started).total_seconds()
    if elapsed < _LEAST_SECONDS:
        return None
    return round(elapsed * max(total - done, 0.0) / done, 1)


def _step_pace(step: Step, moment: datetime) -> float | None:
    if step.percent < _LEAST_PERCENT:
        return None
    # What an earlier attempt had done was not done since this one started.
    before = float(step.facts.get("resumed_at", 0))
    return _pace(step.done - before, step.total - before, step.started, moment)


def _statuses(task: Task, step: Step, moment: datetime) -> list[StepStatus]:
    if step.name == TRAINING:
        # The pipeline's steps are shown each, in its own row's place.
        return _pipeline_statuses(step, moment)
    state = step.state
    if task.state == "waiting" and state == "running":
        state = "waiting"  # somebody looks whether it has come what it waits for
    # What failed or was lost begins from the start.
    begun = state != "pending"
    return [
        StepStatus(
            name=step.name,
            state=cast(Any, state),
            percent=_floor(step.percent) if begun else 0.0,
            done=step.done if begun else 0.0,
            total=step.total,
            unit=STEPS[step.name].unit,
            remaining_seconds=_step_pace(step, moment) if state == "running" else None,
            attempt=step.attempt,
            started=step.started,
            ended=step.ended,
            error=step.error,
            facts=step.facts,
        )
    ]


def _pipeline_run(task: Task) -> PipelineRunStatus | None:
    training = next((step for step in task.steps if step.name == TRAINING), None)
    run = training.facts.get("run") if training is not None and _begun(training) else None
    if training is None or run is None:
        return None
    shown = PipelineRunStatus(**run)
    if training.state == "cancelled" and shown.state in ("", *_GOING_ON):
        # Nobody looked at it any more.
        elsewhere = shown.backend == KUBEFLOW
        shown.state = RunState.CANCELING if elsewhere else RunState.CANCELED
    return shown


def _begun(training: Step) -> bool:
    """Whether what a training has said counts: its run may go on while nobody follows it."""
    elsewhere = training.facts.get("run", {}).get("backend") == KUBEFLOW
    return elsewhere or training.state != "pending"


def _pipeline_statuses(step: Step, moment: datetime) -> list[StepStatus]:
    reports = step.facts.get("pipeline", {}) if _begun(step) else {}
    states = {name: reports.get(name, {}).get("state", "pending") for name in TRAINING_STEPS}
    errors = {name: reports.get(name, {}).get("error", "") for name in TRAINING_STEPS}
    unfinished = [name for name in TRAINING_STEPS if states[name] != "succeeded"]
    if step.state == "succeeded":
        # One that said nothing: the pipeline had no such step then.
        states |= dict.fromkeys(unfinished, "succeeded")
    elif step.state == "cancelled":
        states |= {name: "cancelled" for name in unfinished if states[name] != "failed"}
    elif step.state == "failed" and unfinished and "failed" not in states.values():
        # It ended before the one whose turn it was could say so.
        states[unfinished[0]], errors[unfinished[0]] = "failed", step.error
    elif step.state == "pending" and step.error:
        errors[TRAINING_STEPS[0]] = step.error
    return [
        _pipeline_status(step, name, states[name], errors[name], reports.get(name, {}), moment)
        for name in TRAINING_STEPS
    ]


def _pipeline_status(
    step: Step, name: str, state: str, error: str, report: dict[str, Any], moment: datetime
) -> StepStatus:
    facts = report.get("facts", {})
    percent = report.get("percent", 0.0)
    started = _moment(report.get("started"))
    done, total, unit = 0.0, 0.0, ""
    if name == "train":
        done, total, unit = float(facts.get("epoch", 0)), float(facts.get("epochs", 0)), "epochs"
    if state != "running":
        remaining = None
    elif total:
        remaining = _pace(done, total, started, moment)
    else:
        remaining = _pace(percent, 100.0, started, moment) if percent >= _LEAST_PERCENT else None
    return StepStatus(
        name=name,
        state=cast(Any, state),
        percent=_floor(percent),
        done=done,
        total=total,
        unit=unit,
        remaining_seconds=remaining,
        attempt=step.attempt,
        started=started,
        ended=_moment(report.get("ended")),
        error=error,
        facts=facts,
    )


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _floor(percent: float) -> float:
    """To a tenth, never up: 99.99 is not 100."""
    return math.floor(min(percent, 100.0) * 10 + 1e-6) / 10
