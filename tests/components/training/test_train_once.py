"""A task's training in a pipeline, on a real tracking server: trained once, whatever is away."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from components.errors import Unavailable
from components.patience import Patience
from components.pipeline_step import PipelineStep
from components.settings import Settings
from components.steps import no_progress
from components.storage import open_storage
from components.training import train as training
from components.training.lost_runs import LOST
from components.training.settings import TrainingSettings
from components.training.tracking import EXPERIMENT, TASK_TAG
from components.training.train_once import train_once
from tests.helpers.relay import Relay

pytestmark = pytest.mark.slow

QUICK = TrainingSettings(epochs=2, imgsz=64, batch=4, device="cpu", threads=1, plots=False)


@pytest.fixture
def relay(mlflow_uri: str) -> Iterator[Relay]:
    """The line to the tracking server, which a test can cut."""
    relay = Relay(int(mlflow_uri.rpartition(":")[2]))
    relay.open()
    yield relay
    relay.close()


@pytest.fixture
def step(relay: Relay, tmp_path: Path) -> PipelineStep:
    settings = Settings(home=tmp_path / "home", mlflow_uri=f"http://127.0.0.1:{relay.port}")
    return PipelineStep(settings, open_storage(settings), no_progress)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where each training that was begun works."""
    begun: list[Path] = []
    real = training._train

    def counted(dataset: Path, facts: object, out: Path, *rest: object) -> object:
        begun.append(out)
        return real(dataset, facts, out, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_train", counted)
    return begun


@pytest.fixture
def runs(mlflow_uri: str) -> Callable[[str], list[Run]]:
    client = MlflowClient(mlflow_uri)

    def of(task_id: str) -> list[Run]:
        known = client.get_experiment_by_name(EXPERIMENT)
        return client.search_runs(
            [known.experiment_id],
            f"tags.task_id = '{task_id}'",
            order_by=["attributes.start_time ASC"],
        )

    return of


def test_a_server_away_from_the_middle_to_beyond_the_end_costs_no_second_training(
    step: PipelineStep,
    relay: Relay,
    runs: Callable[[str], list[Run]],
    mlflow_uri: str,
    detect_dataset: Path,
    tmp_path: Path,
    trainings: list[Path],
):
    client = MlflowClient(mlflow_uri)
    if (known := client.get_experiment_by_name(EXPERIMENT)) is None:
        experiment = client.create_experiment(EXPERIMENT)
    else:
        experiment = known.experiment_id
    lost = client.create_run(experiment, tags={TASK_TAG: "away"}).info.run_id
    others = client.create_run(experiment, tags={TASK_TAG: "another"}).info.run_id

    def cut(done: float, total: float, **facts: object) -> None:
        if done == 1:
            relay.close()

    first = tmp_path / "first"
    with pytest.raises(Unavailable):
        train_once(replace(step, progress=cut), "away", QUICK, detect_dataset, first)
    before, ours = runs("away")
    # What an earlier attempt had left running is ended, and nobody else's.
    assert (before.info.run_id, before.info.status) == (lost, "KILLED")
    assert before.data.tags["error"] == LOST
    assert client.get_run(others).info.status == "RUNNING"
    assert ours.info.status == "RUNNING"

    relay.open()
    result = train_once(step, "away", QUICK, detect_dataset, tmp_path / "second")
    assert trainings == [first]
    (_, ours) = runs("away")
    assert (ours.info.run_id, ours.info.status) == (result.run_id, "FINISHED")
    model = (tmp_path / "second" / "model.pt").read_bytes()
    assert model == (first / "model.pt").read_bytes()
    losses = client.get_metric_history(result.run_id, "train/box_loss")
    assert [point.step for point in losses] == [1, 2]
    kept = {entry.path for entry in client.list_artifacts(result.run_id)}
    assert {"model.pt", "training.json"} <= kept
    assert not ours.data.tags.get("error")

    # Once more, as after a failure of a later step: nothing is to do.
    again = train_once(step, "away", QUICK, detect_dataset, tmp_path / "third")
    assert (again, trainings) == (result, [first])
    assert len(runs("away")) == 2
    client.set_terminated(others)


def test_a_server_that_comes_back_in_time_is_waited_for_in_sight(
    step: PipelineStep,
    relay: Relay,
    runs: Callable[[str], list[Run]],
    detect_dataset: Path,
    tmp_path: Path,
    trainings: list[Path],
):
    told: list[str] = []

    def tell(sentence: str) -> None:
        told.append(sentence)
        if sentence:
            relay.open()

    relay.close()

    def cut(done: float, total: float, **facts: object) -> None:
        if done == total == 2:
            relay.close()

    patient = replace(step, progress=cut, patience=Patience(60, tell))
    result = train_once(patient, "patient", QUICK, detect_dataset, tmp_path / "out")
    (run,) = runs("patient")
    assert (run.info.run_id, run.info.status) == (result.run_id, "FINISHED")
    assert len(trainings) == 1
    # Before the training and behind it.
    assert [bool(sentence) for sentence in told] == [True, False, True, False]
    assert f"127.0.0.1:{relay.port} does not answer" in told[0]
