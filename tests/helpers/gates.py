"""Celery's application of the gateway, whose steps stop where a test wants to kill them.

``celery --app tests.helpers.gates:app worker``. An armed gate is a file ``{task}.{step}.before``
or ``….after`` in ``$GATES``; the first attempt that comes to it renames it to ``….reached`` and
waits there for its end. ``after`` is the worst moment: all of the step's work is done, and the
database does not know it.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery

from gateway.steps import FUNCTIONS
from gateway.steps.context import StepContext
from gateway.worker import worker_app


def arm(gates: Path, task_id: str, step: str, moment: str) -> Path:
    """Arm a gate; return the file that says that it was reached."""
    gates.mkdir(parents=True, exist_ok=True)
    gate = gates / f"{task_id}.{step}.{moment}"
    gate.touch()
    return gate.with_name(f"{gate.name}.reached")


def _stop_at(task_id: str, step: str, moment: str) -> None:
    gate = Path(os.environ["GATES"]) / f"{task_id}.{step}.{moment}"
    try:
        gate.rename(f"{gate}.reached")
    except FileNotFoundError:
        return
    threading.Event().wait()


def _gated(
    step: str, function: Callable[[StepContext], dict[str, Any]]
) -> Callable[[StepContext], dict[str, Any]]:
    def run(context: StepContext) -> dict[str, Any]:
        _stop_at(context.task_id, step, "before")
        facts = function(context)
        _stop_at(context.task_id, step, "after")
        return facts

    return run


def _gated_app() -> Celery | None:
    """The application in a worker's own process; whoever else imports this is left alone."""
    if "GATES" not in os.environ:
        return None
    for step, function in FUNCTIONS.items():
        FUNCTIONS[step] = _gated(step, function)
    # It is imported where the steps run, too.
    return worker_app(modules=[__name__])


app = _gated_app()
