"""The watcher: pipeline runs and promotions. ``python -m gateway.watcher``

A training takes hours, so it never sits inside a Celery task: it is a pipeline run that is
watched here, under a lease like every step. Promotions have their thread beside it.
"""

import logging
import os
import signal
import socket
import threading
from datetime import timedelta

from components.settings import Settings
from components.storage import open_storage
from gateway.alive import sign_path
from gateway.celery_app import create_celery
from gateway.database import Sessions, open_database
from gateway.dispatch import Dispatcher
from gateway.flows import TRAINING
from gateway.heartbeats import WATCHER, Heart
from gateway.leases import claim_any
from gateway.logs import set_up_logs
from gateway.promotions import Promotions
from gateway.runner import Outcome, StepRunner
from gateway.training import run_training

logger = logging.getLogger("actverse.watcher")

_IDLE_SECONDS = 0.2


class Watcher:
    """Runs the trainings of all tasks, some side by side, until it is stopped."""

    def __init__(self, settings: Settings, sessions: Sessions, dispatcher: Dispatcher) -> None:
        self.settings = settings
        self.sessions = sessions
        self.dispatcher = dispatcher
        self.stopping = threading.Event()
        self.runner = StepRunner(settings, sessions, open_storage(settings), self.stopping)

    def run(self) -> None:
        """Run until ``stop``."""
        threads = [
            threading.Thread(target=self._work, args=(f"{socket.gethostname()}-{os.getpid()}-{n}",))
            for n in range(self.settings.training_slots)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        """Let the threads end; a training that runs is interrupted and tried again later."""
        self.stopping.set()

    def _work(self, holder: str) -> None:
        lease = timedelta(seconds=self.settings.lease_seconds)
        while not self.stopping.is_set():
            try:
                with self.sessions.begin() as session:
                    step = claim_any(session, (TRAINING,), holder, lease)
                if step is not None:
                    ended = self.runner.run(step, holder, run_training)
                    if ended.outcome is Outcome.SUCCEEDED:
                        self.dispatcher.send(step.task_id)
                    continue
            except Exception:
                # A database that was away must not end the thread: the lease brings the
                # step back.
                logger.exception("a training could not be taken or ended; the next look follows")
            self.stopping.wait(_IDLE_SECONDS)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = Settings()
    set_up_logs(settings)
    sessions = open_database(settings.database_url)
    watcher = Watcher(settings, sessions, Dispatcher(settings, sessions, create_celery(settings)))
    promotions = Promotions(settings, sessions)
    heart = Heart(sessions, [WATCHER], sign_path(settings.home, WATCHER))

    def stop(*_: object) -> None:
        watcher.stop()
        promotions.stop()
        heart.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    heart.start()
    promotions.start()
    watcher.run()
    promotions.join()


if __name__ == "__main__":
    main()
