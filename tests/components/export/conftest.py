from pathlib import Path

import pytest
from helpers.checkpoints import SIZES, write_checkpoint, write_held_out


@pytest.fixture(scope="session")
def datasets(tmp_path_factory) -> dict[str, Path]:
    """A dataset by task."""
    folder = tmp_path_factory.mktemp("datasets")
    return {task: write_held_out(folder / task, task, SIZES) for task in ("detect", "pose")}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """model.pt by task."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        "detect": write_checkpoint(folder / "detect.pt", "yolo11n"),
        "pose": write_checkpoint(folder / "pose.pt", "yolo11n-pose"),
    }
