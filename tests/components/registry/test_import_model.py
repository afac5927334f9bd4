"""A model that was trained elsewhere: into a real registry, and from there into a real Triton."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from mlflow import MlflowClient
from onnx import numpy_helper

from components.errors import ActverseError, BadInput, NotFound
from components.export.graft import graft
from components.parity_set import ParitySet
from components.registry.download import download_version
from components.registry.import_model import Imported, import_model
from components.registry.tags import read_state
from components.served_model import ModelCard
from components.serving.promote import Promoter
from components.settings import Settings
from tests.helpers.checkpoints import IMGSZ, held_out_frame, write_checkpoint
from tests.helpers.servers import TritonServer
from tests.helpers.tiny_onnx import SPECS, draw_frame, plain_tiny_model, write_tiny_model

pytestmark = pytest.mark.slow

WH = (160, 120)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of blobs, which the tiny model finds."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(4):
        cv2.imwrite(str(folder / f"blobs_{seed}.png"), draw_frame(WH, seed=seed)[0])
    return folder


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames like those that the checkpoint is calibrated for."""
    folder = tmp_path_factory.mktemp("noise")
    for seed in range(3):
        cv2.imwrite(str(folder / f"noise_{seed}.png"), held_out_frame(901 + seed, WH))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "our mice.pt", "yolo11n")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write_tiny_model(tmp_path / "own.onnx", seed=3)
    return tmp_path / "own.onnx"


@pytest.fixture
def settings(mlflow_server: str, triton: TritonServer) -> Settings:
    return triton.settings.model_copy(update={"mlflow_uri": mlflow_server})


@pytest.fixture
def bring(settings: Settings, images: Path) -> Callable[..., Imported]:
    def bring(file: Path, name: str, images: Path = images, imgsz: int | None = None) -> Imported:
        return import_model(
            file, images, name=name, settings=settings, imgsz=imgsz, tags={"task_id": "t9"}
        )

    return bring


def test_an_onnx_file_is_registered_under_a_run_of_its_own(
    own: Path, bring: Callable[..., Imported], settings: Settings, tmp_path: Path
):
    made = bring(own, "imported_onnx")
    assert made == Imported(1, made=True, frames=4)
    client = MlflowClient(settings.mlflow_uri)
    version = client.get_model_version("imported_onnx", "1")
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    expected = {
        "task_id": "t9",
        "origin": "imported",
        "origin.file": "own.onnx",
        "origin.sha256": digest,
        "onnx.sha256": digest,
    }
    assert expected.items() <= version.tags.items()
    run = client.get_run(version.run_id)
    assert (run.info.run_name, run.info.status) == ("import imported_onnx", "FINISHED")
    assert client.get_experiment(run.info.experiment_id).name == "actverse"
    assert run.data.params == {
        "file": "own.onnx",
        "imgsz": "96",
        "task": "detect",
        "names": "red,green",
    }
    assert client.list_artifacts(version.run_id) == []
    files = download_version("imported_onnx", 1, tmp_path / "down", settings.mlflow_uri)
    assert files.onnx.read_bytes() == own.read_bytes()
    assert any(len(frame.expected) for frame in ParitySet.read(files.parity_set))


def test_a_checkpoint_is_exported_served_and_kept_to_train_on_from(
    checkpoint: Path,
    noise: Path,
    bring: Callable[..., Imported],
    settings: Settings,
    tmp_path: Path,
):
    name = "imported_checkpoint"
    assert bring(checkpoint, name, noise).version == 1
    client = MlflowClient(settings.mlflow_uri)
    version = client.get_model_version(name, "1")
    assert float(version.tags["parity.box_error"]) < 0.5
    (artifact,) = client.list_artifacts(version.run_id)
    kept = client.download_artifacts(version.run_id, artifact.path, str(tmp_path))
    assert artifact.path == "model.pt"
    assert Path(kept).read_bytes() == checkpoint.read_bytes()
    assert client.get_run(version.run_id).data.params["imgsz"] == str(IMGSZ)
    assert Promoter(settings).promote(name, 1).changed
    assert read_state(name, 1, tracking_uri=settings.mlflow_uri).state == "ready"

    # The same bytes are the same version, whatever they are called and proven on.
    again = tmp_path / "again.pt"
    shutil.copyfile(checkpoint, again)
    assert bring(again, name) == Imported(1, made=False)
    assert bring(checkpoint, name, noise, imgsz=64).version == 2
    assert bring(checkpoint, name, noise, imgsz=64).version == 2
    assert bring(checkpoint, name, noise).version == 1
    runs = client.search_runs([client.get_run(version.run_id).info.experiment_id])
    assert len([run for run in runs if run.info.run_name == f"import {name}"]) == 2


