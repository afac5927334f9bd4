"""Celery's application of the gateway, whose delivery of a video does what a test wants of it.

``celery --app tests.helpers.rogue:app worker``. The file ``$ROGUE/order`` names a function of
``tests.helpers.unruly`` with its arguments, as JSON; without one the step does its work. Beside
it stands a task that keeps a thread of the pool for ever.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

from celery import Celery

from gateway.steps import FUNCTIONS
from gateway.steps.context import StepContext
from gateway.worker import worker_app
from tests.helpers import unruly

HANG = "rogue.hang"
STEP = "deliver_video"
_deliver = FUNCTIONS[STEP]


def order(folder: Path, function: str, **arguments: Any) -> None:
    """Have the next deliveries do something else."""
    (folder / "order.half").write_text(json.dumps([function, arguments]))
    (folder / "order.half").rename(folder / "order")


def obey(folder: Path) -> None:
    """Have them do their work again."""
    (folder / "order").unlink()


def _rogue(context: StepContext) -> dict[str, Any]:
    given = Path(os.environ["ROGUE"]) / "order"
    if given.exists():
        function, arguments = json.loads(given.read_text())
        context.progress(1, 2)
        getattr(unruly, function)(**arguments)
    return _deliver(context)


def _rogue_app() -> Celery | None:
    if "ROGUE" not in os.environ:
        return None
    FUNCTIONS[STEP] = _rogue
    celery = worker_app(modules=[__name__])

    @celery.task(name=HANG, ignore_result=True)
    def hang() -> None:
        threading.Event().wait()

    return celery


app = _rogue_app()
