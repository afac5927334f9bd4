"""The pipeline runs that go on elsewhere: which task has which, and which nobody wants any more.

What stands here outlives the watcher: a run is found again by it, is never submitted twice,
and is ended also when its task was cancelled while no watcher was there.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from gateway.models import PipelineRun, Step, Task, now
from gateway.tasks import OPEN

KUBEFLOW, LOCAL = "kubeflow", "local"
"""Where a run is, as the facts of its step say it."""


def run_name(task_id: str) -> str:
    """The name of a task's training run: one task, one run."""
    return f"training-{task_id}"


def ask_for_run(session: Session, task_id: str) -> str:
    """Write down, before it is submitted, that a task is to have a run.

    Returns:
        Its id, if it was submitted before; else nothing.
    """
    row = session.get(PipelineRun, task_id)
    if row is None:
        session.add(PipelineRun(task_id=task_id, run_id="", asked=now()))
        return ""
    if not row.run_id:
        row.asked = now()
    return row.run_id


def note_run(session: Session, task_id: str, run_id: str) -> None:
    """Write down the id of a task's run."""
    session.get_one(PipelineRun, task_id).run_id = run_id


def end_run(session: Session, task_id: str) -> None:
    """Nothing is left to follow or to end of a task's run."""
    _of(session, task_id, ended=now())


def hint_at_run(session: Session, task_id: str) -> None:
    """Let a task's run be looked at as soon as possible, if it has one."""
    _of(session, task_id, hinted=now())


def goes_on(session: Session, task_id: str) -> bool:
    """Whether a task has a run that goes on without us."""
    row = session.get(PipelineRun, task_id)
    return row is not None and bool(row.run_id) and row.ended is None


def watched(session: Session, task_id: str, step: str) -> tuple[bool, datetime | None]:
    """Whether a step of a task still runs, and when its run last asked to be looked at."""
    query = (
        select(Step.state, PipelineRun.hinted)
        .outerjoin(PipelineRun, PipelineRun.task_id == Step.task_id)
        .where(Step.task_id == task_id, Step.name == step)
    )
    state, hinted = session.execute(query).tuples().one()
    return state == "running", hinted


def unwanted_runs(session: Session) -> Sequence[PipelineRun]:
    """The runs that go on though their task has ended: it was cancelled, or has failed."""
    query = (
        select(PipelineRun)
        .join(Task, Task.id == PipelineRun.task_id)
        .where(PipelineRun.ended.is_(None), Task.state.not_in(OPEN))
    )
    return session.scalars(query).all()


def _of(session: Session, task_id: str, **values: datetime) -> None:
    session.execute(update(PipelineRun).where(PipelineRun.task_id == task_id).values(**values))
