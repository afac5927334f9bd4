"""Tasks brought to where a test needs them, without running their steps."""

from typing import Any

from gateway.database import Sessions
from gateway.models import now
from gateway.tasks import read_task, touch


def succeed(
    sessions: Sessions, task_id: str, facts: dict[str, dict[str, Any]] | None = None
) -> None:
    """Let every step of a task have succeeded, with these facts."""
    with sessions.begin() as session:
        task = read_task(session, task_id)
        for step in task.steps:
            step.state, step.percent = "succeeded", 100.0
            step.started = step.ended = now()
            step.facts = (facts or {}).get(step.name, {})
        task.state = "succeeded"
        touch(task)


def set_step(sessions: Sessions, task_id: str, name: str, **values: Any) -> None:
    """Set columns of one step."""
    with sessions.begin() as session:
        for step in read_task(session, task_id).steps:
            if step.name == name:
                for column, value in values.items():
                    setattr(step, column, value)
