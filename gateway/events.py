"""The events of a task: their names, and how they are written down."""

from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.models import Event, Task, now


class EventName(StrEnum):
    """What can happen to a task that somebody may want to hear of."""

    VIDEO_DOWNLOADED = "VIDEO_DOWNLOADED"
    FRAMES_EXTRACTED = "FRAMES_EXTRACTED"
    LABELING_REQUESTED = "LABELING_REQUESTED"
    LABELING_COMPLETED = "LABELING_COMPLETED"
    MODEL_TRAINING_REQUESTED = "MODEL_TRAINING_REQUESTED"
    MODEL_TRAINING_COMPLETED = "MODEL_TRAINING_COMPLETED"
    MODEL_CONVERSION_REQUESTED = "MODEL_CONVERSION_REQUESTED"
    MODEL_CONVERSION_COMPLETED = "MODEL_CONVERSION_COMPLETED"
    MODEL_DEPLOYMENT_REQUESTED = "MODEL_DEPLOYMENT_REQUESTED"
    MODEL_DEPLOYED = "MODEL_DEPLOYED"
    INFERENCE_REQUESTED = "INFERENCE_REQUESTED"
    INFERENCE_COMPLETED = "INFERENCE_COMPLETED"
    RESULTS_UPLOADED = "RESULTS_UPLOADED"
    STEP_FAILED = "STEP_FAILED"


def touch(task: Task, by: int = 1) -> None:
    """Say that a task has changed, so that those who watch it look again."""
    # Counted by the database: two steps of one task may end at the same moment.
    task.revision = Task.revision + by  # type: ignore[assignment]
    task.updated = now()


def record_event(
    session: Session, task: Task, name: EventName, data: dict[str, Any], key: str = ""
) -> bool:
    """Write an event in the caller's transaction, which also holds what made it happen.

    A step that runs again finds its event there already: each is written once.

    The event takes a revision of its own and leaves the task a later one, so that every
    message that a watcher is sent, event or status, has a revision that no other has. The
    task's row stays locked until the commit: whoever sees a revision sees all events below it.

    Returns:
        False if it was there.
    """
    session.flush()
    query = select(Event.id).where(Event.task_id == task.id, Event.name == name, Event.key == key)
    if session.scalar(query) is not None:
        return False
    touch(task, by=2)
    session.flush()
    session.add(
        Event(
            task_id=task.id,
            user_id=task.user_id,
            name=name,
            key=key,
            revision=task.revision - 1,
            data=data,
        )
    )
    return True
