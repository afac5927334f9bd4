"""One real Label Studio for all tests of this folder, and projects of their own for each."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.labeling.backend import ProjectPlan
from components.labeling.label_studio.backend import LabelStudioBackend
from components.labeling.wanted import WantedLabels
from components.storage import Storage, open_storage
from tests.helpers.label_studio import (
    LabelStudioServer,
    missing_label_studio,
    running_label_studio,
)

SIZE = 64, 48
MOUSE = WantedLabels(names=("mouse", "rat"))
POSE = WantedLabels(task="pose", names=("mouse",), keypoints=("nose", "tail"))


@pytest.fixture(scope="session")
def label_studio(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[LabelStudioServer]:
    if why := missing_label_studio():
        pytest.skip(why)
    assert request.config.cache is not None
    cache = request.config.cache.mkdir("label_studio")
    with running_label_studio(tmp_path_factory.mktemp("label_studio"), cache) as server:
        yield server


@pytest.fixture
def storage(label_studio: LabelStudioServer) -> Storage:
    return open_storage(label_studio.settings)


@pytest.fixture
def backend(label_studio: LabelStudioServer, storage: Storage) -> LabelStudioBackend:
    return LabelStudioBackend(label_studio.settings, storage)


@pytest.fixture
def new_plan(storage: Storage) -> Callable[..., ProjectPlan]:
    """Make a plan with ``count`` frames of its own, and predictions by the text given."""

    def make(
        count: int = 3,
        wanted: WantedLabels = MOUSE,
        *,
        predictions: str = "",
        classes: tuple[str, ...] = (),
        model: str = "",
    ) -> ProjectPlan:
        task_id = f"t-{uuid.uuid4().hex[:12]}"
        frames = storage.layout.frames(task_id)
        found = storage.layout.preannotations(task_id)
        add_frames(frames, range(count))
        if predictions:
            found.mkdir(parents=True)
            (found / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
            for image in frames.iterdir():
                (found / f"{image.stem}.txt").write_text(predictions)
        return ProjectPlan(f"mice-{task_id}", task_id, frames, found, wanted, model)

    return make


def add_frames(folder: Path, numbers: range) -> None:
    """Write images that differ by their brightness."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image = np.full((SIZE[1], SIZE[0], 3), number % 256, np.uint8)
        assert cv2.imwrite(str(folder / f"frame_{number:06d}.jpg"), image)


def images_of(plan: ProjectPlan) -> dict[str, Path]:
    """The frames of a plan, by stem."""
    return {path.stem: path for path in sorted(plan.frames.iterdir())}
