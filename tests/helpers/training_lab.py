"""A gateway's tables and a watcher for tests of trainings that run on a Kubeflow Pipelines."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from components.settings import Settings
from components.steps import StepReport
from gateway.celery_app import create_celery
from gateway.database import Sessions
from gateway.dispatch import Dispatcher
from gateway.flows import TRAINING
from gateway.models import PipelineRun, Step, Task
from gateway.schemas import TaskStatus
from gateway.status import task_status
from gateway.tasks import cancel_task, create_task, read_task
from gateway.unwanted_runs import UnwantedRuns
from gateway.watcher import Watcher
from gateway.work import Work
from pipelines import TRAINING_STEPS
from pipelines.backends import open_backend
from tests.helpers.kfp_runs import ServedRun
from tests.helpers.kfp_server import KfpServer
from tests.helpers.servers import wait_until
from tests.helpers.tasks import set_step

FACTS: dict[str, dict[str, Any]] = {
    "dataset": {"train": 8},
    "train": {"epoch": 2, "epochs": 3, "metrics": {"mAP50": 0.5}, "run_id": "of-mlflow"},
    "export": {"file": "model.onnx", "bytes": 1},
    "parity": {"matched": 1.0},
    "register": {"model": "ada-detect", "version": 1},
    "gate": {"earned": True},
    "deploy": {"model": "ada-detect", "version": 1, "promoted": True},
}


@dataclass
class TrainingLab:
    """Tasks whose labels are there, the runs that their trainings become, and who follows them."""

    settings: Settings
    sessions: Sessions
    kfp: KfpServer

    def task(self, previous_id: str = "", **work: Any) -> str:
        """A task that is to be trained next; ``previous_id`` is of the round before it."""
        labels = {"spec": {"task": "detect", "names": ["mouse"]}}
        with self.sessions.begin() as session:
            task_id = create_task(
                session, "ada", "training", Work(**work), previous_id=previous_id
            ).id
        set_step(self.sessions, task_id, "labels", state="succeeded", facts=labels)
        folder = self.settings.layout.labels(task_id)
        (folder / "images").mkdir(parents=True)
        (folder / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
        (folder / "images" / "a.jpg").write_bytes(b"pixels")
        return task_id

    def run_of(self, task_id: str) -> ServedRun:
        """The one run of a task, once it is followed."""
        wait_until(lambda: self.row(task_id) is not None, what="the run to be asked for")
        wait_until(lambda: self.row(task_id).run_id, what="the run to be known")
        (run,) = self.kfp.named(f"training-{task_id}")
        assert self.row(task_id).run_id == run.fields["run_id"]
        return run

    def report(self, task_id: str, name: str, state: str = "succeeded", **values: Any) -> None:
        """What a pod says of its step."""
        moment = time.time()
        ended = 0.0 if state == "running" else moment
        percent = 100.0 if state == "succeeded" else 50.0
        report = StepReport(
            name,
            state,
            **{"percent": percent, "started": moment, "ended": ended, "facts": FACTS[name]}
            | values,
        )
        report.write(self.settings.layout.step_reports(task_id))

    def succeed(self, task_id: str, run: ServedRun) -> None:
        """Let every step of a run have done its work, and the run have ended."""
        for name in TRAINING_STEPS:
            self.report(task_id, name)
            run.task(name, "SUCCEEDED")
        run.become("SUCCEEDED")

    def row(self, task_id: str) -> Any:
        with self.sessions() as session:
            return session.get(PipelineRun, task_id)

    def step(self, task_id: str) -> Step:
        with self.sessions() as session:
            return next(s for s in read_task(session, task_id).steps if s.name == TRAINING)

    def status(self, task_id: str) -> TaskStatus:
        with self.sessions() as session:
            return task_status(read_task(session, task_id))

    def state(self, task_id: str) -> str:
        with self.sessions() as session:
            return session.get_one(Task, task_id).state

    def cancel(self, task_id: str) -> None:
        with self.sessions.begin() as session:
            cancel_task(session, read_task(session, task_id))

    def end(self, task_id: str, state: str, seconds: float = 30.0) -> str:
        """Wait until a task has ended as it should; return its error."""
        open_states = ("queued", "running", "waiting")
        wait_until(lambda: self.state(task_id) not in open_states, seconds, f"{task_id} to end")
        with self.sessions() as session:
            task = session.get_one(Task, task_id)
            assert task.state == state, task.error
            return task.error

    def told(self, task_id: str, **run: str) -> None:
        """Wait until the status says this of a task's run."""

        def said() -> bool:
            shown = self.status(task_id).process_status.pipeline_run
            return shown is not None and all(v in getattr(shown, k) for k, v in run.items())

        wait_until(said, what=f"the run to be told as {run}")

    @contextmanager
    def watching(self, **changes: Any) -> Iterator[Watcher]:
        """A watcher of this process, with all that it has for trainings, until the block ends."""
        settings = self.settings.model_copy(update=changes)
        backend = open_backend(settings, own_session=False)
        dispatcher = Dispatcher(settings, self.sessions, create_celery(settings))
        watcher = Watcher(settings, self.sessions, dispatcher, backend)
        unwanted = UnwantedRuns(settings, self.sessions, backend)
        thread = threading.Thread(target=watcher.run)
        thread.start()
        unwanted.start()
        try:
            yield watcher
        finally:
            watcher.stop()
            unwanted.stop()
            thread.join()
            unwanted.join()

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.settings.lease_seconds)
