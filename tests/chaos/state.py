"""What the database and the training's reports say at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from components.layout import Layout
from components.steps import read_reports
from gateway.database import Sessions
from gateway.flows import TRAINING
from gateway.models import Attempt, Notification, Step, Task, now
from gateway.tasks import OPEN


@dataclass(frozen=True)
class StepSeen:
    """A step of an open task."""

    task_id: str
    kind: str
    name: str
    position: int
    state: str
    attempt: int
    percent: float
    holder: str
    not_before: datetime | None
    lease_until: datetime | None

    @property
    def pid(self) -> int:
        """The process that holds its lease; 0 if none does."""
        parts = self.holder.rsplit("-", 2)
        return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0

    def __str__(self) -> str:
        percent = f" {self.percent:.0f} %" if self.state == "running" else ""
        return f"{self.task_id} ({self.kind}): {self.name} {self.state}{percent}"


@dataclass(frozen=True)
class Seen:
    """The open tasks' steps, and what else an aim may wait for.

    Attributes:
        reports: of the trainings that run: by task, each pipeline step's state.
        begun: the id of the newest attempt at a step that a worker runs.
        sending: notifications that are on their way.
    """

    steps: tuple[StepSeen, ...] = ()
    reports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    begun: int = 0
    sending: int = 0

    @property
    def busy(self) -> set[int]:
        """The processes that hold a step's lease."""
        return {step.pid for step in self.steps if step.state == "running"} - {0}

    @property
    def due(self) -> set[tuple[str, str, int]]:
        """Steps that a worker should take now: task, name and attempt."""
        found = set()
        for step in self.steps:
            before = [
                one
                for one in self.steps
                if one.task_id == step.task_id
                and one.position < step.position
                and one.state != "succeeded"
            ]
            waits = step.not_before is not None and step.not_before > now()
            lost = step.state == "running" and (
                step.lease_until is None or step.lease_until < now()
            )
            open_to_workers = step.name != TRAINING and not before and not waits
            if open_to_workers and (step.state == "pending" or lost):
                found.add((step.task_id, step.name, step.attempt))
        return found

    @property
    def works(self) -> bool:
        """Whether a worker runs a step and holds its lease."""
        return any(
            step.state == "running"
            and step.name != TRAINING
            and step.lease_until is not None
            and step.lease_until > now()
            for step in self.steps
        )

    def tasks(self) -> tuple[str, ...]:
        """A line for each step that is neither ended nor far away."""
        lines = [str(step) for step in self.steps if step.state in ("running", "waiting")]
        lines += [
            f"{task_id}: {name} {state}"
            for task_id, report in self.reports.items()
            for name, state in report.items()
            if state == "running"
        ]
        return tuple(lines)


def look(sessions: Sessions, layout: Layout) -> Seen | None:
    """What is the case now; None while the database does not answer."""
    try:
        with sessions() as session:
            query = (
                select(Step, Task.kind)
                .join(Task)
                .where(Task.state.in_(OPEN))
                .order_by(Task.created, Step.position)
            )
            steps = tuple(
                StepSeen(
                    task_id=step.task_id,
                    kind=kind,
                    name=step.name,
                    position=step.position,
                    state=step.state,
                    attempt=step.attempt,
                    percent=step.percent,
                    holder=step.lease_holder,
                    not_before=step.not_before,
                    lease_until=step.lease_until,
                )
                for step, kind in session.execute(query).tuples()
            )
            begun = session.scalar(select(func.max(Attempt.id)).where(Attempt.step != TRAINING))
            sending = session.scalar(
                select(func.count())
                .select_from(Notification)
                .where(Notification.state == "sending")
            )
    except SQLAlchemyError:
        return None
    running = [step.task_id for step in steps if (step.name, step.state) == (TRAINING, "running")]
    reports = {task_id: _reports(layout, task_id) for task_id in running}
    return Seen(steps, reports, begun or 0, sending or 0)


def _reports(layout: Layout, task_id: str) -> dict[str, str]:
    folder = layout.step_reports(task_id)
    return {report.step: report.state for report in read_reports(folder)}


def has_come(aim: str, seen: Seen) -> bool:
    """Whether the moment of an aim is now, as far as the database can say."""
    running = [step for step in seen.steps if step.state == "running"]
    names = {step.name for step in running}
    if aim == "analysing":
        return any(step.name == "analyse" and 20 < step.percent < 90 for step in running)
    if aim == "forked":
        return bool(names & {"csv", "json", "chunks", "overlay", "notebook"})
    if aim == "fetching":
        return bool(names & {"download", "validate", "extract"})
    if aim == "between":
        return _is_between(seen)
    if aim == "telling":
        return seen.sending > 0
    return any(_is_in_training(aim, report) for report in seen.reports.values())


def _is_between(seen: Seen) -> bool:
    by_task: dict[str, list[StepSeen]] = {}
    for step in seen.steps:
        by_task.setdefault(step.task_id, []).append(step)
    return any(
        {"succeeded", "pending"} <= {step.state for step in steps}
        and not any(step.state in ("running", "waiting") for step in steps)
        for steps in by_task.values()
    )


def _is_in_training(aim: str, report: Mapping[str, str]) -> bool:
    if aim == "exported":
        return report.get("export") == "succeeded" and "register" not in report
    if aim == "gated":
        return report.get("register") == "succeeded" and "deploy" not in report
    step = {"training": "train", "exporting": "export", "deploying": "deploy"}[aim]
    return report.get(step) == "running"
