"""A training that starts from the checkpoint of a registered version, or says why not."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from components import ultralytics_env
from components.errors import Unavailable
from components.registry.aliases import set_champion
from components.registry.register import register_model
from components.training.result import TrainingResult, read_training
from components.training.settings import TrainingSettings
from components.training.tracking import Tracking
from components.training.train import train
from tests.helpers.exports import finished_run, write_export

QUICK = TrainingSettings(epochs=2, imgsz=64, batch=4, device="cpu", threads=1, plots=False)


def _register(export: Path, name: str, run_id: str, uri: str, **tags: str) -> int:
    return register_model(
        export, name=name, run_id=run_id, tracking_uri=uri, metrics={}, dataset_digest="", tags=tags
    )


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def first(
    detect_dataset: Path, mlflow_uri: str, export: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingResult, Path]:
    """A training whose version is the champion of the model ``rounds``."""
    out = tmp_path_factory.mktemp("first")
    result = train(detect_dataset, out, QUICK, tracking=Tracking(mlflow_uri, "rounds"))
    assert _register(export, "rounds", result.run_id, mlflow_uri) == 1
    set_champion("rounds", 1, "champion", tracking_uri=mlflow_uri)
    return result, out / "model.pt"


@pytest.mark.parametrize("weights", ["models:/rounds@champion", "models:/rounds/1"])
def test_a_training_starts_from_the_champion(
    weights: str,
    first: tuple[TrainingResult, Path],
    detect_dataset: Path,
    mlflow_uri: str,
    tmp_path: Path,
) -> None:
    import torch

    ultralytics_env.prepare()
    from ultralytics.nn.tasks import load_checkpoint

    # So slow that after its epoch it is still where it began.
    still = QUICK.model_copy(update={"weights": weights, "lr0": 1e-9, "epochs": 1})
    result = train(detect_dataset, tmp_path, still, tracking=Tracking(mlflow_uri, "rounds"))

    assert (result.start, result.start_reason) == ("models:/rounds/1", "")
    assert read_training(tmp_path) == result
    assert MlflowClient(mlflow_uri).get_run(result.run_id).data.tags["start"] == "models:/rounds/1"
    before, _ = load_checkpoint(first[1])
    after, _ = load_checkpoint(tmp_path / "model.pt")
    for theirs, ours in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt", "training.json", "plots"}


def test_without_a_checkpoint_it_is_from_scratch_and_says_so(
    detect_dataset: Path, export: Path, mlflow_uri: str, tmp_path: Path
) -> None:
    version = _register(export, "unstartable", finished_run(mlflow_uri), mlflow_uri)
    settings = QUICK.model_copy(update={"weights": f"models:/unstartable/{version}", "epochs": 1})
    result = train(detect_dataset, tmp_path, settings, tracking=Tracking(mlflow_uri, "rounds"))
    assert result.start == "from scratch"
    assert result.start_reason == (
        "There is no model.pt in the training run of version 1 of the model unstartable."
    )
    tag = MlflowClient(mlflow_uri).get_run(result.run_id).data.tags["start"]
    assert tag == f"from scratch: {result.start_reason}"


@pytest.mark.parametrize(
    ("weights", "model", "said"),
    [
        ("models:/rounds@runner-up", "yolo11n", "has the alias 'runner-up'"),
        ("models:/rounds/9", "yolo11n", "does not know version 9 of the model rounds"),
        ("models:/nobody@champion", "yolo11n", "does not know the model nobody"),
        ("models:/brought/1", "yolo11n", "was brought as a finished file, without its model.pt"),
        ("models:/broken/1", "yolo11n", "models:/broken/1 cannot be loaded"),
        ("models:/rounds@champion", "yolov8n", "are not of the architecture yolov8n"),
        ("models:/rounds", "yolo11n", "name no registered model"),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_from_scratch(
    weights: str,
    model: str,
    said: str,
    first: tuple[TrainingResult, Path],
    export: Path,
    mlflow_uri: str,
    tmp_path: Path,
) -> None:
    ultralytics_env.prepare()
    from components.training.weights import find_start

    if "brought" in weights:
        _register(export, "brought", first[0].run_id, mlflow_uri, origin="a user's file")
    if "broken" in weights:
        run_id = finished_run(mlflow_uri)
        MlflowClient(mlflow_uri).log_text(run_id, "no checkpoint", "model.pt")
        _register(export, "broken", run_id, mlflow_uri)
    start = find_start(weights, model, tmp_path, mlflow_uri)
    assert (start.name, start.checkpoint) == ("from scratch", None)
    assert said in start.reason
    assert mlflow_uri not in start.reason


def test_a_server_that_is_away_is_no_reason_to_begin_anew(tmp_path: Path) -> None:
    ultralytics_env.prepare()
    from components.training.weights import find_start

    with pytest.raises(Unavailable):
        find_start("models:/rounds@champion", "yolo11n", tmp_path, "http://127.0.0.1:9")
