"""Trainings over REST: begun, and how far they are."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from gateway.models import Task
from tests.helpers.tasks import set_step


@pytest.fixture(autouse=True)
def _labels(client: TestClient) -> None:
    client.put("/files/labels/mice/labels/a.txt", content=b"")


def _train(client: TestClient, **change):
    body = {"data_path": "labels/mice", "mode_train_info": {"epochs": 3}, "names": ["mouse"]}
    return client.post("/training", json={**body, **change})


def test_a_training_is_begun_and_its_epochs_are_told(client: TestClient, sessions):
    answer = _train(client, held_out=0.3, model_name="mice")
    assert answer.status_code == 202, answer.text
    task_id = answer.json()["task_id"]
    assert answer.headers["location"] == f"/status/{task_id}"
    with sessions() as session:
        task = session.scalars(select(Task)).one()
    assert task.kind == "training"
    assert (
        task.request
        == {
            "labels_path": "labels/mice",
            "training": {"epochs": 3},
            "names": ["mouse"],
            "held_out": 0.3,
            "model_name": "mice",
        }
        or task.request["training"]["epochs"] == 3
    )
    status = client.get(f"/training/{task_id}").json()
    assert status == {
        "task_id": task_id, "state": "pending", "current_epoch": 0, "epochs": 0, "metrics": {},
        "run_id": "", "run_url": "",
    }  # fmt: skip
    facts = {"epoch": 2, "epochs": 3, "metrics": {"val/mAP50": 0.5}}
    report = {"train": {"state": "running", "percent": 66.6, "facts": facts}}
    set_step(sessions, task_id, "training", state="running", facts={"pipeline": report})
    status = client.get(f"/training/{task_id}").json()
    assert (status["current_epoch"], status["epochs"]) == (2, 3)
    assert (status["state"], status["metrics"]) == ("running", {"val/mAP50": 0.5})


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"mode_train_info": {"epochs": 0}}, 422),
        ({"mode_train_info": {"unknown": 1}}, 422),
        ({"mode_train_info": []}, 422),
        ({"mode_train_info": {"weights": "/etc/passwd"}}, 422),
        ({"mode_train_info": {"epochs": 0}, "held_out": 7}, 400),
        ({"held_out": 7}, 400),
        ({"names": ["mouse", "Mouse"]}, 400),
        ({"data_path": ""}, 400),
        ({"data_path": "../bob"}, 400),
        ({"data_path": "nowhere"}, 404),
        ({"data_path": "labels/mice/labels/a.txt"}, 404),
        ({"mode_train_info": {"weights": "key:nowhere.pt"}}, 404),
        ({"mode_train_info": {"weights": "key:../x.pt"}}, 400),
        ({"user_id": "bob"}, 403),
        ({"unknown": 1}, 400),
        ({"mode_train_info": {"lr0": "NaN"}}, 422),
    ],
)
def test_what_cannot_be_trained_is_refused(client, sessions, change, status):
    answer = _train(client, **change)
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status
    with sessions() as session:
        assert session.scalars(select(Task)).all() == []


def test_a_task_that_trains_nothing_has_no_training(client: TestClient):
    client.put("/files/a.mp4", content=b"1")
    made = client.post("/video/extract-frames", json={"file_path": "a.mp4"}).json()
    assert client.get(f"/training/{made['task_id']}").status_code == 404
