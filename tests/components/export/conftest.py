from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from components.export.export import ExportResult, export_model
from components.export.graft import graft
from components.export.reference import TrainedModel
from components.served_model import ModelCard
from tests.helpers.checkpoints import IMGSZ, SIZES, SPECS, write_checkpoint, write_held_out


@pytest.fixture(scope="session")
def datasets(tmp_path_factory) -> dict[str, Path]:
    """A dataset by task."""
    folder = tmp_path_factory.mktemp("datasets")
    return {task: write_held_out(folder / task, task, SIZES) for task in ("detect", "pose")}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """model.pt by task, each alone in its folder."""
    folder = tmp_path_factory.mktemp("checkpoints")
    architectures = {"detect": "yolo11n", "pose": "yolo11n-pose"}
    for task in architectures:
        (folder / task).mkdir()
    return {
        task: write_checkpoint(folder / task / "model.pt", architecture)
        for task, architecture in architectures.items()
    }


@pytest.fixture(scope="session")
def exported(checkpoints, datasets, tmp_path_factory) -> dict[str, ExportResult]:
    """The export of each checkpoint."""
    folder = tmp_path_factory.mktemp("exports")
    return {
        task: export_model(checkpoint, datasets[task], folder / task, SPECS[task], imgsz=IMGSZ)
        for task, checkpoint in checkpoints.items()
    }


@pytest.fixture(scope="session")
def trained(checkpoints) -> dict[str, TrainedModel]:
    """Each checkpoint, run by Ultralytics."""
    return {
        task: TrainedModel(checkpoint, SPECS[task], IMGSZ)
        for task, checkpoint in checkpoints.items()
    }


def _export_ungated(folder: Path, above: float) -> tuple[TrainedModel, Path]:
    checkpoint = write_checkpoint(folder / "model.pt", "yolo11n", above=above)
    trained = TrainedModel(checkpoint, SPECS["detect"], IMGSZ)
    (folder / "scratch").mkdir()
    plain = trained.export_plain(folder / "scratch", opset=17)
    onnx.save(graft(plain, ModelCard(labels=SPECS["detect"], imgsz=IMGSZ)), folder / "model.onnx")
    return trained, folder / "model.onnx"


@pytest.fixture(scope="session")
def shy(tmp_path_factory) -> tuple[TrainedModel, Path]:
    """A model, and its export, whose scores are low."""
    return _export_ungated(tmp_path_factory.mktemp("shy"), above=0.02)


@pytest.fixture(scope="session")
def blind(tmp_path_factory) -> tuple[TrainedModel, Path]:
    """A model, and its export, that finds nothing at all."""
    return _export_ungated(tmp_path_factory.mktemp("blind"), above=1e-6)


@pytest.fixture
def altered_copy(tmp_path) -> Callable[..., Path]:
    """Write a copy of an ONNX file after a change to its graph."""

    def alter(path: Path, change: Callable[[onnx.GraphProto], None]) -> Path:
        model = onnx.load(path)
        change(model.graph)
        onnx.save(model, tmp_path / "altered.onnx")
        return tmp_path / "altered.onnx"

    return alter
