"""Who runs a step: claimed with a lease, renewed, ended, and found again when lost.

Each change is one conditional UPDATE, so that of two workers the database lets one through,
and a worker that lost its lease cannot end what somebody else has taken over.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, Update, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased, selectinload

from components.errors import ActverseError
from gateway.events import EventName, record_event
from gateway.flows import STEPS, TRAINING, Queue, queue_of
from gateway.locks import one_at_a_time
from gateway.models import Attempt, Step, Task, now
from gateway.pipeline_runs import goes_on
from gateway.tasks import OPEN, touch, unfinished_stages

logger = logging.getLogger("actverse.leases")

MAX_ATTEMPTS = 5
_TO_RUN = ("pending", "waiting")
_ANEW: dict[str, Any] = {"percent": 0.0, "done": 0.0, "error": "", "facts": {}}


class LeaseLost(ActverseError):
    """Somebody else holds the step by now, or its task was cancelled."""


def claim_step(
    session: Session, task_id: str, name: str, holder: str, lease: timedelta
) -> Step | None:
    """Take a step with a lease on it; None if it may not run now.

    It may run when every step before it has succeeded and it is pending or waiting and its
    time has come, or when the lease of whoever ran it has run out. A step that was lost
    ``MAX_ATTEMPTS`` times fails the task instead, unless what was lost only followed a run
    that goes on elsewhere.
    """
    query = select(Task).where(Task.id == task_id).options(selectinload(Task.steps))
    task = session.scalars(query).one_or_none()
    moment = now()
    step = next((s for s in _first_stage(task) if s.name == name), None)
    if task is None or step is None or not _may_run(step, moment):
        return None
    was_lost, was_waiting = step.state == "running", step.state == "waiting"
    follows = goes_on(session, task_id) if name == TRAINING else False
    if was_lost and not follows and (lost := 1 + _times_lost(session, step)) >= MAX_ATTEMPTS:
        # It has taken its worker with it each time, or was never let to end.
        _end_attempt(session, step, "lost", "")
        sentence = f"The step {name} was lost {lost} times: read the worker's log."
        _fail_task(session, step, sentence)
        return None
    taken = session.execute(
        update(Step)
        .where(
            Step.id == step.id,
            Step.attempt == step.attempt,
            or_(Step.state.in_(_TO_RUN), Step.lease_until < moment),
        )
        .values(
            state="running",
            attempt=step.attempt + 1,
            lease_holder=holder,
            lease_until=moment + lease,
            started=moment,
            ended=None,
            # What it waits for, or how far its run is, it is to remember.
            **({} if was_waiting or follows else _ANEW),
        )
    )
    if not _one(taken):
        return None
    if was_lost:
        logger.warning(
            "the lease of attempt %d had run out",
            step.attempt,
            extra={"task_id": task_id, "step": name},
        )
        _end_attempt(session, step, "lost", "Its worker was lost.")
    session.refresh(step)
    session.add(
        Attempt(task_id=task_id, step=name, attempt=step.attempt, holder=holder, started=moment)
    )
    if not was_waiting:  # a look at what it waits for is no news
        task.state = "running"
        touch(task)
    return step


def claim_any(
    session: Session, names: Collection[str], holder: str, lease: timedelta
) -> Step | None:
    """Take a step of one of these names, of any task; None if none may run now.

    The users take turns: first comes the user with the fewest of them running, then the one who
    was given one longest ago; of a user's tasks the oldest. So twenty tasks of one user do not keep
    another user's first one waiting.
    """
    # Asked several times a second: what cannot be taken is left to the database.
    moment, before = now(), aliased(Step)
    due = or_(
        and_(Step.state.in_(_TO_RUN), or_(Step.not_before.is_(None), Step.not_before <= moment)),
        and_(Step.state == "running", or_(Step.lease_until.is_(None), Step.lease_until < moment)),
    )
    unfinished = exists().where(
        before.task_id == Step.task_id,
        before.position < Step.position,
        before.state != "succeeded",
    )
    theirs, own = aliased(Step), aliased(Task)
    of_user = (
        select(theirs.id)
        .join(own, own.id == theirs.task_id)
        .where(theirs.name.in_(names), own.user_id == Task.user_id)
        .correlate(Task)
    )
    running = of_user.with_only_columns(func.count(theirs.id)).where(
        theirs.state == "running", theirs.lease_until >= moment
    )
    latest = of_user.with_only_columns(func.max(theirs.started))
    query = (
        select(Step.task_id, Step.name)
        .join(Task)
        .where(Step.name.in_(names), due, ~unfinished, Task.state.in_(OPEN))
        .order_by(
            running.scalar_subquery(),
            latest.scalar_subquery().nulls_first(),
            Task.created,
            Task.id,
        )
    )
    for task_id, name in session.execute(query).tuples().all():
        if step := claim_step(session, task_id, name, holder, lease):
            return step
    return None


def renew_lease(session: Session, step_id: int, holder: str, lease: timedelta) -> bool:
    """Extend a lease; False if somebody else holds the step by now."""
    return _one(session.execute(_held(step_id, holder).values(lease_until=now() + lease)))


def lose_lease(session: Session, step_id: int, holder: str) -> None:
    """Give a lease up for whoever claims the step next, who counts this attempt as lost.

    Raises:
        LeaseLost: if somebody else holds it.
    """
    _checked(session.execute(_held(step_id, holder).values(lease_until=now())))


def note_progress(
    session: Session,
    step_id: int,
    holder: str,
    done: float,
    total: float,
    facts: dict[str, Any],
) -> Task:
    """Record how far a running step is, in its own unit; return its task.

    Raises:
        LeaseLost: if somebody else holds it.
    """
    step = session.get_one(Step, step_id)
    percent = min(max(100.0 * done / total, 0.0), 100.0) if total else 0.0
    _checked(
        session.execute(
            _held(step_id, holder).values(
                done=done, total=total, percent=percent, facts={**step.facts, **facts}
            )
        )
    )
    touch(step.task)
    return step.task


def finish_step(session: Session, step_id: int, holder: str, facts: dict[str, Any]) -> Task:
    """A step has succeeded; with the last one the task has too. Returns the task.

    Raises:
        LeaseLost: if somebody else holds it: then nothing is changed.
    """
    step = session.get_one(Step, step_id)
    moment = now()
    _checked(
        session.execute(
            _held(step_id, holder).values(
                state="succeeded",
                percent=100.0,
                error="",
                ended=moment,
                lease_holder="",
                lease_until=None,
                facts={**step.facts, **facts},
            )
        )
    )
    session.refresh(step)
    _end_attempt(session, step, "succeeded", "")
    task = step.task
    stages = unfinished_stages(task)
    _move(session, task, "running" if stages else "succeeded")
    queues = {queue_of(following.name) for following in stages[0]} if stages else set()
    if stages and stages[0][0].position > step.position and queues == {queue_of(step.name)}:
        # The message that brought this step brings the next ones, in the place that it holds. At
        # the workers of another queue a place has to be free first.
        for following in stages[0]:
            following.queued = moment
    touch(task)
    return task


def release_step(
    session: Session,
    step_id: int,
    holder: str,
    done: float,
    total: float,
    wait: timedelta,
    fault: str = "",
    facts: dict[str, Any] | None = None,
) -> Task:
    """A step waits for something outside; it is looked at again after ``wait``.

    Args:
        fault: what somebody has to mend first, if anything.
        facts: what it is to remember until then, beside what it has said before.

    Raises:
        LeaseLost: if somebody else holds it.
    """
    step = session.get_one(Step, step_id)
    moment = now()
    _checked(
        session.execute(
            _held(step_id, holder).values(
                state="waiting",
                # Waiting is no fault: the attempt does not count.
                attempt=0,
                done=done,
                total=total,
                error=fault,
                facts={**step.facts, **(facts or {})},
                percent=min(100.0 * done / total, 100.0) if total else 0.0,
                not_before=moment + wait,
                queued=None,
                sendings=0,
                lease_holder="",
                lease_until=None,
            )
        )
    )
    news = (step.done, step.total, step.error) != (done, total, fault)
    changed = news or step.task.state != "waiting"
    _forget_attempt(session, step)
    session.refresh(step)
    _move(session, step.task, "waiting")
    if changed:
        touch(step.task)
    return step.task


def hand_over_step(session: Session, step_id: int, holder: str) -> Task:
    """Who followed a step's run is being stopped; the next one follows it from where it is.

    Raises:
        LeaseLost: if somebody else holds it.
    """
    step = session.get_one(Step, step_id)
    _checked(
        session.execute(
            _held(step_id, holder).values(
                state="pending",
                # It is no fault, and nothing begins anew: the attempt does not count.
                attempt=step.attempt - 1,
                lease_holder="",
                lease_until=None,
                not_before=None,
            )
        )
    )
    _forget_attempt(session, step)
    session.refresh(step)
    touch(step.task)
    return step.task


def fail_step(
    session: Session, step_id: int, holder: str, error: str, retry_in: timedelta | None
) -> Task:
    """A step has failed: it is tried again after ``retry_in``, or the task fails with it.

    Raises:
        LeaseLost: if somebody else holds it.
    """
    step = session.get_one(Step, step_id)
    moment = now()
    again = retry_in is not None
    _checked(
        session.execute(
            _held(step_id, holder).values(
                state="pending" if again else "failed",
                error=error,
                ended=moment,
                lease_holder="",
                lease_until=None,
                not_before=moment + retry_in if retry_in is not None else None,
                queued=None,
                sendings=0,
            )
        )
    )
    session.refresh(step)
    _end_attempt(session, step, "retried" if again else "failed", error)
    if not again:
        _fail_task(session, step, error)
    touch(step.task)
    return step.task


def take_place(session: Session, task: Task, share: int) -> list[str]:
    """Mark the steps that a task has to do next as queued, if its user has a place free for them.

    A place is a task that is at the workers of one queue: a message for it is out, or a step of it
    runs. A user has ``share`` of them at each queue. So the queue that others stand in is short,
    however much one user asks for; the rest waits in the database.

    Returns:
        The names of the steps, for which the caller sends messages; empty if none is due, or no
        place is free.
    """
    moment = now()
    due = [
        step
        for step in _first_stage(task)
        if step.queued is None and step.state in _TO_RUN and _may_run(step, moment)
    ]
    queue = queue_of(due[0].name) if due else None
    if queue is None:
        return []
    one_at_a_time(session, f"places:{task.user_id}")
    other = aliased(Step)
    held = (
        select(func.count(other.task_id.distinct()))
        .join(Task, Task.id == other.task_id)
        .where(
            Task.user_id == task.user_id,
            Task.state.in_(OPEN),
            Task.id != task.id,
            other.name.in_(_steps_of(queue)),
            _at_workers(other),
        )
        .scalar_subquery()
    )
    taken = session.execute(
        update(Step)
        .where(
            Step.id.in_([step.id for step in due]),
            Step.queued.is_(None),
            Step.state.in_(_TO_RUN),
            held < share,
        )
        .values(queued=moment, sendings=Step.sendings + 1)
        .returning(Step.name)
        .execution_options(synchronize_session=False)
    )
    names = set(taken.scalars())
    return [step.name for step in due if step.name in names]


def without_place(session: Session, user_id: str, queue: Queue, most: int) -> list[str]:
    """The oldest of a user's tasks whose next step is due at a queue and for which none is out."""
    before = aliased(Step)
    moment = now()
    unfinished = exists().where(
        before.task_id == Step.task_id,
        before.position < Step.position,
        before.state != "succeeded",
    )
    query = (
        select(Task.id)
        .join(Step)
        .where(
            Task.user_id == user_id,
            Task.state.in_(OPEN),
            Step.name.in_(_steps_of(queue)),
            Step.state.in_(_TO_RUN),
            Step.queued.is_(None),
            or_(Step.not_before.is_(None), Step.not_before <= moment),
            ~unfinished,
        )
        .group_by(Task.id, Task.created)
        .order_by(Task.created, Task.id)
        .limit(most)
    )
    return list(session.scalars(query))


