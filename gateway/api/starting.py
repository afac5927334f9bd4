"""Long work is begun here: the task is stored, the caller told where to look.

The broker hears of it after the answer is out. If it is away then, beat finds the task.
"""

import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import BackgroundTasks, Depends, Header, Request, Response
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.datastructures import State

from components.settings import Settings
from gateway.announce import announce
from gateway.dispatch import Dispatcher
from gateway.idempotency import digest_of, make_once
from gateway.keys import Caller
from gateway.models import Task
from gateway.schemas import Body
from gateway.tasks import check_open_tasks, create_task
from gateway.work import Work

logger = logging.getLogger("actverse.gateway")

REPLAYED = "Idempotent-Replayed"

IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[ -~]+$",
        description="any text of yours, different for each task that you want: the same POST sent "
        "again with it is answered with the same task",
        examples=["6f1c2c3e-3a59-4b2f-9d5b-0f6d3f6f6a11"],
    ),
]


class Starter:
    """Begins the long work that one request asks for."""

    def __init__(
        self,
        request: Request,
        response: Response,
        background: BackgroundTasks,
        idempotency_key: IdempotencyHeader = None,
    ) -> None:
        self._state = request.app.state
        self._response = response
        self._background = background
        self._key = idempotency_key

    def start(
        self,
        session: Session,
        caller: Caller,
        user_id: str,
        kind: str,
        work: Work,
        body: Body,
        *,
        content: str = "",
    ) -> tuple[str, bool]:
        """Store a task and have it begun once the answer is out.

        Args:
            session: whose end commits it.
            user_id: whose task it is.
            body: what the caller sent.
            content: a digest of what came along with the body.

        Returns:
            The task's id, and whether it had been made by an earlier sending.

        Raises:
            Conflict: if the caller's Idempotency-Key came with another body before.
        """

        return self.start_task(
            session,
            caller,
            user_id,
            kind,
            lambda: create_task(session, user_id, kind, work),
            body,
            content=content,
        )

    def start_task(
        self,
        session: Session,
        caller: Caller,
        user_id: str,
        kind: str,
        make: Callable[[], Task],
        body: Body,
        *,
        content: str = "",
    ) -> tuple[str, bool]:
        """As ``start``, of a task that ``make`` stores."""
        settings: Settings = self._state.settings

        def make_another() -> Task:
            check_open_tasks(session, user_id, settings.max_open_tasks)
            return make()

        replayed = False
        if self._key is None:
            task = make_another()
        else:
            digest = digest_of(kind, user_id, body.model_dump(mode="json"), content)
            task, replayed = make_once(session, caller.user_id, self._key, digest, make_another)
        self._response.headers["Location"] = f"/status/{task.id}"
        if replayed:
            self._response.headers[REPLAYED] = "true"
        else:
            self.send(task.id)
        return task.id, replayed

    def send(self, task_id: str) -> None:
        """Tell the broker and the watchers of a task, once the answer is out."""
        self._background.add_task(send_task, self._state, task_id)


Starting = Annotated[Starter, Depends()]

LOCATION = {
    "Location": {
        "description": "where to look how far it is",
        "required": True,
        "schema": {"type": "string"},
    },
    REPLAYED: {
        "description": "true: the task was made by an earlier sending of this request",
        "schema": {"type": "string"},
    },
}


def send_task(state: State, task_id: str) -> None:
    """Tell the broker and the watchers of a task.

    Args:
        state: the application's.
    """
    dispatcher: Dispatcher = state.dispatcher
    try:
        dispatcher.send(task_id)
        announce(state.settings, task_id)
    except SQLAlchemyError:
        logger.exception("a task was not queued; beat does it later", extra={"task_id": task_id})
