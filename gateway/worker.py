"""The worker: takes steps from the database and runs them. ``python -m gateway.worker``

A step that runs holds a lease; when its worker dies, the lease runs out and another
attempt is made. So nothing is lost with a process.
"""

import logging
import os
import signal
import socket
import threading
import time
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from components.errors import ActverseError, Unavailable
from components.settings import Settings
from components.steps import Progress
from gateway.database import Sessions, open_database
from gateway.flow import FUNCTIONS, StepContext, in_users_words
from gateway.models import WORKER_HEARTBEAT, Heartbeat, Step, now
from gateway.promotions import Promotions
from gateway.schemas import TaskRequest
from gateway.tasks import (
    MAX_ATTEMPTS,
    TRAINING,
    claim_step,
    fail_step,
    finish_step,
    note_progress,
    renew_lease,
)
from gateway.training import run_training

logger = logging.getLogger("actverse.worker")


_IDLE_SECONDS = 0.2
_PROGRESS_SECONDS = 0.2


class LeaseLost(ActverseError):
    """Somebody else runs the step by now; what this worker did of it does not count."""


class Worker:
    """Runs steps in some threads until it is stopped."""

    def __init__(self, settings: Settings, sessions: Sessions, slots: int = 2) -> None:
        self.settings = settings
        self.sessions = sessions
        self.slots = slots
        self.lease = timedelta(seconds=settings.lease_seconds)
        self.stopping = threading.Event()

    def run(self) -> None:
        """Run until ``stop``; the thread that calls it keeps the heartbeat."""
        threads = [
            threading.Thread(target=self._work, args=(f"{socket.gethostname()}-{os.getpid()}-{n}",))
            for n in range(self.slots)
        ]
        for thread in threads:
            thread.start()
        while not self.stopping.wait(1.0):
            with self.sessions.begin() as session:
                session.merge(Heartbeat(name=WORKER_HEARTBEAT, seen=now()))
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        """Let the threads end; a step that runs is interrupted and tried again later."""
        self.stopping.set()

    def _work(self, holder: str) -> None:
        while not self.stopping.is_set():
            try:
                with self.sessions.begin() as session:
                    step = claim_step(session, holder, self.lease)
                if step is not None:
                    self._run_step(step, holder)
                    continue
            except Exception:
                # A database that was away must not end the thread: the lease brings the
                # step back.
                logger.exception("a step could not be taken or ended; the next look follows")
            self.stopping.wait(_IDLE_SECONDS)

    def _run_step(self, step: Step, holder: str) -> None:
        logger.info("task %s step %s attempt %d begins", step.task_id, step.name, step.attempt)
        ended = threading.Event()
        lost = threading.Event()
        keeper = threading.Thread(target=self._keep_lease, args=(step.id, holder, ended, lost))
        keeper.start()
        context = self._context(step, lost)
        try:
            facts = (
                run_training(context) if step.name == TRAINING else FUNCTIONS[step.name](context)
            )
        except Exception as error:  # noqa: BLE001 (whatever breaks a step must end in its row)
            self._failed(step, context, error, lost)
        else:
            if not lost.is_set():
                with self.sessions.begin() as session:
                    finish_step(session, step.id, facts)
                logger.info("task %s step %s succeeded", step.task_id, step.name)
        finally:
            ended.set()
            keeper.join()

    def _context(self, step: Step, lost: threading.Event) -> StepContext:
        with self.sessions() as session:
            task = session.get_one(Step, step.id).task
            return StepContext(
                settings=self.settings,
                task_id=task.id,
                user_id=task.user_id,
                request=TaskRequest.model_validate(task.request),
                facts={other.name: dict(other.facts) for other in task.steps},
                progress=self._progress(step.id, lost),
            )

    def _progress(self, step_id: int, lost: threading.Event) -> Progress:
        written = 0.0

        def progress(done: float, total: float, **facts: Any) -> None:
            nonlocal written
            if lost.is_set():
                raise LeaseLost("Another worker has taken this step over.")
            if self.stopping.is_set():
                raise Unavailable("The worker is being stopped; the step goes on afterwards.")
            if time.monotonic() - written < _PROGRESS_SECONDS and done < total:
                return
            written = time.monotonic()
            with self.sessions.begin() as session:
                note_progress(session, step_id, 100 * done / total if total else 0.0, facts)

        return progress

    def _keep_lease(
        self, step_id: int, holder: str, ended: threading.Event, lost: threading.Event
    ) -> None:
        while not ended.wait(self.settings.lease_seconds / 5):
            try:
                with self.sessions.begin() as session:
                    if not renew_lease(session, step_id, holder, self.lease):
                        lost.set()
                        return
            except SQLAlchemyError:
                logger.exception("the lease of step %d was not renewed; tried again", step_id)

    def _failed(
        self, step: Step, context: StepContext, error: Exception, lost: threading.Event
    ) -> None:
        if lost.is_set():
            logger.warning("task %s step %s was taken over", step.task_id, step.name)
            return
        ours = isinstance(error, ActverseError)
        sentence = (
            str(error) if ours else f"The step {step.name} broke: {type(error).__name__}: {error}"
        )
        sentence = in_users_words(context, sentence)
        # Only what may pass by itself is tried again.
        passing = isinstance(error, Unavailable)
        if self.stopping.is_set():
            retry = timedelta(0)
        elif passing and step.attempt < MAX_ATTEMPTS:
            retry = timedelta(seconds=2.0**step.attempt)
        else:
            retry = None
        logger.error(
            "task %s step %s failed: %s", step.task_id, step.name, sentence, exc_info=not ours
        )
        with self.sessions.begin() as session:
            fail_step(session, step.id, sentence, retry)


def main() -> None:
    """Run the worker and the promotions until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # One line for every request to MLflow would bury the rest.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = Settings()
    sessions = open_database(settings.database_url)
    worker = Worker(settings, sessions)
    promotions = Promotions(settings, sessions)

    def stop(*_: object) -> None:
        worker.stop()
        promotions.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    promotions.start()
    worker.run()
    promotions.join()


if __name__ == "__main__":
    main()
