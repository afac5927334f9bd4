"""Trainings on this machine: a child process of the watcher, ended with it or with its task."""

import os
from pathlib import Path

import pytest

from components.settings import Settings
from gateway.database import Sessions
from gateway.flows import TRAINING
from pipelines.run_folder import RunFolder, RunProcess
from tests.helpers.kfp_server import KfpServer
from tests.helpers.servers import free_ports, running_mlflow, wait_until
from tests.helpers.tasks import set_step
from tests.helpers.training_lab import TrainingLab


@pytest.fixture
def lab(settings: Settings, sessions: Sessions) -> TrainingLab:
    return TrainingLab(settings, sessions, KfpServer())


def _process(lab: TrainingLab, name: str) -> RunProcess:
    """The process of a run, once it is there."""
    folder = RunFolder(lab.settings.home / "pipelines" / "runs" / name)
    wait_until(lambda: folder.process() is not None, what=f"the process of {name}")
    process = folder.process()
    assert process is not None
    return process


def _held(lab: TrainingLab) -> str:
    """A task whose first step never comes to an end: it reads labels that nobody writes."""
    task_id = lab.task()
    labels = lab.settings.layout.labels(task_id) / "a.txt"
    labels.unlink()
    os.mkfifo(labels)
    return task_id


def test_a_stopped_watcher_ends_the_run_and_the_next_one_begins_another(lab: TrainingLab):
    task_id = _held(lab)
    with lab.watching():
        lab.told(task_id, backend="local", run_id=f"training-{task_id}", state="RUNNING")
        first = _process(lab, f"training-{task_id}")
        assert first.alive
    assert not first.alive
    assert (lab.state(task_id), lab.step(task_id).state) == ("running", "pending")
    assert lab.status(task_id).process_status.pipeline_run is None
    assert lab.row(task_id) is None
    with lab.watching():
        lab.told(task_id, run_id=f"training-{task_id}-2", state="RUNNING")
        second = _process(lab, f"training-{task_id}-2")
        lab.cancel(task_id)
        wait_until(lambda: not second.alive, 15, "the run to be ended")
    assert lab.state(task_id) == "cancelled"
    assert lab.status(task_id).process_status.pipeline_run.state == "CANCELED"


def test_a_run_that_was_taken_over_goes_on_under_whoever_took_it(lab: TrainingLab):
    """As after a night's sleep of the machine: who wakes too late has lost its lease."""
    task_id = _held(lab)
    with lab.watching(lease_seconds=1.0):
        lab.told(task_id, state="RUNNING")
        process = _process(lab, f"training-{task_id}")
        set_step(lab.sessions, task_id, TRAINING, lease_holder="another")
        wait_until(lambda: lab.step(task_id).attempt == 2, what="the step to be taken over")
        lab.told(task_id, run_id=f"training-{task_id}", state="RUNNING")
        assert process.alive
    assert not process.alive
    runs = (lab.settings.home / "pipelines" / "runs").iterdir()
    assert [run.name for run in runs] == [f"training-{task_id}"]


def test_a_run_that_breaks_fails_its_task_in_the_steps_own_words(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        error = lab.end(task_id, "failed", seconds=60)
    assert error.startswith("There are 1 labelled images")
    states = [step.state for step in lab.status(task_id).process_status.steps]
    assert states[1:3] == ["failed", "pending"]


def test_a_training_waits_for_a_tracking_server_that_is_still_starting(
    lab: TrainingLab, tmp_path: Path
):
    """As in a stack that is started again after it was stopped in a training."""
    (port,) = free_ports(1)
    lab.settings = lab.settings.model_copy(update={"mlflow_uri": f"http://127.0.0.1:{port}"})
    task_id = _held(lab)
    with lab.watching():
        wait_until(lambda: "does not answer" in lab.step(task_id).error, what="its first attempt")
        assert lab.state(task_id) == "running"
        (tmp_path / "mlflow").mkdir()
        with running_mlflow(tmp_path / "mlflow", port):
            wait_until(lambda: lab.step(task_id).state == "running", 240, "its next attempt")
            lab.told(task_id, run_id=f"training-{task_id}", state="RUNNING")
            lab.cancel(task_id)
