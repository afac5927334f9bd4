"""Labelling over REST: asked for, and how far it is."""

import pytest
from fastapi.testclient import TestClient

from tests.helpers.tasks import set_step, succeed


@pytest.fixture
def task_id(client: TestClient, sessions) -> str:
    """A task that has extracted frames."""
    client.put("/files/a.mp4", content=b"video")
    made = client.post("/video/extract-frames", json={"file_path": "a.mp4"}).json()
    client.put(f"/files/{made['frame_path']}/frame_000000.jpg", content=b"jpeg")
    succeed(sessions, made["task_id"])
    return made["task_id"]


def _ask(client: TestClient, task_id: str, **change):
    body = {"folder_path": f"frames/{task_id}", "task_id": task_id, "user_id": "ada"}
    return client.post("/labeling", json={**body, **change})


def test_a_task_goes_on_with_its_labels(client: TestClient, task_id: str, sessions):
    assert client.get(f"/labeling/{task_id}").status_code == 404
    answer = _ask(client, task_id)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/labeling/{task_id}"
    status = client.get(answer.headers["location"]).json()
    assert (status["labelled"], status["total"], status["state"]) == (0, 0, "pending")
    assert status["rounds"] == [{"round": 1, "task_id": task_id, "state": "queued", "reopens": ""}]
    facts = {
        "tool": "label-studio", "project": "7", "url": "http://tool/projects/7", "frames": 9,
        "preannotated_by": "global 3", "note": "",
    }  # fmt: skip
    set_step(sessions, task_id, "labeling", state="succeeded", facts=facts)
    looked = {"skipped": 1, "total": 9}
    set_step(sessions, task_id, "labels", state="waiting", done=5, total=9, facts=looked)
    status = client.get(f"/labeling/{task_id}").json()
    assert (status["labelled"], status["skipped"], status["total"]) == (4, 1, 9)
    assert (status["state"], status["tool"], status["project"]) == ("waiting", "label-studio", "7")
    assert (status["url"], status["preannotated_by"]) == ("http://tool/projects/7", "global 3")
    assert _ask(client, task_id).status_code == 400


def test_what_cannot_be_labelled_is_refused(client, bob, admin, task_id: str):
    assert _ask(client, task_id, folder_path="nowhere").status_code == 404
    assert _ask(client, task_id, folder_path="a.mp4").status_code == 404
    assert _ask(client, task_id, folder_path="../ada").status_code == 400
    assert _ask(client, "t-000000000000").status_code == 404
    assert _ask(client, "t\0").status_code == 400
    assert _ask(client, task_id, user_id="bob").status_code == 403
    assert _ask(bob, task_id, user_id="bob").status_code == 404
    running = client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]
    assert _ask(client, running, folder_path=f"frames/{task_id}").status_code == 400
    assert _ask(admin, task_id).status_code == 202
