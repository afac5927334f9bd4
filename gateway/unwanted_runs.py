"""Ends the runs on Kubeflow Pipelines that go on though their task has ended.

Whoever cancels a task need not wait for Kubeflow Pipelines, nor need it, or a watcher, be
there at that moment: the run is ended as soon as all are.
"""

import logging
import threading
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from components.errors import ActverseError, NotFound
from components.settings import Settings
from gateway.database import Sessions
from gateway.models import PipelineRun, now
from gateway.pipeline_runs import end_run, run_name, unwanted_runs
from pipelines.backend import PipelineBackend

logger = logging.getLogger("actverse.training")

_LOOK_SECONDS = 1.0
# A submission may still be on its way; what it makes appears within this time.
_ON_ITS_WAY = timedelta(minutes=10)


class UnwantedRuns(threading.Thread):
    """Looks each second for runs that nobody wants any more."""

    def __init__(self, settings: Settings, sessions: Sessions, backend: PipelineBackend) -> None:
        super().__init__(name="unwanted-runs")
        self._settings = settings
        self._sessions = sessions
        self._backend = backend
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the call that is under way."""
        self._stopping.set()

    def run(self) -> None:
        """Look until ``stop``."""
        wait = _LOOK_SECONDS
        while not self._stopping.wait(wait):
            try:
                wait = _LOOK_SECONDS if self.look() else self._settings.kfp_poll_seconds
            except SQLAlchemyError as error:
                logger.warning("the unwanted runs are unknown: %s", error)
            except Exception:
                # The thread is the only one that ends them: it must outlive any fault.
                logger.exception("the unwanted runs were not ended; the next look follows")

    def look(self) -> bool:
        """End those that are there now; say whether none is left."""
        with self._sessions() as session:
            rows = unwanted_runs(session)
        left = [row for row in rows if not self._end(row)]
        return not left

    def _end(self, row: PipelineRun) -> bool:
        try:
            if not (run_id := row.run_id or self._found(row.task_id)):
                if now() - row.asked < _ON_ITS_WAY:
                    return False
            else:
                self._cancel(run_id)
        except ActverseError as error:
            logger.warning(
                "the run of a task that has ended goes on: %s",
                error,
                extra={"task_id": row.task_id},
            )
            return False
        with self._sessions.begin() as session:
            end_run(session, row.task_id)
        return True

    def _found(self, task_id: str) -> str:
        run = self._backend.find(run_name(task_id))
        return run.run_id if run else ""

    def _cancel(self, run_id: str) -> None:
        try:
            self._backend.cancel(run_id)
        except NotFound:
            logger.info("the run %s is gone already", run_id)
