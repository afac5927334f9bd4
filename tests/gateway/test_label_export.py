"""A task's labels downloaded, also such as were taken before they were kept in one file."""

import asyncio
import io
import zipfile

import pytest
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect
from starlette.types import Message

from components.labeling.draft import KEPT, save_draft
from components.labeling.formats import open_format
from components.labeling.label_set import LabelSet
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec
from gateway.at_once import AtOnce
from tests.helpers.label_images import make_images
from tests.helpers.tasks import succeed

SPEC = LabelSpec(names=("mouse",))
LINE = "0 0.5 0.5 0.25 0.25\n"


@pytest.fixture
def task_id(client: TestClient, settings, sessions) -> str:
    """A task of ada's with the labels of one frame."""
    client.put("/files/a.mp4", content=b"video")
    task_id = client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]
    succeed(sessions, task_id, {"labels": {"spec": SPEC.model_dump(mode="json")}})
    make_images(settings.layout.frames(task_id), "frame_000003.png")
    labels = settings.layout.labels(task_id)
    labels.mkdir(parents=True)
    (labels / "frame_000003.txt").write_text(LINE)
    return task_id


@pytest.mark.parametrize("kept", [True, False])
def test_labels_are_downloaded_with_their_images(client: TestClient, settings, task_id, kept):
    labels, frame = settings.layout.labels(task_id), settings.layout.frames(task_id)
    frame /= "frame_000003.png"
    if kept:
        found = open_format("yolo").read(
            labels, WantedLabels(names=SPEC.names), {"frame_000003": frame}
        )
        save_draft(LabelSet(SPEC, found.frames), labels / KEPT)
    answer = client.get(f"/labeling/{task_id}/labels", params={"images": True})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Length"] == str(len(answer.content))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        text = packed.read("labels/frame_000003.txt").decode()
        assert [float(value) for value in text.split()] == [0, 0.5, 0.5, 0.25, 0.25]
        assert packed.read("images/frame_000003.png") == frame.read_bytes()


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=999999999-"}, {"Range": "bytes=x"}])
def test_nothing_is_left_of_a_download(client: TestClient, settings, task_id, headers):
    client.get(f"/labeling/{task_id}/labels", params={"images": True}, headers=headers)
    assert not list(settings.home.glob("labels-*"))


def test_nothing_is_left_of_a_download_that_breaks_off(
    client: TestClient, settings, task_id, api_key
):
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "GET",
        "path": f"/labeling/{task_id}/labels",
        "query_string": b"images=true",
        "headers": [(b"x-api-key", api_key.encode())],
        "app": client.app,
    }
    sent = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            raise OSError("the client is gone")

    with pytest.raises(ClientDisconnect):
        asyncio.run(client.app(scope, receive, send))
    assert sent == ["http.response.start", "http.response.body"]
    assert not list(settings.home.glob("labels-*"))


def test_who_downloads_too_much_at_once_is_to_wait(client: TestClient, task_id):
    exports: AtOnce = client.app.state.exports
    address = f"/labeling/{task_id}/labels"

    def status(**params: bool) -> int:
        return client.get(address, params=params).status_code

    with exports.one_of("ada"):
        answer = client.get(address, params={"images": True})
        assert answer.status_code == 429
        assert answer.json()["type"] == "urn:actverse:problem:TooManyRequests"
        assert int(answer.headers["Retry-After"]) >= 1
        assert status(images=False) == 200
    with exports.one_of("bob"):
        assert status(images=True) == 200
        with exports.one_of("cleo"), exports.one_of("dan"):
            assert status(images=True) == 429
    assert [status(images=True) for _ in range(2)] == [200, 200]
