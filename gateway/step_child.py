"""The child process of a step's attempt: does the step's work and writes down how it ended."""

from collections.abc import Collection
from typing import Any

from components.abandoned import temporary_folder
from components.settings import Settings
from components.storage import open_storage
from gateway.database import open_database
from gateway.flows import Queue
from gateway.logs import set_up_logs
from gateway.models import Step
from gateway.runner import StepRunner
from gateway.steps import FUNCTIONS

_MODULES = {
    Queue.INFERENCE: ("mlflow", "tritonclient.grpc", "trackers"),
    Queue.IMPORT: ("mlflow",),
}
"""What takes seconds to import, and is imported by the functions of a queue's steps."""


def modules_for(queues: Collection[str]) -> list[str]:
    """Return the modules that no child of a worker of some queues should have to import."""
    names = [name for queue in queues for name in _MODULES.get(Queue(queue), ())]
    return list(dict.fromkeys(names))


def begin() -> None:
    """Make ready what all children share; nothing that is open, since they are forks."""
    set_up_logs(Settings())


def run_step(step_id: int, name: str, holder: str) -> dict[str, Any]:
    """Run a step whose lease the worker holds and renews; return how the attempt ended."""
    with temporary_folder():
        return _run(step_id, name, holder)


def _run(step_id: int, name: str, holder: str) -> dict[str, Any]:
    settings = Settings()
    sessions = open_database(settings.database_url)
    try:
        with sessions() as session:
            step = session.get_one(Step, step_id)
        ended = StepRunner(settings, sessions, open_storage(settings)).run_held(
            step, holder, FUNCTIONS[name]
        )
    finally:
        sessions.kw["bind"].dispose()
    return {"outcome": ended.outcome, "again_in": ended.again_in}
