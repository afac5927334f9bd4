"""Ends the MLflow runs that go on as RUNNING though their task has ended.

A training whose process was killed cannot say how it ended. The next attempt of its task ends
its run; where there is none, since the task was cancelled or has failed, it is ended here.
"""

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from components.errors import ActverseError
from components.settings import Settings
from gateway.database import Sessions
from gateway.models import Task
from gateway.tasks import OPEN

logger = logging.getLogger("actverse.training")

_LOOK_SECONDS = 60.0


class LostRuns(threading.Thread):
    """Looks at its start, and then each minute, for runs of tasks that have ended."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        super().__init__(name="lost-runs")
        self._settings = settings
        self._sessions = sessions
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the request that is under way."""
        self._stopping.set()

    def run(self) -> None:
        """Look until ``stop``."""
        while not self._stopping.is_set():
            try:
                self.look()
            except (ActverseError, SQLAlchemyError) as error:
                logger.warning("the runs of lost trainings are not ended yet: %s", error)
            except Exception:
                # The thread is the only one that ends them: it must outlive any fault.
                logger.exception("the runs of lost trainings were not ended; a next look follows")
            self._stopping.wait(_LOOK_SECONDS)

    def look(self) -> list[str]:
        """End those that are there now; return their ids.

        A run of a task that is not known is left alone: others may use the same MLflow.

        Raises:
            Unavailable: if MLflow does not answer.
        """
        from components.training.lost_runs import end_as_lost, open_runs

        uri = self._settings.mlflow_uri
        if not uri:
            return []
        ended = []
        for run in open_runs(uri):
            with self._sessions() as session:
                task = session.get(Task, run.task_id)
            if task is None or task.state in OPEN:
                continue
            end_as_lost(uri, run.run_id)
            logger.info("the run %s of a lost training is ended", run.run_id)
            ended.append(run.run_id)
        return ended
