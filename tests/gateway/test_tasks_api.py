"""POST /tasks/ and GET /status/{task_id} over a real database."""

import pytest
from fastapi.testclient import TestClient

from gateway.app import create_app
from gateway.keys import create_key

BODY = {"file_path": "clips/a.mp4", "labels_path": "labels"}


def test_a_posted_task_can_be_looked_at(client: TestClient):
    created = client.post("/tasks/", json=BODY)
    assert created.status_code == 202
    status = client.get(created.headers["location"]).json()
    assert status["task_id"] == created.json()["task_id"]
    assert status["user_id"] == "ada"
    process = status["process_status"]
    assert process["state"] == "queued"
    assert [step["name"] for step in process["steps"]] == [
        "download", "validate", "convert", "extract", "labels",
        "dataset", "train", "export", "register", "deploy",
        "analyse", "results",
    ]  # fmt: skip


@pytest.mark.parametrize("key", [None, "", "av_wrong"])
def test_without_a_valid_key_nothing_is_told(client: TestClient, key: str | None):
    client.headers.pop("X-API-Key")
    headers = {} if key is None else {"X-API-Key": key}
    for answer in (
        client.post("/tasks/", json=BODY, headers=headers),
        client.get("/status/t-1", headers=headers),
    ):
        assert answer.status_code == 401
        assert answer.json()["type"] == "urn:actverse:problem:Unauthorized"


def test_another_users_task_is_not_there(client, settings, sessions):
    task_id = client.post("/tasks/", json=BODY).json()["task_id"]
    with sessions.begin() as session:
        other = create_key(session, settings, "bob")
    answer = TestClient(create_app(settings)).get(
        f"/status/{task_id}", headers={"X-API-Key": other}
    )
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:actverse:problem:NotFound"


@pytest.mark.parametrize(
    "change",
    [
        {"file_path": "../bob/secret.mp4"},
        {"file_path": "/etc/passwd"},
        {"labels_path": "../../labels"},
        {"labels_path": "a/../../../b"},
        {"training": {"weights": "/root/model.pt"}},
        {"training": {"weights": "key:../x.pt"}},
        {"user_id": "bob"},
        {"file_path": ""},
        {"held_out": 1.5},
        {"task": "segment"},
        {"training": {"epochs": 0}},
        {"unknown": 1},
    ],
)
def test_what_cannot_be_used_is_refused_by_a_problem_document(client: TestClient, change: dict):
    answer = client.post("/tasks/", json={**BODY, **change})
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "detail"}


def test_a_key_is_stored_only_as_a_keyed_hash(settings, sessions, api_key):
    database = (settings.home / "actverse.db").read_bytes()
    wal = settings.home / "actverse.db-wal"
    assert api_key.encode() not in database + (wal.read_bytes() if wal.exists() else b"")


def test_the_gateway_is_alive_but_not_ready_without_a_worker(client: TestClient):
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "worker" in answer.json()["detail"]


def test_what_nobody_foresaw_is_a_problem_document_without_our_insides(settings, api_key):
    upset = TestClient(create_app(settings), raise_server_exceptions=False)
    upset.app.state.sessions = None
    answer = upset.get("/status/t-1", headers={"X-API-Key": api_key})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "NoneType" not in answer.text