def recover(
    session: Session,
    requeue: timedelta,
    *,
    not_for: Collection[str] = (),
    share: int | None = None,
    lying: Callable[[Queue], int] | None = None,
) -> list[tuple[str, list[str]]]:
    """Find steps whose worker was lost, and such as should have been queued and were not.

    Each is marked as queued now; the caller sends the messages.

    Args:
        requeue: how long a message may take to be received; doubled each time it was not,
            up to sixteen times, so that a long queue is not filled with repetitions.
        not_for: steps that are not brought by messages.
        share: how many of a user's tasks may be at the workers of one queue; None: all of them.
        lying: how many messages lie in a queue. A message that is overdue may still lie there: it
            was lost only where fewer lie there than are to come. None: nobody can say.

    Returns:
        Task ids, each with the steps that are to be queued; the users take turns.
    """
    moment = now()
    query = select(Task).where(Task.state.in_(OPEN)).options(selectinload(Task.steps))
    tasks = list(session.scalars(query.order_by(Task.created, Task.id)))
    stages = {
        task.id: [step for step in _first_stage(task) if step.name not in not_for] for task in tasks
    }
    lost = _lost_at(stages.values(), lying)
    held: dict[tuple[str, Queue | None], int] = {}
    for task in tasks:
        if any(_is_at_workers(step) for step in stages[task.id]):
            place = (task.user_id, queue_of(stages[task.id][0].name))
            held[place] = held.get(place, 0) + 1
    turns: list[tuple[int, str, list[Step]]] = []
    for task in tasks:
        stage = stages[task.id]
        due = [
            step
            for step in stage
            if _may_run(step, moment)
            and _overdue(step, moment, requeue)
            and (_is_no_message_out(step) or lost(queue_of(step.name)))
        ]
        if not due:
            continue
        place = (task.user_id, queue_of(due[0].name))
        if not any(_is_at_workers(step) for step in stage):
            if share is not None and held.get(place, 0) >= share:
                continue
            held[place] = held.get(place, 0) + 1
            turns.append((held[place], task.id, due))
        else:
            turns.append((0, task.id, due))  # it holds its place already
    for _, _, due in turns:
        for step in due:
            step.queued = moment
            step.sendings += 1
    return [
        (task_id, [step.name for step in due])
        for _, task_id, due in sorted(turns, key=lambda turn: turn[0])
    ]


