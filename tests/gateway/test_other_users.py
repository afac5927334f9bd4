"""What is another user's is nobody else's: every endpoint that names a thing, by one table."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions
from gateway.keys import add_key
from gateway.models import ModelName, Task
from gateway.tasks import create_task
from gateway.work import Work

LEARNING = {"names": ["mouse"]}
# Method, path, body, and what a stranger is answered: 404 where the thing is named (nobody
# learns that it is there), 403 where the user is, 409 where a name is taken.
TABLE: list[tuple[str, str, dict[str, Any] | None, int]] = [
    ("get", "/status/{task_id}", None, 404),
    ("delete", "/tasks/{task_id}", None, 404),
    ("get", "/tasks/{task_id}/results", None, 404),
    ("get", "/tasks/{task_id}/results/{path}", None, 404),
    ("get", "/tasks/{task_id}/events", None, 404),
    ("get", "/tasks/?after={task_id}", None, 404),
    ("get", "/training/{task_id}", None, 404),
    ("get", "/labeling/{task_id}", None, 404),
    ("get", "/labeling/{task_id}/labels", None, 404),
    ("post", "/labeling/{task_id}/labels", {"labels_path": "own.zip"}, 404),
    ("post", "/labeling/{task_id}/finish", None, 404),
    ("post", "/labeling/{task_id}/restore", None, 404),
    ("post", "/labeling/{task_id}/rounds", {}, 404),
    ("post", "/models/{task_id}/inference", {"data_path": "own.mp4"}, 404),
    ("delete", "/keys/{key_id}", None, 404),
    ("delete", "/notifications/rules/{rule_id}", None, 404),
    ("post", "/notifications/rules/{rule_id}/test", None, 404),
    ("get", "/files/{key}", None, 404),
    ("delete", "/files/{key}", None, 404),
    ("get", "/files/{key}?user_id=ada", None, 403),
    ("put", "/files/{key}?user_id=ada", None, 403),
    ("delete", "/files/{key}?user_id=ada", None, 403),
    ("get", "/files/?user_id=ada", None, 403),
    ("post", "/labeling", {"folder_path": "own", "task_id": "{task_id}", "user_id": "bob"}, 404),
    ("post", "/deployments", {"task_id": "{task_id}"}, 404),
    # A key is below the caller's own prefix: another's is not there. A whole task is taken
    # (202), and fails at the step that looks for it.
    ("post", "/tasks/", {"file_path": "{key}", **LEARNING}, 202),
    ("post", "/tasks/", {"file_path": "own.mp4", "labels_path": "{key}"}, 202),
    ("post", "/tasks/", {"file_path": "own.mp4", "model_name": "adas", **LEARNING}, 409),
    ("post", "/tasks/", {"file_path": "own.mp4", "training": {"weights": "key:{key}"}}, 202),
    ("post", "/video/download", {"file_path": "{key}", "download_path": "x.mp4"}, 404),
    ("post", "/video/extract-frames", {"file_path": "{key}", "num_frames": 5}, 404),
    ("post", "/video/upload", {"file_path": "{key}", "upload_path": "x.mp4"}, 404),
    ("post", "/training", {"data_path": "{key}", "mode_train_info": {}}, 404),
    ("post", "/deployments", {"task_id": "{own_id}", "model_path": "{key}"}, 404),
    ("post", "/models", {"name": "x", "model_path": "{key}"}, 404),
    ("post", "/models", {"name": "x", "model_path": "own.onnx", "images_path": "{key}"}, 404),
    # Nobody acts for another.
    ("post", "/tasks/", {"file_path": "own.mp4", "user_id": "ada", **LEARNING}, 403),
    ("post", "/video/download", {"file_path": "o", "download_path": "x", "user_id": "ada"}, 403),
    ("post", "/video/extract-frames", {"file_path": "own.mp4", "user_id": "ada"}, 403),
    ("post", "/video/upload", {"file_path": "own.mp4", "upload_path": "x", "user_id": "ada"}, 403),
    ("post", "/training", {"data_path": "own", "mode_train_info": {}, "user_id": "ada"}, 403),
    ("post", "/labeling", {"folder_path": "own", "task_id": "{own_id}", "user_id": "ada"}, 403),
    ("post", "/labeling/{own_id}/labels", {"labels_path": "own", "user_id": "ada"}, 403),
    ("post", "/keys/", {"user_id": "ada"}, 403),
    ("post", "/keys/", {"user_id": "bob", "role": "admin"}, 403),
]
# They name nothing, or are signed and not a user's.
NAMELESS = {
    ("get", "/tasks/"),
    ("get", "/keys/"),
    ("get", "/models"),
    ("get", "/notifications/rules"),
    ("post", "/notifications/rules"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("post", "/webhooks/mlflow"),
    ("post", "/webhooks/label-studio"),
    ("post", "/webhooks/pipelines"),
}


@pytest.fixture
def things(
    client: TestClient, bob: TestClient, settings: Settings, sessions: Sessions
) -> dict[str, str]:
    """Ada's task, key, rule and file; and what bob has of his own."""
    with sessions.begin() as session:
        work = Work(file_path="a.mp4", model_name="adas")
        task = create_task(session, "ada", "loop", work)
        session.add(ModelName(name="adas", user_id="ada"))
        own = create_task(session, "bob", "upload", Work(file_path="a.mp4"))
        _, key = add_key(session, settings, "ada")
        found = {"task_id": task.id, "own_id": own.id, "key_id": str(key.id)}
    assert client.put("/files/hers/a.onnx", content=b"abc").status_code == 201
    for name in ("own.mp4", "own.onnx", "own/a.png"):
        assert bob.put(f"/files/{name}", content=b"abc").status_code == 201
    rule = {"url": "json://hooks.example.org/x", "events": ["STEP_FAILED"]}
    answer = client.post("/notifications/rules", json=rule)
    assert answer.status_code == 201, answer.text
    return {**found, "rule_id": str(answer.json()["id"]), "key": "hers/a.onnx", "path": "a.csv"}


