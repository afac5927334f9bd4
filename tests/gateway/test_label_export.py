"""A task's labels downloaded, also such as were taken before they were kept in one file."""

import io
import zipfile

import pytest
from fastapi.testclient import TestClient

from components.labeling.draft import KEPT, save_draft
from components.labeling.formats import open_format
from components.labeling.label_set import LabelSet
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec
from tests.helpers.label_images import make_images
from tests.helpers.tasks import succeed

SPEC = LabelSpec(names=("mouse",))
LINE = "0 0.5 0.5 0.25 0.25\n"


@pytest.mark.parametrize("kept", [True, False])
def test_labels_are_downloaded_with_their_images(client: TestClient, settings, sessions, kept):
    client.put("/files/a.mp4", content=b"video")
    task_id = client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]
    succeed(sessions, task_id, {"labels": {"spec": SPEC.model_dump(mode="json")}})
    frames = settings.layout.frames(task_id)
    make_images(frames, "frame_000003.png")
    labels = settings.layout.labels(task_id)
    labels.mkdir(parents=True)
    (labels / "frame_000003.txt").write_text(LINE)
    if kept:
        images = {"frame_000003": frames / "frame_000003.png"}
        found = open_format("yolo").read(labels, WantedLabels(names=SPEC.names), images)
        save_draft(LabelSet(SPEC, found.frames), labels / KEPT)
    answer = client.get(f"/labeling/{task_id}/labels", params={"images": True})
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        text = packed.read("labels/frame_000003.txt").decode()
        assert [float(value) for value in text.split()] == [0, 0.5, 0.5, 0.25, 0.25]
        assert packed.read("images/frame_000003.png") == (frames / "frame_000003.png").read_bytes()
    assert not list(settings.home.glob("labels-*.zip"))
