"""The watcher: pipeline runs and promotions. ``python -m gateway.watcher``

A training takes hours, so it never sits inside a Celery task: it is a pipeline run that is
followed here, under a lease like every step. Promotions have their thread beside it.
"""

import itertools
import logging
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
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
from gateway.lost_runs import LostRuns
from gateway.models import Step
from gateway.promotions import Promotions
from gateway.runner import Outcome, StepRunner
from gateway.training import Trainings
from gateway.unwanted_runs import UnwantedRuns
from pipelines.backend import PipelineBackend
from pipelines.backends import open_backend

logger = logging.getLogger("actverse.watcher")

_IDLE_SECONDS = 0.2


class Watcher:
    """Runs the trainings of all tasks, some side by side, until it is stopped.

    Each has a thread: on this machine ``training_slots`` of them, since they share its cores;
    on Kubeflow Pipelines ``kfp_followed_runs``, since a run that is followed costs a request
    each ``kfp_poll_seconds`` and a small query each second. Further ones wait their turn.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        dispatcher: Dispatcher,
        backend: PipelineBackend,
    ) -> None:
        self.settings = settings
        self.sessions = sessions
        self.dispatcher = dispatcher
        self.stopping = threading.Event()
        self.runner = StepRunner(settings, sessions, open_storage(settings), self.stopping)
        self.trainings = Trainings(settings, sessions, backend, self.stopping)

    def run(self) -> None:
        """Run until ``stop``."""
        remote = self.settings.kfp_endpoint
        slots = self.settings.kfp_followed_runs if remote else self.settings.training_slots
        free = threading.Semaphore(slots)
        # One thread of a process may lose a step to another one: each claim has its own name.
        holders = (f"{socket.gethostname()}-{os.getpid()}-{n}" for n in itertools.count())
        with ThreadPoolExecutor(slots, thread_name_prefix="training") as threads:
            while not self.stopping.is_set():
                if not free.acquire(timeout=_IDLE_SECONDS):
                    continue
                holder = next(holders)
                # What has just been let go of, since we are stopped, is for others.
                step = None if self.stopping.is_set() else self._claimed(holder)
                if step is None:
                    free.release()
                    self.stopping.wait(_IDLE_SECONDS)
                else:
                    threads.submit(self._work, step, holder, free)

    def stop(self) -> None:
        """Let the threads end; a training that runs here is interrupted and tried again later."""
        self.stopping.set()

    def _claimed(self, holder: str) -> Step | None:
        lease = timedelta(seconds=self.settings.lease_seconds)
        try:
            with self.sessions.begin() as session:
                return claim_any(session, (TRAINING,), holder, lease)
        except Exception:
            # A database that was away must not end the watcher.
            logger.exception("no training could be taken; the next look follows")
            return None

    def _work(self, step: Step, holder: str, free: threading.Semaphore) -> None:
        try:
            ended = self.runner.run(step, holder, self.trainings.run)
            if ended.outcome is Outcome.SUCCEEDED:
                self.dispatcher.send(step.task_id)
        except Exception:
            # The lease brings the step back.
            logger.exception("a training could not be ended; it is taken again")
        finally:
            free.release()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = Settings()
    set_up_logs(settings)
    sessions = open_database(settings.database_url)
    # What runs here ends with the watcher, however that ends.
    backend = open_backend(settings, own_session=False)
    dispatcher = Dispatcher(settings, sessions, create_celery(settings))
    watcher = Watcher(settings, sessions, dispatcher, backend)
    promotions = Promotions(settings, sessions)
    unwanted = UnwantedRuns(settings, sessions, backend) if settings.kfp_endpoint else None
    lost = LostRuns(settings, sessions)
    heart = Heart(sessions, [WATCHER], sign_path(settings.home, WATCHER))

    def stop(*_: object) -> None:
        watcher.stop()
        promotions.stop()
        lost.stop()
        if unwanted is not None:
            unwanted.stop()
        heart.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    heart.start()
    promotions.start()
    lost.start()
    if unwanted is not None:
        unwanted.start()
    watcher.run()
    promotions.join()
    lost.join()
    if unwanted is not None:
        unwanted.join()


if __name__ == "__main__":
    main()
