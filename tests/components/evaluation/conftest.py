"""Datasets of frames whose truth is known."""

from pathlib import Path

import pytest

from components.dataset.build import build_dataset
from tests.helpers.blobs import write_labelled_blobs
from tests.helpers.tiny_onnx import SPECS


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset with six held-out frames, by task."""
    made = {}
    for task, spec in SPECS.items():
        folder = write_labelled_blobs(tmp_path_factory.mktemp(task), task, 12)
        made[task] = folder / "dataset"
        build_dataset(folder, folder, made[task], spec, held_out=0.5)
    return made
