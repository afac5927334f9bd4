"""A training on this machine whose services and processes are killed: it is trained once."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from sqlalchemy import select

from components.settings import Settings
from components.training.lost_runs import LOST
from components.training.tracking import EXPERIMENT, TASK_TAG
from gateway.database import Sessions
from gateway.lost_runs import LostRuns
from gateway.models import Attempt
from gateway.promotions import Promotions
from pipelines.run_folder import RunFolder
from tests.helpers.blobs import write_labelled_blobs
from tests.helpers.kfp_server import KfpServer
from tests.helpers.outages import MortalMlflow
from tests.helpers.servers import TritonServer, new_triton, wait_until
from tests.helpers.tasks import set_step
from tests.helpers.tiny_onnx import SPECS
from tests.helpers.training_lab import TrainingLab

pytestmark = pytest.mark.slow

EPOCHS = 4
# A busy machine takes its time.
_LONG = 400


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[TritonServer]:
    server = new_triton(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[MortalMlflow]:
    folder = tmp_path / "mlflow"
    folder.mkdir()
    server = MortalMlflow(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go: nothing else lies there."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def settings(triton: TritonServer, mlflow: MortalMlflow, database_url: str) -> Settings:
    return triton.settings.model_copy(
        update={
            "database_url": database_url or triton.settings.database_url,
            "mlflow_uri": mlflow.uri,
            "reconcile_seconds": 0.5,
            "service_patience": 6.0,
        }
    )


@pytest.fixture
def lab(settings: Settings, sessions: Sessions) -> TrainingLab:
    return TrainingLab(settings, sessions, KfpServer())


def _labelled(lab: TrainingLab) -> str:
    """A task whose labels are there, and will do for a small training."""
    training = {"epochs": EPOCHS, "imgsz": 96, "plots": False, "threads": 1}
    task_id = lab.task(training=training)
    spec = SPECS["detect"]
    set_step(lab.sessions, task_id, "labels", facts={"spec": spec.model_dump(mode="json")})
    folder = lab.settings.layout.labels(task_id)
    shutil.rmtree(folder)
    write_labelled_blobs(folder, "detect", 16)
    (folder / "images").mkdir()
    for image in folder.glob("*.png"):
        image.rename(folder / "images" / image.name)
    return task_id


def _state(lab: TrainingLab, task_id: str, name: str) -> str:
    report = lab.step(task_id).facts.get("pipeline", {}).get(name, {})
    return str(report.get("state", ""))


def _shown(lab: TrainingLab, task_id: str, name: str) -> str:
    """What the status says is wrong with a step of the pipeline."""
    steps = lab.status(task_id).process_status.steps
    return next(step.error for step in steps if step.name == name)


def _told(lab: TrainingLab, task_id: str) -> str:
    """Why the attempts so far have ended."""
    with lab.sessions() as session:
        query = select(Attempt.error).where(Attempt.task_id == task_id)
        return "\n".join(session.scalars(query))


def _epoch(lab: TrainingLab, task_id: str) -> int:
    report = lab.step(task_id).facts.get("pipeline", {}).get("train", {})
    return int(report.get("facts", {}).get("epoch", 0))


def _step_process(lab: TrainingLab, run: str) -> psutil.Process:
    """The process of the step that a run is at."""
    process = RunFolder(lab.settings.home / "pipelines" / "runs" / run).process()
    assert process is not None
    family = psutil.Process(process.pid).children(recursive=True)
    return next(one for one in family if "executor_main" in " ".join(one.cmdline()))


@pytest.mark.timeout(1800)
def test_nothing_that_is_killed_costs_a_second_training(
    lab: TrainingLab, mlflow: MortalMlflow, temporary: Path
):
    task_id = _labelled(lab)
    promotions = Promotions(lab.settings, lab.sessions)
    promotions.start()
    try:
        with lab.watching():
            # MLflow, in the middle of the epochs.
            mlflow.kill_at("train/box_loss")
            wait_until(mlflow.killed.is_set, _LONG, "the first epoch's figures")
            wait_until(lambda: _epoch(lab, task_id) >= 2, _LONG, "the second epoch")
            mlflow.start()

            # The export's own process.
            wait_until(lambda: _state(lab, task_id, "export") == "running", _LONG, "the export")
            run = lab.step(task_id).facts["run"]["run_id"]
            _step_process(lab, run).kill()
            ended = "The step export was ended from outside by signal 9 (SIGKILL)"
            wait_until(lambda: ended in _told(lab, task_id), _LONG, "its end to be told")

            # MLflow, before the registration, and for longer than anybody waits.
            mlflow.kill_at("mlflow/logged-models")
            wait_until(mlflow.killed.is_set, 2 * _LONG, "the registration")
            away = f"MLflow server at {mlflow.uri} does not answer"
            waits = f"Waiting since .*{re.escape(away)}"
            seen = partial(_shown, lab, task_id, "register")
            wait_until(lambda: re.search(waits, seen()), _LONG, "its waiting to be shown")
            wait_until(lambda: away in _told(lab, task_id), _LONG, "the end of patience")
            mlflow.start()

            # MLflow, before the deployment: it is back in time.
            mlflow.kill_at("registered-models/alias")
            wait_until(mlflow.killed.is_set, _LONG, "the deployment")
            mlflow.start()
            lab.end(task_id, "succeeded", seconds=_LONG)
    finally:
        promotions.stop()
        promotions.join()

    client = MlflowClient(mlflow.uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags[TASK_TAG]) == ("FINISHED", task_id)
    losses = client.get_metric_history(run.info.run_id, "train/box_loss")
    assert [point.step for point in losses] == list(range(1, EPOCHS + 1))
    versions = client.search_model_versions("name = 'ada-detect'")
    assert [(int(v.version), v.run_id) for v in versions] == [(1, run.info.run_id)]
    assert lab.step(task_id).facts["pipeline"]["train"]["facts"]["resumed"] is True
    assert not (lab.settings.layout.train_log(task_id) / "finished").exists()
    assert list(temporary.iterdir()) == []


def test_runs_that_nobody_else_ends_are_ended(lab: TrainingLab, mlflow: MortalMlflow):
    client = MlflowClient(mlflow.uri)
    experiment = client.create_experiment(EXPERIMENT)
    ended, goes_on = lab.task(), lab.task()
    lab.cancel(ended)

    def begun(task_id: str, **tags: str) -> str:
        tags = {TASK_TAG: task_id, **tags} if task_id else tags
        return str(client.create_run(experiment, tags=tags).info.run_id)

    lost = [begun(ended), begun(ended)]
    others = [begun(goes_on), begun("t-of-another-house"), begun("", made_by="hand")]
    done = begun(ended)
    client.set_terminated(done)
    assert sorted(LostRuns(lab.settings, lab.sessions).look()) == sorted(lost)
    for run_id in lost:
        run = client.get_run(run_id)
        assert (run.info.status, run.data.tags["error"]) == ("KILLED", LOST)
    assert {client.get_run(run_id).info.status for run_id in others} == {"RUNNING"}
    assert client.get_run(done).info.status == "FINISHED"
    assert LostRuns(lab.settings, lab.sessions).look() == []
