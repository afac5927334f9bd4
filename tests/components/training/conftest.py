"""A real tracking server and small datasets to train on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from components import ultralytics_env
from components.dataset.build import build_dataset
from components.labels import LabelSpec

DETECT = LabelSpec(names=("disc", "square"))
POSE = LabelSpec(
    task="pose", names=("fish",), keypoints=("head", "tail", "fin"), flip_idx=(0, 1, 2)
)


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Draws a few frames of moving shapes and makes a dataset of them."""

    def make(spec: LabelSpec = DETECT, frames: int = 10, side: int = 96) -> Path:
        folder = tmp_path_factory.mktemp("shapes")
        rng = np.random.default_rng(0)
        coarse = rng.integers(60, 180, (side // 4, side // 4, 3), np.uint8)
        ground = cv2.resize(coarse, (side, side))
        for index in range(frames):
            image, lines = ground.copy(), []
            for class_id in range(len(spec.names)):
                x, y = 0.3 + 0.03 * (index % 13), 0.3 + 0.4 * class_id
                centre = round(x * side), round(y * side)
                cv2.circle(image, centre, side // 10, (40, 200 * class_id, 230), -1)
                points = "".join(
                    f" {x:.4f} {y + 0.05 * k:.4f} 2" for k in range(len(spec.keypoints))
                )
                lines.append(f"{class_id} {x:.4f} {y:.4f} 0.2 0.2{points}\n")
            cv2.imwrite(str(folder / f"frame_{index:06d}.png"), image)
            (folder / f"frame_{index:06d}.txt").write_text("".join(lines))
        build_dataset(folder, folder, folder / "dataset", spec)
        return folder / "dataset"

    return make


@pytest.fixture(scope="session")
def detect_dataset(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(DETECT)


@pytest.fixture(scope="session")
def pose_dataset(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(POSE)


@pytest.fixture(scope="session")
def mlflow_uri(mlflow_server: str) -> str:
    """The address of the session's MLflow server."""
    return mlflow_server


@pytest.fixture
def poisoned_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loss is not a number."""
    ultralytics_env.prepare()
    from ultralytics.utils.loss import v8DetectionLoss

    compute = v8DetectionLoss.__call__

    def poisoned(self: v8DetectionLoss, *args: Any) -> Any:
        loss, items = compute(self, *args)
        return loss * float("nan"), items

    monkeypatch.setattr(v8DetectionLoss, "__call__", poisoned)
