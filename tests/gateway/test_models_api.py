"""Models over REST: brought to be served, listed, asked."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from components.labels import LabelSpec
from components.served_model import ModelCard
from components.serving.status import ServedModel
from gateway.api.models import described
from gateway.model_names import models_of
from gateway.models import Task
from tests.helpers.tasks import succeed

REGISTERED = {"state": "succeeded", "facts": {"model": "ada-detect", "version": 3}}


@pytest.fixture(autouse=True)
def _own_files(client: TestClient) -> None:
    client.put("/files/a.mp4", content=b"video")
    client.put("/files/model.onnx", content=b"onnx")


@pytest.fixture
def trained(client: TestClient, sessions) -> str:
    """A task that has trained, registered and deployed a model."""
    task_id = client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]
    succeed(
        sessions,
        task_id,
        {"training": {"pipeline": {"register": REGISTERED, "deploy": REGISTERED}}},
    )
    return task_id


@pytest.fixture
def untrained(client: TestClient) -> str:
    return client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]


def _work(sessions, task_id: str) -> dict:
    with sessions() as session:
        task = session.get_one(Task, task_id)
        return {"kind": task.kind, "user_id": task.user_id, **task.request}


def test_the_version_that_a_task_has_trained_is_deployed(client, sessions, trained):
    answer = client.post("/deployments", json={"task_id": trained})
    assert answer.status_code == 202, answer.text
    assert _work(sessions, answer.json()["task_id"]) == {
        "kind": "deployment",
        "user_id": "ada",
        "model_task_id": trained,
        "model_name": "ada-detect",
        "model_version": 3,
    }


def test_a_model_file_becomes_a_version_of_the_tasks_model(client, sessions, trained):
    body = {"task_id": trained, "model_path": "model.onnx"}
    answer = client.post("/deployments", json=body)
    work = _work(sessions, answer.json()["task_id"])
    assert (work["model_path"], work["model_name"]) == ("model.onnx", "ada-detect")
    assert "model_version" not in work


def test_an_administrators_deployment_is_the_owners(admin, sessions, trained):
    answer = admin.post("/deployments", json={"task_id": trained})
    assert _work(sessions, answer.json()["task_id"])["user_id"] == "ada"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model_path": "nowhere.onnx"}, 404),
        ({"model_path": "../bob/model.onnx"}, 400),
        ({"model_path": ""}, 400),
        ({"task_id": "t-000000000000"}, 404),
        ({"user_id": "bob"}, 403),
        ({"unknown": 1}, 400),
    ],
)
def test_what_cannot_be_deployed_is_refused(client, trained, body, status):
    answer = client.post("/deployments", json={"task_id": trained, **body})
    assert answer.status_code == status, answer.text


def test_a_task_that_has_trained_nothing_has_nothing_to_deploy_or_ask(client, untrained):
    assert client.post("/deployments", json={"task_id": untrained}).status_code == 404
    answer = client.post(f"/models/{untrained}/inference", json={"data_path": "a.mp4"})
    assert answer.status_code == 404


def test_a_video_is_analysed_with_a_tasks_model(client, sessions, trained):
    body = {
        "data_path": "a.mp4", "confidence": 0.5, "iou": 0.4, "batch_size": 2,
        "frame_skip": 3, "max_frames": 100,
    }  # fmt: skip
    answer = client.post(f"/models/{trained}/inference", json=body)
    assert answer.status_code == 202, answer.text
    task_id = answer.json()["task_id"]
    assert answer.json()["results"] == f"/tasks/{task_id}/results"
    assert _work(sessions, task_id) == {
        "kind": "inference", "user_id": "ada", "file_path": "a.mp4", "model_task_id": trained,
        "model_name": "ada-detect", "model_version": 3, "confidence": 0.5, "iou": 0.4,
        "batch_size": 2, "frame_skip": 3, "max_frames": 100,
    }  # fmt: skip


def test_a_deployed_file_can_be_asked_too(client, sessions, trained):
    body = {"task_id": trained, "model_path": "model.onnx"}
    task_id = client.post("/deployments", json=body).json()["task_id"]
    ask = {"data_path": "a.mp4"}
    assert client.post(f"/models/{task_id}/inference", json=ask).status_code == 404
    deployed = {"model": "ada-detect", "version": 4}
    succeed(sessions, task_id, {"register": deployed, "deploy": deployed})
    answer = client.post(f"/models/{task_id}/inference", json=ask)
    assert _work(sessions, answer.json()["task_id"])["model_version"] == 4


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"confidence": 0}, 422),
        ({"confidence": 1.5}, 422),
        ({"iou": 2}, 422),
        ({"batch_size": 65}, 422),
        ({"frame_skip": 0}, 422),
        ({"max_frames": -1}, 422),
        ({"confidence": "much"}, 422),
        ({"confidence": 2, "data_path": ""}, 400),
        ({"data_path": "nowhere.mp4"}, 404),
        ({"data_path": "../bob/a.mp4"}, 400),
        ({"user_id": "bob"}, 403),
    ],
)
def test_a_question_out_of_range_is_unprocessable(client, trained, change, status):
    answer = client.post(f"/models/{trained}/inference", json={"data_path": "a.mp4", **change})
    assert answer.status_code == status, answer.text


def test_without_triton_nothing_can_be_listed(client: TestClient):
    answer = client.get("/models")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:actverse:problem:Unavailable"
    assert answer.headers["retry-after"]
    client.app.state.settings.triton_url = "127.0.0.1:9"
    assert client.get("/models").status_code == 503


def test_a_users_models_are_those_of_their_tasks(client, bob, sessions, trained):
    client.post("/tasks/", json={"file_path": "a.mp4", "model_name": "mice"})
    client.post("/tasks/", json={"file_path": "a.mp4", "task": "pose"})
    with sessions() as session:
        assert models_of(session, "ada") == {"ada-detect", "ada-pose", "mice"}
        assert models_of(session, "bob") == set()


def test_only_the_models_of_ones_own_tasks_are_listed():
    card = ModelCard(labels=LabelSpec(names=("mouse",)), imgsz=320)
    mine = ServedModel("ada-detect", 3, (2, 3), card)
    served = [mine, replace(mine, model="other")]
    (model,) = described(served, {"ada-detect"}).model_dump()["models"]
    assert model == {
        "model": "ada-detect", "version": 3, "versions": [2, 3], "task": "detect",
        "names": ["mouse"], "keypoints": [], "imgsz": 320, "stride": 32,
    }  # fmt: skip
    assert described(served, set()).models == []
    assert len(described(served, None).models) == 2
