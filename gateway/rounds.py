"""Rounds: a task that labels more and trains again, behind the one before it."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session, selectinload

from components.errors import Conflict, NotFound
from gateway.models import Step, Task
from gateway.tasks import OPEN, create_task, facts_of, work_of
from gateway.work import Work

ROUND, REOPENED = "round", "reopened"
_ENDED = {"succeeded": "has ended", "failed": "has failed", "cancelled": "was cancelled"}
_OF_ITS_OWN = {
    "file_path": "",
    "labels_path": "",
    "labels_format": None,
    "folder_path": "",
    "labels_now": False,
    "reopens": "",
}


def earlier_rounds(session: Session, task: Task) -> list[Task]:
    """The tasks that a task follows, the first one first."""
    found: list[Task] = []
    while task.previous_id:
        query = select(Task).where(Task.id == task.previous_id).options(selectinload(Task.steps))
        task = session.scalars(query).one()
        found.insert(0, task)
    return found


def rounds_of(session: Session, task: Task) -> list[Task]:
    """All rounds that a task belongs to, itself included, in the order in which they were made."""
    found = [*earlier_rounds(session, task), task][:1]
    for round_ in found:  # it grows on the way
        query = select(Task).where(Task.previous_id == round_.id).options(selectinload(Task.steps))
        found += session.scalars(query.order_by(Task.created))
    return found


def next_round(session: Session, task: Task, given: dict[str, Any], *, reopen: bool) -> Task:
    """Make the round that follows the latest of a task's rounds.

    Args:
        task: of any of the rounds.
        given: particulars that differ from the round before.
        reopen: go on with the frames that were to be labelled then, not with new ones,
            whatever became of their labels.

    Raises:
        Conflict: if a round of it is open.
        NotFound: if the latest one has no labels yet; for new frames, no analysis.
    """
    first = rounds_of(session, task)[0]
    # Of two requests at once, one waits here and then finds the other's round. A lock alone
    # would not do: SQLite knows none but a writer's.
    session.execute(update(Task).where(Task.id == first.id).values(revision=Task.revision))
    rounds = rounds_of(session, task)
    for round_ in rounds:
        if round_.state in OPEN and (not reopen or not _has(round_, "labels")):
            raise Conflict(
                f"Round {work_of(round_).round} of it, the task {round_.id}, is {round_.state}: "
                "wait for its end, or cancel it."
            )
    opened = _opened(rounds) if reopen else []
    candidates = [one for one in rounds if _has(one, "labels") or one in opened]
    if not candidates:
        raise NotFound(f"The task {task.id} has no labels yet: label its first frames.")
    latest = candidates[-1]
    if not reopen and not _has(latest, "analyse"):
        raise NotFound(
            f"The task {latest.id} {_ENDED[latest.state]} and has analysed nothing, so nobody "
            "knows of which frames its model is unsure: 'actverse labels reopen "
            f"{latest.id}' opens its frames again, and 'actverse train' with --now goes on with "
            "their labels."
        )
    reopened: dict[str, Any] = {}
    if reopen:
        if not opened:
            raise NotFound(
                f"The labels of the task {task.id} were given as files: there is no project to "
                "open again. Ask for new frames instead."
            )
        owner = work_of(opened[-1])
        reopened = {
            "reopens": owner.reopens or opened[-1].id,
            "folder_path": owner.folder_path,
        }
    before = work_of(latest)
    spec = facts_of(latest)["labels"].get("spec", {})
    work = Work.model_validate(
        {
            **before.model_dump(mode="json"),
            **_OF_ITS_OWN,
            **spec,
            **reopened,
            **given,
            "training": {
                **before.training.model_dump(exclude={"weights"}),
                **given.get("training", {}),
            },
            "round": before.round + 1,
        }
    )
    kind = REOPENED if reopen else ROUND
    return create_task(session, task.user_id, kind, work, previous_id=latest.id)


def look_at_labels(session: Session, task_id: str) -> list[str]:
    """Let what waits for a task's labels, or for those of a round behind it, look at once.

    Returns:
        The ids of the tasks that look.
    """
    ids = [task_id]
    for one in ids:  # it grows on the way
        ids += session.scalars(select(Task.id).where(Task.previous_id == one))
    due = session.execute(
        update(Step)
        .where(Step.task_id.in_(ids), Step.name == "labels", Step.state == "waiting")
        .values(not_before=None, queued=None)
        .returning(Step.task_id)
    )
    return list(due.scalars())


def _opened(rounds: list[Task]) -> list[Task]:
    """The rounds that have a project; those that were given up only where no other has one."""
    found = [
        one for one in rounds if _has(one, "labeling") and facts_of(one)["labeling"].get("project")
    ]
    return [one for one in found if not _has(one, "labels", "cancelled")] or found


def _has(task: Task, name: str, state: str = "succeeded") -> bool:
    return any(step.name == name and step.state == state for step in task.steps)
