"""Small real exports and registered versions, for tests of what comes after the export."""

from pathlib import Path
from typing import Literal

import numpy as np
from mlflow import MlflowClient

from components.letterbox import Letterbox
from components.onnx_model import OnnxModel
from components.parity_set import ParityFrame, ParitySet
from components.registry.register import register_model
from tests.helpers.tiny_onnx import draw_frame, write_tiny_model

CONFIDENCE, IOU = 0.25, 0.7
SOURCE_WH = (160, 120)


def frames(count: int, *, seed: int = 0) -> list[np.ndarray]:
    """Frames that each show the tiny model something else."""
    return [draw_frame(SOURCE_WH, seed=seed + number)[0] for number in range(count)]


IMAGES = Letterbox.of(SOURCE_WH, 96).apply(frames(1)[0])[None]
"""One frame as a model's input."""


def write_export(
    folder: Path, *, seed: int = 0, task: Literal["detect", "pose"] = "detect"
) -> Path:
    """An export as the export step leaves it: the file, its parity set and the report."""
    write_tiny_model(folder / "model.onnx", task=task, seed=seed)
    model = OnnxModel(folder / "model.onnx", threads=1)
    shown = frames(2)
    found = model.detect(shown, confidence=CONFIDENCE, iou=IOU)
    assert all(len(one) for one in found), "the tiny model finds nothing to compare"
    pairs = zip(shown, found, strict=True)
    ParitySet(CONFIDENCE, IOU, tuple(ParityFrame(*pair) for pair in pairs)).write(
        folder / "parity_set"
    )
    (folder / "parity.json").write_text('{"box_error": 0.01, "frames": 2}')
    return folder


def other_findings(export: Path) -> None:
    """Make the parity set expect boxes 3 px from where the model finds them."""
    wrong = []
    for frame in ParitySet.read(export / "parity_set"):
        found = frame.expected.where(np.arange(len(frame.expected)))
        found.xyxy[:] += 3
        wrong.append(ParityFrame(frame.frame_bgr, found))
    ParitySet(CONFIDENCE, IOU, tuple(wrong)).write(export / "parity_set")


def boxes_of(export: Path) -> bytes:
    """The boxes that the export's model finds in ``IMAGES``; they tell the seeds apart."""
    return OnnxModel(export / "model.onnx", threads=1).infer(IMAGES)["boxes"].tobytes()


def finished_run(tracking_uri: str) -> str:
    """A training's run that has ended."""
    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("trainings")
    experiment_id = (
        experiment.experiment_id if experiment else client.create_experiment("trainings")
    )
    run_id: str = client.create_run(experiment_id).info.run_id
    client.log_param(run_id, "epochs", 3)
    client.set_terminated(run_id)
    return run_id


def register(export: Path, name: str, tracking_uri: str) -> int:
    """Register an export under a finished run of its own."""
    return register_model(
        export,
        name=name,
        run_id=finished_run(tracking_uri),
        tracking_uri=tracking_uri,
        metrics={"mAP50": 0.91},
        dataset_digest="d1",
        tags={"task_id": "t1"},
    )
