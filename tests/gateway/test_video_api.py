"""Single pieces over REST: a video fetched, frames extracted, a file put elsewhere."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from gateway.models import Task


@pytest.fixture(autouse=True)
def _own_video(client: TestClient) -> None:
    client.put("/files/clips/a.mp4", content=b"video")


def _task(sessions, task_id: str) -> Task:
    with sessions() as session:
        task = session.get_one(Task, task_id)
        assert [step.name for step in task.steps]
        return task


@pytest.mark.parametrize(
    ("path", "body", "kind", "answered"),
    [
        (
            "/video/download",
            {"file_path": "https://example.org/a.mp4", "download_path": "b/c.mp4"},
            "download",
            {"download_path": "b/c.mp4"},
        ),
        (
            "/video/download",
            {"file_path": "clips/a.mp4", "download_path": "clips/a.mp4"},
            "download",
            {"download_path": "clips/a.mp4"},
        ),
        (
            "/video/extract-frames",
            {"file_path": "clips/a.mp4", "num_frames": 7, "strategy": "motion"},
            "extract",
            {"frame_path": "frames/{task_id}"},
        ),
        (
            "/video/upload",
            {"file_path": "clips/a.mp4", "upload_path": "kept/a.mp4"},
            "upload",
            {"upload_path": "kept/a.mp4"},
        ),
    ],
)
def test_each_piece_is_a_task_of_its_own(client, sessions, path, body, kind, answered):
    answer = client.post(path, json=body)
    assert answer.status_code == 202, answer.text
    task_id = answer.json()["task_id"]
    assert answer.headers["location"] == f"/status/{task_id}"
    assert answer.json() == {
        "task_id": task_id,
        **{name: value.format(task_id=task_id) for name, value in answered.items()},
    }
    task = _task(sessions, task_id)
    assert task.kind == kind
    assert {name: task.request.get(name) for name in body} == body
    assert client.get(answer.headers["location"]).status_code == 200
    headers = {"Idempotency-Key": "k"}
    again = [client.post(path, json=body, headers=headers).json()["task_id"] for _ in range(2)]
    assert again[0] == again[1] != task_id


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/video/download", {"download_path": "b.mp4"}),
        ("/video/extract-frames", {}),
        ("/video/upload", {"upload_path": "b.mp4"}),
    ],
)
def test_a_video_that_is_not_there_or_not_ones_own_is_told_at_once(
    client, bob, sessions, path, target
):
    bob.put("/files/theirs.mp4", content=b"1")
    for place, status in {
        "nowhere.mp4": 404,
        "clips": 404,
        "theirs.mp4": 404,
        "../bob/theirs.mp4": 400,
        "users/bob/theirs.mp4": 404,
        "/etc/passwd": 400,
        "a\0": 400,
        "file:///etc/passwd": 400,
        "gopher://example.org/": 400,
        "http://:80/": 400,
        "http://[::1": 400,
        "http://u:p@example.org/a.mp4": 400,
        "x" * 3000: 400,
    }.items():
        answer = client.post(path, json={"file_path": place, **target})
        assert answer.status_code == status, (place, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    named = {"file_path": "clips/a.mp4", **target, "user_id": "bob"}
    assert client.post(path, json=named).status_code == 403
    with sessions() as session:
        assert session.scalars(select(Task)).all() == []


@pytest.mark.parametrize(
    ("path", "name"),
    [("/video/download", "download_path"), ("/video/upload", "upload_path")],
)
@pytest.mark.parametrize("key", ["", "../x", "/x", "clips", "a/.hidden", "a//b", "a\\b"])
def test_a_place_that_cannot_be_written_is_refused(client, path, name, key: str):
    answer = client.post(path, json={"file_path": "clips/a.mp4", name: key})
    assert answer.status_code == 400, answer.text