def _lost_at(
    stages: Iterable[list[Step]], lying: Callable[[Queue], int] | None
) -> Callable[[Queue | None], bool]:
    """Whether fewer messages lie in a queue than are to come out of it; looked at when asked."""
    to_come: dict[Queue | None, int] = {}
    for stage in stages:
        for step in stage:
            if step.queued is not None:
                queue = queue_of(step.name)
                to_come[queue] = to_come.get(queue, 0) + (step.state in _TO_RUN)
    found: dict[Queue, bool] = {}

    def lost(queue: Queue | None) -> bool:
        if lying is None or queue is None:
            return True
        if queue not in found:
            found[queue] = lying(queue) < max(to_come.get(queue, 0), 1)
        return found[queue]

    return lost


def _overdue(step: Step, moment: datetime, requeue: timedelta) -> bool:
    if step.queued is None or _is_no_message_out(step):
        return True
    return step.queued + requeue * 2 ** min(step.sendings, 4) <= moment


def _is_no_message_out(step: Step) -> bool:
    """Whether nothing was sent for a step yet, or what was sent came and was lost with a worker."""
    if step.queued is None:
        return True
    return step.state == "running" and (step.lease_until is None or step.queued <= step.lease_until)


def _steps_of(queue: Queue) -> list[str]:
    return [name for name, plan in STEPS.items() if plan.queue is queue]


