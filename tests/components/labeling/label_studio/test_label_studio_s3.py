"""Label Studio over an S3 storage: the images come by links that it signs itself."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from components.labeling.backend import ProjectPlan
from components.labeling.label_studio.backend import LabelStudioBackend
from components.labeling.wanted import WantedLabels
from components.storage import open_storage
from tests.helpers.label_studio import (
    LabelStudioServer,
    missing_label_studio,
    running_label_studio,
)
from tests.helpers.s3_server import CREDENTIALS, running_s3

pytestmark = pytest.mark.label_studio


@pytest.fixture
def over_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[LabelStudioServer]:
    if why := missing_label_studio():
        pytest.skip(why)
    assert request.config.cache is not None
    cache = request.config.cache.mkdir("label_studio")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_s3(tmp_path) as store:
        root = f"s3://{store.new_bucket()}/some/prefix"
        with running_label_studio(
            tmp_path / "tool", cache, root=root, s3_endpoint=store.endpoint
        ) as server:
            yield server


def test_images_come_from_the_bucket(over_s3: LabelStudioServer) -> None:
    storage = open_storage(over_s3.settings)
    frames = storage.layout.frames("t-1")
    frames.mkdir(parents=True)
    image = frames / "frame_000001.jpg"
    cv2.imwrite(str(image), np.full((48, 64, 3), 9, np.uint8))
    storage.keep(frames)
    backend = LabelStudioBackend(over_s3.settings, storage)
    plan = ProjectPlan("mice-t-1", "t-1", frames, frames / "none", WantedLabels(names=("mouse",)))
    project = backend.open(plan)
    assert backend.open(plan) == project
    assert backend.state(project).total == 1
    sdk = over_s3.sdk()
    (kept,) = sdk.import_storage.s3.list(project=int(project["project"]))
    assert kept.presign
    with over_s3.logged_in() as person:
        (task,) = person.get("/api/tasks/", params={"project": project["project"]}).json()["tasks"]
        data = person.get(f"/api/tasks/{task['id']}/").json()["data"]
        answer = person.get(data["image"])
        link = answer.headers["location"]
        assert link.startswith(over_s3.settings.s3_endpoint)
        assert "Signature=" in link
    assert httpx.get(link, trust_env=False).content == image.read_bytes()
