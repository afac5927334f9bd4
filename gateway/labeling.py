"""What people ask of a task's labelling while it waits for them."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from components.errors import BadInput, Conflict, NotFound
from components.labeling.backends import LABEL_STUDIO, default_tool
from components.settings import Settings
from gateway.events import touch
from gateway.models import Step, Task
from gateway.rounds import look_at_labels
from gateway.tasks import OPEN
from gateway.work import Work

_AFRESH = {
    "state": "pending",
    "attempt": 0,
    "error": "",
    "facts": {},
    "queued": None,
    "not_before": None,
    "ended": None,
}


def check_labeling(settings: Settings, work: Work) -> None:
    """Raise BadInput if what a task asks for does not fit together, or nobody could label it."""
    work.wanted.check()
    if work.labels_path:
        return
    if work.labeling_tool == LABEL_STUDIO and not settings.label_studio_url:
        raise BadInput("There is no Label Studio here: choose the labeling_tool folder.")
    tool = work.labeling_tool or default_tool(settings)
    if tool == LABEL_STUDIO and not (work.names and (work.keypoints or work.task != "pose")):
        raise BadInput(
            "Label Studio has to be told what is labelled: name the classes, and for pose the "
            "key points."
        )


def labels_step(task: Task) -> Step:
    """The step that takes a task's labels.

    Raises:
        NotFound: if the task labels nothing.
    """
    for step in task.steps:
        if step.name == "labels":
            return step
    raise NotFound(f"Nothing of the task {task.id!r} is labelled: post it to /labeling first.")


def require_open(task: Task) -> Step:
    """The step that waits for a task's labels.

    Raises:
        NotFound: if the task labels nothing.
        Conflict: if its frames are not laid out yet, or its labels were taken already.
    """
    step = labels_step(task)
    asked = next((one for one in task.steps if one.name == "labeling"), None)
    if asked is None or asked.facts.get("skipped"):
        raise Conflict(f"The task {task.id} came with its labels: there is nothing to label.")
    if task.state not in OPEN or step.state in ("succeeded", "failed", "cancelled"):
        raise Conflict(
            f"The labels of the task {task.id} are {step.state}: open its labelling again first."
        )
    if asked.state != "succeeded":
        raise Conflict(f"The frames of the task {task.id} are not laid out yet: wait for them.")
    return step


def finish_labeling(session: Session, task: Task) -> None:
    """Let a task go on with the labels that are there, as soon as they suffice.

    Raises:
        NotFound, Conflict: as ``require_open``.
    """
    require_open(task)
    task.request = {**task.request, "labels_now": True}
    touch(task)
    look_at_labels(session, task.id)


def restore_labeling(session: Session, task: Task) -> None:
    """Put a project up again that is gone from its tool, with the labels read from it before.

    Raises:
        NotFound, Conflict: as ``require_open``; also if its labels are being looked at.
    """
    step = require_open(task)
    waiting = session.execute(
        update(Step).where(Step.id == step.id, Step.state == "waiting").values(**_AFRESH)
    )
    if not waiting.rowcount:  # type: ignore[attr-defined]
        raise Conflict(f"The labels of the task {task.id} are being looked at: try again.")
    session.execute(
        update(Step).where(Step.task_id == task.id, Step.name == "labeling").values(**_AFRESH)
    )
    task.state = "running"
    touch(task)