def _filled(value: Any, things: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one, things) for name, one in value.items()}
    if isinstance(value, str):
        for name, thing in things.items():
            value = value.replace(f"{{{name}}}", thing)
    return value


def test_another_users_things_are_refused(
    client: TestClient, bob: TestClient, sessions: Sessions, things: dict[str, str]
):
    """One after the other on one gateway: what is refused changes nothing."""
    before = _everything(client, sessions)
    for method, path, body, status in TABLE:
        more = {"json": _filled(body, things)} if body is not None else {}
        answer = bob.request(method, _filled(path, things), **more)
        assert answer.status_code == status, (method, path, body, answer.text)
        if status >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
    assert _everything(client, sessions) == before


def _everything(client: TestClient, sessions: Sessions) -> list[Any]:
    """What ada has, as far as anybody could change it."""
    with sessions() as session:
        hers = session.query(Task).where(Task.user_id == "ada")
        tasks = [(task.id, task.state, task.revision) for task in hers]
    asked = [client.get(path).json() for path in ("/files/", "/notifications/rules", "/keys/")]
    return [tasks, *asked, client.get("/files/hers/a.onnx").content]


def test_lists_hold_ones_own_alone(client: TestClient, bob: TestClient, things: dict[str, str]):
    for path in ("/tasks/", "/notifications/rules", "/files/", "/keys/"):
        said = bob.get(path).text
        assert bob.get(path).status_code == 200
        for name in ("task_id", "key"):
            assert things[name] not in said, path
    assert bob.get("/notifications/rules").json()["rules"] == []
    assert {key["user_id"] for key in bob.get("/keys/").json()["keys"]} == {"bob"}


def test_every_endpoint_is_in_the_table(settings: Settings):
    described = create_app(settings).openapi()["paths"]
    there = {(method, path) for path, methods in described.items() for method in methods}
    named = {(method, path.partition("?")[0]) for method, path, *_ in TABLE}
    named = {(method, path.replace("{own_id}", "{task_id}")) for method, path in named}
    assert there - named - NAMELESS == set()
    assert (named | NAMELESS) - there == set()
