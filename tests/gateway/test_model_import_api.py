"""Models that were trained elsewhere, over REST: who may bring which, proven on what."""

import pytest
from fastapi.testclient import TestClient

from gateway.flows import FLOWS
from gateway.model_names import models_of
from gateway.models import Task
from tests.helpers.tasks import succeed


@pytest.fixture(autouse=True)
def _own_files(client: TestClient, admin: TestClient) -> None:
    for who in (client, admin):
        for key in ("mice.pt", "mice.onnx", "mice.zip", "a.mp4", "images/a.jpg"):
            who.put(f"/files/{key}", content=b"content")


def body(**changes: object) -> dict[str, object]:
    return {"model_path": "mice.pt", "name": "mice", "images_path": "images", **changes}


def _task(sessions, task_id: str) -> dict:
    with sessions() as session:
        task = session.get_one(Task, task_id)
        steps = [step.name for step in task.steps]
        return {"kind": task.kind, "user": task.user_id, "steps": steps, **task.request}


@pytest.mark.parametrize("images", ["images", "images/", "a.mp4"])
def test_a_model_is_imported_as_a_task_of_its_own(client, sessions, images: str):
    answer = client.post("/models", json=body(images_path=images, imgsz=320))
    assert answer.status_code == 202, answer.text
    task_id = answer.json()["task_id"]
    assert answer.headers["location"] == f"/status/{task_id}"
    assert _task(sessions, task_id) == {
        "kind": "model",
        "user": "ada",
        "steps": ["bring", "deploy"],
        "model_path": "mice.pt",
        "model_name": "mice",
        "images_path": images,
        "imgsz": 320,
    }
    assert FLOWS["model"] == (("bring",), ("deploy",))


def test_without_images_the_newest_frames_of_ones_own_are_taken(
    client, admin, sessions, settings, bob
):
    bare = body(images_path=None)
    refused = client.post("/models", json=bare)
    assert refused.status_code == 400
    assert "--images" in refused.json()["detail"]

    def extracted(who: TestClient) -> str:
        who.put("/files/a.mp4", content=b"video")
        made = who.post("/video/extract-frames", json={"file_path": "a.mp4"})
        task_id: str = made.json()["task_id"]
        succeed(sessions, task_id)
        frames = settings.layout.frames(task_id)
        frames.mkdir(parents=True)
        (frames / "frame_000001.jpg").write_bytes(b"jpg")
        return task_id

    extracted(client)
    newest = extracted(client)
    gone = extracted(client)
    (settings.layout.frames(gone) / "frame_000001.jpg").unlink()
    extracted(bob)
    answer = client.post("/models", json=bare)
    assert _task(sessions, answer.json()["task_id"])["images_task_id"] == newest
    assert admin.post("/models", json={**bare, "name": "others"}).status_code == 400


def test_the_global_model_is_an_administrators_to_bring(client, admin, sessions, settings):
    refused = client.post("/models", json=body(name="global"))
    assert refused.status_code == 403
    assert "administrator" in refused.json()["detail"]
    # By no other way either.
    loop = {"file_path": "a.mp4", "model_name": "global"}
    assert client.post("/tasks/", json=loop).status_code == 403
    train = {"data_path": "images", "mode_train_info": {}, "model_name": "global"}
    assert client.post("/training", json=train).status_code == 403

    answer = admin.post("/models", json=body(name="global"))
    assert answer.status_code == 202, answer.text
    assert _task(sessions, answer.json()["task_id"])["user"] == "grace"
    with sessions.begin() as session:
        session.get_one(Task, answer.json()["task_id"]).user_id = "hopper"
    assert admin.post("/models", json=body(name="global")).status_code == 202
    settings.global_model = "everybodys"
    client.app.state.settings.global_model = "everybodys"
    assert client.post("/models", json=body(name="everybodys")).status_code == 403


def test_a_name_is_the_users_who_took_it_first(client, bob, sessions):
    client.post("/models", json=body(name="shared"))
    for key in ("mice.pt", "images/a.jpg"):
        bob.put(f"/files/{key}", content=b"content")
    assert bob.post("/models", json=body(name="shared")).status_code == 409
    assert bob.post("/models", json=body(name="ada-detect")).status_code == 409
    with sessions() as session:
        assert models_of(session, "ada") == {"shared"}


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"model_path": "gone.pt"}, 404, "gone.pt"),
        ({"model_path": "mice.zip"}, 400, ".pt or .onnx"),
        ({"model_path": "../bob/mice.pt"}, 400, ""),
        ({"model_path": "https://example.org/mice.pt"}, 400, ""),
        ({"images_path": "gone"}, 404, "gone"),
        ({"images_path": "../bob/images"}, 400, ""),
        ({"name": "a/b"}, 400, "name"),
        ({"imgsz": 16}, 400, "imgsz"),
        ({"imgsz": 10**6}, 400, "imgsz"),
        ({"user_id": "bob"}, 403, "bob"),
        ({"unknown": 1}, 400, "unknown"),
    ],
)
def test_what_cannot_be_imported_is_refused_at_once(client, change, status: int, told: str):
    answer = client.post("/models", json=body(**change))
    assert answer.status_code == status, answer.text
    assert told in answer.json()["detail"]


def test_a_deployment_and_an_analysis_can_name_the_import(client, sessions):
    task_id = client.post("/models", json=body()).json()["task_id"]
    facts = {"model": "mice", "version": 3}
    succeed(sessions, task_id, {"bring": facts, "deploy": facts})
    again = client.post("/deployments", json={"task_id": task_id})
    assert _task(sessions, again.json()["task_id"])["model_version"] == 3
    asked = client.post(f"/models/{task_id}/inference", json={"data_path": "a.mp4"})
    assert _task(sessions, asked.json()["task_id"])["model_version"] == 3
