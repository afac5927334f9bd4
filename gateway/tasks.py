"""Tasks in the database: made, read, listed, cancelled."""

import secrets
from collections.abc import Iterable
from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session, aliased, selectinload

from components.errors import BadInput, NotFound, TooManyRequests
from gateway.events import touch
from gateway.flows import FLOWS, STEPS, TRAINING
from gateway.locks import one_at_a_time
from gateway.models import Attempt, Step, Task, now
from gateway.work import Work

OPEN = ("queued", "running", "waiting")
_OPEN_RETRY_SECONDS = 60


def create_task(
    session: Session, user_id: str, kind: str, work: Work, *, previous_id: str = ""
) -> Task:
    """Store a task of a kind with all its steps pending; a further round follows a previous one."""
    task = Task(
        id=f"t-{secrets.token_hex(6)}",
        user_id=user_id,
        kind=kind,
        previous_id=previous_id,
        request=work.model_dump(mode="json", exclude_defaults=True),
    )
    task.steps = _steps(FLOWS[kind], first=0)
    session.add(task)
    return task


def check_open_tasks(session: Session, user_id: str, most: int) -> None:
    """Raise TooManyRequests if a user has as many tasks that have not ended as one may have."""
    one_at_a_time(session, f"tasks:{user_id}")
    query = select(func.count()).where(Task.user_id == user_id, Task.state.in_(OPEN))
    if (session.scalar(query) or 0) >= most:
        raise TooManyRequests(
            f"{most} tasks of yours have not ended: wait until some have, or cancel some.",
            _OPEN_RETRY_SECONDS,
        )


def extend_task(session: Session, task: Task, kind: str, work: Work) -> None:
    """Add the steps of another kind to a task that has succeeded, and open it again.

    Raises:
        BadInput: if it has not succeeded, or has such a step already.
    """
    names = {name for stage in FLOWS[kind] for name in stage}
    if task.state != "succeeded" or names & {step.name for step in task.steps}:
        raise BadInput(
            f"The task {task.id} is {task.state} and has the steps "
            f"{', '.join(step.name for step in task.steps)}: this can be added once, to a task "
            "that has succeeded."
        )
    task.request = {**task.request, **work.model_dump(mode="json", exclude_defaults=True)}
    task.steps += _steps(FLOWS[kind], first=1 + max(step.position for step in task.steps))
    task.state = "queued"
    touch(task)


def _steps(stages: tuple[tuple[str, ...], ...], first: int) -> list[Step]:
    return [
        Step(name=name, position=position, state="pending", facts={})
        for position, stage in enumerate(stages, start=first)
        for name in stage
    ]


def read_task(session: Session, task_id: str, user_id: str | None = None) -> Task:
    """A task with its steps; with ``user_id``, only if it is that user's.

    Raises:
        NotFound: also for another user's task, so that nobody learns which ids exist.
    """
    query = select(Task).where(Task.id == task_id).options(selectinload(Task.steps))
    # PostgreSQL takes no null character, not even to look for one.
    task = session.scalars(query).one_or_none() if task_id.isprintable() else None
    if task is None or (user_id is not None and task.user_id != user_id):
        raise no_such_task(task_id)
    return task


def no_such_task(task_id: str) -> NotFound:
    """The error of a task that is not there, and of one that is another user's."""
    return NotFound(f"There is no task {task_id!r} of yours: look at the id.")


def list_tasks(
    session: Session,
    user_id: str | None,
    *,
    states: Iterable[str] = (),
    after: str = "",
    limit: int = 50,
) -> list[Task]:
    """Tasks, the newest first.

    Args:
        user_id: whose; None for everybody's.
        states: only those in one of these states; empty: all.
        after: the id of the last task of the page before.
        limit: at most so many.
    """
    query = select(Task).options(selectinload(Task.steps))
    if user_id is not None:
        query = query.where(Task.user_id == user_id)
    if states := tuple(states):
        query = query.where(Task.state.in_(states))
    if after:
        last = read_task(session, after, user_id)
        query = query.where(
            (Task.created < last.created) | ((Task.created == last.created) & (Task.id < last.id))
        )
    return list(session.scalars(query.order_by(Task.created.desc(), Task.id.desc()).limit(limit)))


def cancel_task(session: Session, task: Task) -> list[str]:
    """End a task that is open; whoever runs a step of it notices by the lease that is gone.

    Returns:
        The names of the steps that will not come to their end; empty if the task had ended.
    """
    if task.state not in OPEN:
        return []
    moment = now()
    cancelled = session.scalars(
        update(Step)
        .where(Step.task_id == task.id, Step.state.not_in(("succeeded", "failed")))
        .values(state="cancelled", ended=moment, lease_holder="", lease_until=None)
        .returning(Step.name)
    ).all()
    if not cancelled:
        return []  # its last step has ended just now
    session.execute(
        update(Attempt)
        .where(Attempt.task_id == task.id, Attempt.outcome == "running")
        .values(outcome="cancelled", ended=moment)
    )
    task.state = "cancelled"
    touch(task)
    return [step.name for step in task.steps if step.name in cancelled]


def work_of(task: Task) -> Work:
    """What a task is to do."""
    return Work.model_validate(task.request)


def facts_of(task: Task) -> dict[str, dict[str, Any]]:
    """What a task's steps said, by step."""
    return {step.name: dict(step.facts) for step in task.steps}


def unfinished_stages(task: Task) -> list[list[Step]]:
    """A task's steps that have not succeeded, by position."""
    stages: dict[int, list[Step]] = {}
    for step in task.steps:
        if step.state != "succeeded":
            stages.setdefault(step.position, []).append(step)
    return [stages[position] for position in sorted(stages)]


def queue_depths(session: Session) -> dict[str, int]:
    """The number of steps that wait for a worker, by queue; the watcher's own is ``watcher``."""
    before = aliased(Step)
    unfinished = exists().where(
        before.task_id == Step.task_id,
        before.position < Step.position,
        before.state != "succeeded",
    )
    query = (
        select(Step.name, func.count())
        .join(Task)
        .where(Task.state.in_(OPEN), Step.state == "pending", ~unfinished)
        .group_by(Step.name)
    )
    depths = dict.fromkeys([*{plan.queue for plan in STEPS.values()}, "watcher"], 0)
    for name, count in session.execute(query).tuples():
        depths["watcher" if name == TRAINING else STEPS[name].queue] += count
    return depths