def _at_workers(step: Any) -> Any:
    """The condition that a step runs or that a message for it is out."""
    return or_(step.state == "running", and_(step.state.in_(_TO_RUN), step.queued.is_not(None)))


def _is_at_workers(step: Step) -> bool:
    return step.state == "running" or (step.state in _TO_RUN and step.queued is not None)


def _first_stage(task: Task | None) -> list[Step]:
    stages = unfinished_stages(task) if task is not None and task.state in OPEN else []
    return stages[0] if stages else []


def _may_run(step: Step, moment: datetime) -> bool:
    if step.state in _TO_RUN:
        return step.not_before is None or step.not_before <= moment
    return step.state == "running" and (step.lease_until is None or step.lease_until < moment)


def _held(step_id: int, holder: str) -> Update:
    return (
        update(Step)
        .where(Step.id == step_id, Step.lease_holder == holder, Step.state == "running")
        .execution_options(synchronize_session=False)
    )


def _one(result: Any) -> bool:
    return cast(CursorResult[Any], result).rowcount == 1


def _checked(result: Any) -> None:
    if not _one(result):
        raise LeaseLost("Somebody else has taken this step over, or its task was cancelled.")


def _move(session: Session, task: Task, state: str) -> None:
    """Bring a task to another state, unless it has failed or was cancelled meanwhile."""
    session.execute(
        update(Task)
        .where(Task.id == task.id, Task.state.in_(OPEN))
        .values(state=state)
        .execution_options(synchronize_session=False)
    )
    session.refresh(task, ["state"])


def _times_lost(session: Session, step: Step) -> int:
    query = select(func.count()).where(
        Attempt.task_id == step.task_id, Attempt.step == step.name, Attempt.outcome == "lost"
    )
    # Waiting begins the attempts anew: weeks of it see more than a few power cuts.
    return min(session.scalar(query) or 0, step.attempt - 1)


def _end_attempt(session: Session, step: Step, outcome: str, error: str) -> None:
    session.execute(
        update(Attempt)
        .where(
            Attempt.task_id == step.task_id,
            Attempt.step == step.name,
            Attempt.outcome == "running",
        )
        .values(outcome=outcome, ended=now(), error=error)
    )


def _forget_attempt(session: Session, step: Step) -> None:
    for attempt in session.scalars(
        select(Attempt).where(
            Attempt.task_id == step.task_id,
            Attempt.step == step.name,
            Attempt.outcome == "running",
        )
    ):
        session.delete(attempt)


def _fail_task(session: Session, step: Step, error: str) -> None:
    task = step.task
    step.state, step.error, step.ended = "failed", error, now()
    step.lease_holder, step.lease_until = "", None
    task.state, task.error = "failed", error
    touch(task)
    record_event(
        session, task, EventName.STEP_FAILED, {"step": step.name, "error": error}, key=step.name
    )
