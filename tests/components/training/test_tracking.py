import json
import os
import signal
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from components.dataset.facts import read_dataset
from components.errors import BadInput, TrainingFailed, Unavailable
from components.training.settings import TrainingSettings
from components.training.tracking import Tracking
from components.training.train import train

EPOCHS = 2
QUICK = TrainingSettings(epochs=EPOCHS, imgsz=64, batch=4, device="cpu", threads=1, plots=False)


@pytest.fixture(scope="session")
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=mlflow_uri)


def _artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    return {entry.path for entry in client.list_artifacts(run_id, folder)}


def _last_run(client: MlflowClient, experiment: str) -> Run:
    known = client.get_experiment_by_name(experiment)
    assert known is not None
    return client.search_runs([known.experiment_id])[0]


def test_a_training_is_tracked_epoch_by_epoch_and_may_be_repeated(
    client: MlflowClient, mlflow_uri: str, pose_dataset: Path, tmp_path: Path
) -> None:
    tracking = Tracking(mlflow_uri, "shapes", run_name="task-1", tags={"task_id": "task-1"})
    settings = QUICK.model_copy(update={"plots": True})
    result = train(pose_dataset, tmp_path / "out", settings, tracking=tracking)

    run = client.get_run(result.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "task-1")
    assert run.data.tags["task_id"] == "task-1"
    assert run.data.params["imgsz"] == "64"
    assert run.data.params["names"] == "fish"

    histories = {
        name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics
    }
    once = {name for name in histories if name.startswith(("best/", "dataset/"))}
    every_epoch = histories.keys() - once
    for part in ("train", "val"):
        losses = {f"{part}/{name}_loss" for name in ("box", "cls", "dfl", "pose", "kobj")}
        assert losses <= every_epoch
    assert {"lr/pg0", "lr/pg1", "lr/pg2", "metrics/mAP50", "metrics/pose_mAP50-95"} <= every_epoch
    for name in every_epoch:
        assert [point.step for point in histories[name]] == list(range(1, EPOCHS + 1)), name
    for name, value in result.metrics.items():
        assert [(p.step, p.value) for p in histories[f"best/{name}"]] == [
            (result.best_epoch, pytest.approx(value))
        ]

    facts = read_dataset(pose_dataset)
    assert run.data.metrics["dataset/leak"] == facts.leak
    assert run.data.tags["dataset.digest"] == facts.digest
    (source,) = run.inputs.dataset_inputs
    assert source.dataset.digest == facts.digest[:36]
    assert json.loads(source.dataset.profile)["train"] == facts.train
    assert source.tags[0].value == "training"

    assert {"model.pt", "training.json"} <= _artifacts(client, result.run_id)
    plots = _artifacts(client, result.run_id, "plots")
    for plot in ("results.png", "confusion_matrix.png", "PosePR_curve.png", "labels.jpg"):
        assert f"plots/{plot}" in plots
    assert any(plot.startswith("plots/val_batch") for plot in plots)
    assert "dataset/train_test_split.txt" in _artifacts(client, result.run_id, "dataset")
    fetched = client.download_artifacts(result.run_id, "model.pt", str(tmp_path))
    assert Path(fetched).read_bytes() == (tmp_path / "out" / "model.pt").read_bytes()

    # Once more into the same run, with another value of a parameter.
    again = Tracking(mlflow_uri, "not looked at", run_id=result.run_id)
    settings = QUICK.model_copy(update={"lr0": 0.001, "epochs": 1})
    assert train(pose_dataset, tmp_path / "out", settings, tracking=again).run_id == result.run_id
    run = client.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["lr0"] == "0.002"
    assert run.data.tags["changed_params"] == "epochs=1, lr0=0.001, plots=False"
    assert client.get_experiment_by_name("not looked at") is None


def test_a_failed_training_ends_its_run_with_the_reason(
    client: MlflowClient,
    mlflow_uri: str,
    detect_dataset: Path,
    tmp_path: Path,
    poisoned_loss: None,
) -> None:
    with pytest.raises(TrainingFailed) as caught:
        train(detect_dataset, tmp_path / "out", QUICK, tracking=Tracking(mlflow_uri, "failing"))
    run = _last_run(client, "failing")
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == str(caught.value)
    assert "not a finite number" in run.data.tags["mlflow.note.content"]
    assert run.info.end_time is not None


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_training_ended_from_outside_ends_its_run_as_killed(
    number: signal.Signals,
    raised: type[BaseException],
    client: MlflowClient,
    mlflow_uri: str,
    detect_dataset: Path,
    tmp_path: Path,
) -> None:
    tracking = Tracking(mlflow_uri, f"ended by {number.name}")
    # In the background of a shell nobody hears of a SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(raised):
            train(
                detect_dataset,
                tmp_path / "out",
                QUICK,
                tracking=tracking,
                progress=lambda *_, **__: os.kill(os.getpid(), number),
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert _last_run(client, tracking.experiment).info.status == "KILLED"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_figures_of_a_while_without_a_server_are_not_lost(
    client: MlflowClient, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.training.mlflow_run import MlflowRun

    run = MlflowRun(Tracking(mlflow_uri, "away"))
    with monkeypatch.context() as away:
        away.setattr(run, "_uri", "http://127.0.0.1:9")
        run.log_epoch({"train/box_loss": 2.0}, 1)
        run.log_epoch({"train/box_loss": 1.5}, 2)
    assert client.get_metric_history(run.run_id, "train/box_loss") == []
    run.log_epoch({"train/box_loss": 1.0}, 3)
    run.finish()
    points = client.get_metric_history(run.run_id, "train/box_loss")
    assert [(point.step, point.value) for point in points] == [(1, 2.0), (2, 1.5), (3, 1.0)]


def test_a_server_that_is_not_there_is_said_before_the_training(
    detect_dataset: Path, tmp_path: Path
) -> None:
    tracking = Tracking("http://user:secret@127.0.0.1:9", "x")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 does not answer") as caught:
        train(detect_dataset, tmp_path / "out", QUICK, tracking=tracking)
    assert "secret" not in str(caught.value)


def test_a_run_that_does_not_exist_is_named(
    mlflow_uri: str, detect_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="The run 0123 is not on"):
        train(
            detect_dataset,
            tmp_path / "out",
            QUICK,
            tracking=Tracking(mlflow_uri, "x", run_id="0123"),
        )