def recarded(path: Path, card: ModelCard) -> Path:
    onnx.save(graft(plain_tiny_model(), card), path)
    return path


def test_what_is_not_fit_is_refused_and_not_registered(
    bring: Callable[..., Imported], settings: Settings, own: Path, tmp_path: Path
):
    client = MlflowClient(settings.mlflow_uri)
    before = {run.info.run_id for run in _runs(client)}
    text = tmp_path / "text.pt"
    text.write_bytes(b"no checkpoint")
    spec = SPECS["detect"].model_copy(update={"names": ("a\nb", "c")})
    refused: list[tuple[tuple, type[ActverseError], str]] = [
        ((tmp_path / "gone.onnx",), NotFound, r"gone\.onnx"),
        ((text,), BadInput, r"^text\.pt cannot be loaded as a trained model"),
        ((own.rename(own.with_suffix(".engine")),), BadInput, r"ends in \.pt or \.onnx"),
        ((recarded(own, ModelCard(labels=spec, imgsz=96)),), BadInput, r"'a\\nb'"),
        ((_plain(tmp_path / "plain.onnx"),), BadInput, "export it with actverse"),
        ((_blind(tmp_path / "b.onnx"),), BadInput, "finds nothing in any of the images"),
        ((_tiny(tmp_path / "t.onnx"), tmp_path / "empty"), BadInput, "empty"),
    ]
    (tmp_path / "empty").mkdir()
    for (file, *images), error, sentence in refused:
        with pytest.raises(error, match=sentence) as caught:
            bring(file, "unfit_import", *images)
        assert "actverse-import" not in str(caught.value)
    with pytest.raises(BadInput, match="leave imgsz out"):
        bring(_tiny(tmp_path / "t.onnx"), "unfit_import", imgsz=320)
    with pytest.raises(BadInput, match="model name"):
        bring(_tiny(tmp_path / "t.onnx"), "un/fit")
    assert client.search_registered_models("name = 'unfit_import'") == []
    assert {run.info.run_id for run in _runs(client)} == before


def test_a_run_whose_import_breaks_is_said_to_have_failed(
    own: Path, bring: Callable[..., Imported], settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object, **__: object) -> int:
        raise BadInput("The registry is full.")

    monkeypatch.setattr("components.registry.import_model.register_model", broken)
    with pytest.raises(BadInput, match="full"):
        bring(own, "breaking_import")
    (run,) = (
        run
        for run in _runs(MlflowClient(settings.mlflow_uri))
        if run.info.run_name == "import breaking_import"
    )
    assert run.info.status == "FAILED"


def _plain(path: Path) -> Path:
    onnx.save(plain_tiny_model(), path)
    return path


def _blind(path: Path) -> Path:
    """One that no colour is enough for."""
    model = plain_tiny_model()
    (gain,) = (node for node in model.graph.node if node.output[0] == "threshold")
    gain.attribute[0].t.CopyFrom(numpy_helper.from_array(np.asarray(9, np.float32)))
    onnx.save(graft(model, ModelCard(labels=SPECS["detect"], imgsz=96)), path)
    return path


def _tiny(path: Path) -> Path:
    write_tiny_model(path)
    return path


def _runs(client: MlflowClient) -> list:
    experiment = client.get_experiment_by_name("actverse")
    return client.search_runs([experiment.experiment_id]) if experiment else []
