"""Tasks and their steps in the database: made, claimed, renewed, ended, read."""

import secrets
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.orm import Session, selectinload

from components.errors import NotFound
from gateway.models import Step, Task, now
from gateway.schemas import ProcessStatus, StepStatus, TaskRequest, TaskStatus
from pipelines import TRAINING_STEPS

OPEN = ("queued", "running")
TRAINING = "training"
MAX_ATTEMPTS = 5


def create_task(
    session: Session, user_id: str, request: TaskRequest, steps: tuple[str, ...]
) -> Task:
    """Store a task with all its steps pending."""
    task = Task(
        id=f"t-{secrets.token_hex(6)}", user_id=user_id, request=request.model_dump(mode="json")
    )
    task.steps = [
        Step(name=name, position=position, facts={}) for position, name in enumerate(steps)
    ]
    session.add(task)
    return task


def read_task(session: Session, task_id: str, user_id: str | None = None) -> Task:
    """A task with its steps; with ``user_id``, only if it is that user's.

    Raises:
        NotFound: also for another user's task, so that nobody learns which ids exist.
    """
    query = select(Task).where(Task.id == task_id).options(selectinload(Task.steps))
    task = session.scalars(query).one_or_none()
    if task is None or (user_id is not None and task.user_id != user_id):
        raise NotFound(f"There is no task {task_id!r} of yours: look at the id.")
    return task


def task_status(task: Task) -> TaskStatus:
    """Where a task stands, as REST tells it."""
    steps = [status for step in task.steps for status in _statuses(step)]
    percent = sum(step.percent for step in steps) / max(len(steps), 1)
    return TaskStatus(
        task_id=task.id,
        user_id=task.user_id,
        process_status=ProcessStatus(
            state=cast(Any, task.state),
            percent=round(percent, 1),
            error=task.error,
            created=task.created,
            updated=task.updated,
            steps=steps,
        ),
    )


def _statuses(step: Step) -> list[StepStatus]:
    if step.name != TRAINING:
        return [
            StepStatus.model_validate(
                {name: getattr(step, name) for name in StepStatus.model_fields}
            )
        ]
    # The pipeline's steps are shown each, in its own row's place.
    reports = step.facts.get("pipeline", {})
    statuses = []
    for name in TRAINING_STEPS:
        report = {
            "state": "pending",
            "percent": 0.0,
            "error": "",
            "facts": {},
            **reports.get(name, {}),
        }
        statuses.append(
            StepStatus.model_validate(
                {
                    "name": name,
                    "attempt": step.attempt,
                    **{key: report[key] for key in ("state", "percent", "error", "facts")},
                    **{key: report.get(key) or None for key in ("started", "ended")},
                }
            )
        )
    return statuses


def claim_step(session: Session, holder: str, lease: timedelta) -> Step | None:
    """Take the next step that may run, with a lease on it; None if there is none.

    The next step of a task is its first that has not succeeded. It may run when it is
    pending and its time has come, or when the lease of whoever ran it has run out. After
    ``MAX_ATTEMPTS`` the task fails instead.
    """
    moment = now()
    for task in session.scalars(
        select(Task).where(Task.state.in_(OPEN)).options(selectinload(Task.steps))
    ):
        step = next((step for step in task.steps if step.state != "succeeded"), None)
        if step is None or not _may_run(step, moment):
            continue
        if step.attempt >= MAX_ATTEMPTS:
            # It has taken its worker with it each time, or was never let to end.
            sentence = f"The step {step.name} was lost {step.attempt} times: read the worker's log."
            fail_step(session, step.id, sentence, None)
            continue
        # Two workers may both have come this far: the database lets one of them through.
        taken = session.execute(
            update(Step)
            .where(
                Step.id == step.id,
                Step.attempt == step.attempt,
                or_(Step.state == "pending", Step.lease_until < moment),
            )
            .values(
                state="running",
                attempt=step.attempt + 1,
                lease_holder=holder,
                lease_until=moment + lease,
                started=moment,
                ended=None,
                percent=0.0,
                error="",
                facts={},
            )
        )
        if cast(CursorResult[Any], taken).rowcount == 1:
            task.state = "running"
            session.flush()
            session.refresh(step)
            return step
    return None


def _may_run(step: Step, moment: datetime) -> bool:
    if step.state == "pending":
        return step.not_before is None or step.not_before <= moment
    return step.state == "running" and (step.lease_until is None or step.lease_until < moment)


def renew_lease(session: Session, step_id: int, holder: str, lease: timedelta) -> bool:
    """Extend a lease; False if somebody else holds the step by now."""
    renewed = session.execute(
        update(Step)
        .where(Step.id == step_id, Step.lease_holder == holder, Step.state == "running")
        .values(lease_until=now() + lease)
    )
    return cast(CursorResult[Any], renewed).rowcount == 1


def note_progress(session: Session, step_id: int, percent: float, facts: dict[str, Any]) -> None:
    """Record how far a running step is."""
    step = session.get_one(Step, step_id)
    step.percent = min(max(percent, 0.0), 100.0)
    step.facts = {**step.facts, **facts}
    step.task.updated = now()


def finish_step(session: Session, step_id: int, facts: dict[str, Any]) -> None:
    """A step has succeeded; with the last one the task has too."""
    step = session.get_one(Step, step_id)
    step.state, step.percent, step.ended = "succeeded", 100.0, now()
    step.facts = {**step.facts, **facts}
    step.lease_holder, step.lease_until = "", None
    if all(other.state == "succeeded" for other in step.task.steps):
        step.task.state = "succeeded"
    step.task.updated = now()


def fail_step(session: Session, step_id: int, error: str, retry_in: timedelta | None) -> None:
    """A step has failed: it is tried again after ``retry_in``, or the task fails with it."""
    step = session.get_one(Step, step_id)
    step.error, step.ended = error, now()
    step.lease_holder, step.lease_until = "", None
    if retry_in is not None:
        step.state, step.not_before = "pending", now() + retry_in
        return
    step.state = "failed"
    step.task.state, step.task.error, step.task.updated = "failed", error, now()
