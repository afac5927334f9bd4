"""The registry's webhook: what is let in, and what is remembered."""

import json
import time
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import select

from components.delivery_signature import sign_delivery
from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions
from gateway.models import PipelineRun, Step, WebhookDelivery, now
from gateway.tasks import create_task
from gateway.webhook import MLFLOW, PIPELINES, SignedHeaders, label_studio_token
from gateway.work import Work
from tests.corpus.requests import JSON_VALUES
from tests.helpers.tasks import set_step

EVENT = {
    "entity": "model_version_alias",
    "action": "created",
    "timestamp": "2026-01-01T00:00:00Z",
    "data": {"name": "mice", "alias": "champion", "version": "2"},
}


def _headers(
    body: bytes,
    *,
    secret: str = "webhook-secret",
    age: float = 0,
    id: str = "d-1",
    names: SignedHeaders = MLFLOW,
):
    timestamp = str(int(time.time() - age))
    return {
        names.delivery_id: id,
        names.timestamp: timestamp,
        names.signature: sign_delivery(id, timestamp, body, secret),
    }


def _stored(sessions: Sessions) -> list[WebhookDelivery]:
    with sessions() as session:
        return list(session.scalars(select(WebhookDelivery)))


def test_a_signed_delivery_is_accepted_and_remembered(client: TestClient, sessions: Sessions):
    body = json.dumps(EVENT).encode()
    answer = client.post("/webhooks/mlflow", content=body, headers=_headers(body))
    assert answer.status_code == 202
    (row,) = _stored(sessions)
    assert (row.event, row.data) == ("model_version_alias.created", EVENT["data"])
    assert row.handled is None


@pytest.mark.parametrize(
    "name",
    [
        "lists in each other",
        "lists in each other, few",
        "lists nested as deep as can just be read",
        "objects in each other",
        "objects in each other, few",
        "NaN",
        "half a character",
        "a null character",
        "a number of 5000 digits",
    ],
)
def test_a_signed_delivery_whose_json_cannot_be_kept_is_refused(
    client: TestClient, sessions: Sessions, name: str
):
    body = b'{"entity":"registered_model","action":"created","data":{"x":%b}}' % JSON_VALUES[name]
    answer = client.post("/webhooks/mlflow", content=body, headers=_headers(body))
    # A delivery may have 64 KiB.
    assert answer.status_code == (413 if len(body) > 2**16 else 400), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert _stored(sessions) == []


def test_a_repeated_delivery_is_answered_but_stored_once(client: TestClient, sessions: Sessions):
    body = json.dumps(EVENT).encode()
    headers = _headers(body)
    answers = [client.post("/webhooks/mlflow", content=body, headers=headers) for _ in range(3)]
    assert [a.json()["status"] for a in answers] == ["accepted", "known", "known"]
    assert len(_stored(sessions)) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"secret": "another"}, "signature"),
        ({"age": 301}, "older"),
        ({"age": -360}, "older"),
    ],
)
def test_a_forged_or_stale_delivery_is_refused(client, sessions, change, why):
    body = json.dumps(EVENT).encode()
    answer = client.post("/webhooks/mlflow", content=body, headers=_headers(body, **change))
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert why in answer.json()["detail"]
    assert _stored(sessions) == []


def test_the_signature_covers_every_byte_of_the_body(client: TestClient, sessions: Sessions):
    body = json.dumps(EVENT).encode()
    answer = client.post("/webhooks/mlflow", content=body + b" ", headers=_headers(body))
    assert answer.status_code == 401
    assert _stored(sessions) == []


@pytest.mark.parametrize("missing", [MLFLOW.delivery_id, MLFLOW.timestamp, MLFLOW.signature])
def test_a_delivery_without_one_of_its_headers_is_refused(client: TestClient, missing: str):
    body = json.dumps(EVENT).encode()
    headers = _headers(body)
    del headers[missing]
    assert client.post("/webhooks/mlflow", content=body, headers=headers).status_code == 401


def test_a_signed_body_that_is_no_event_is_bad_input(client: TestClient):
    for body in (b"[]", b"{}", b"not json", b'{"entity": 1}'):
        answer = client.post("/webhooks/mlflow", content=body, headers=_headers(body, id=str(body)))
        assert answer.status_code == 400


def test_mlflows_own_signing_is_what_we_check():
    from mlflow.webhooks.delivery import _generate_hmac_signature

    expected = _generate_hmac_signature("s", "id-1", "1700000000", '{"a": 1}')
    assert sign_delivery("id-1", "1700000000", b'{"a": 1}', "s") == expected


def _label_studio(client: TestClient, task_id: str, token: str):
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 1, "title": f"mice-{task_id}"}}
    headers = {"Authorization": f"Bearer {token}"}
    return client.post("/webhooks/label-studio", json=event, headers=headers)


def test_label_studio_has_the_labels_looked_at_now(client: TestClient, sessions: Sessions):
    client.put("/files/a.mp4", content=b"1")
    task_id = client.post("/tasks/", json={"file_path": "a.mp4"}).json()["task_id"]
    later = now() + timedelta(hours=1)
    for name in ("download", "validate", "convert", "extract", "preannotate", "labeling"):
        set_step(sessions, task_id, name, state="succeeded")
    set_step(sessions, task_id, "labels", state="waiting", not_before=later, queued=later)
    token = label_studio_token("webhook-secret")
    answers = [_label_studio(client, task_id, token) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.json()["status"] for answer in answers] == ["accepted", "known"]
    with sessions() as session:
        (step,) = session.scalars(select(Step).where(Step.name == "labels"))
        assert step.not_before is None
        assert step.queued < later
    (row,) = _stored(sessions)
    assert (row.source, row.data) == ("label-studio", {"task_id": task_id})
    assert row.handled is not None  # it is nothing for the promotions to look at


@pytest.mark.parametrize("token", ["", "webhook-secret", "x"])
def test_label_studio_without_its_token_changes_nothing(client, sessions, token: str):
    answer = _label_studio(client, "t-0123456789ab", token)
    assert answer.status_code == 401
    assert _stored(sessions) == []


def test_a_project_of_nobodys_is_taken_and_does_nothing(client: TestClient):
    token = label_studio_token("webhook-secret")
    assert _label_studio(client, "t-0123456789ab", token).status_code == 202
    headers = {"Authorization": f"Bearer {token}"}
    for body in (b"", b"[]", b"{}", b'{"action": "X", "project": 1}'):
        answer = client.post("/webhooks/label-studio", content=body, headers=headers)
        assert answer.status_code == 400, body


@pytest.mark.parametrize("timestamp", ["9" * 5000, "١٢٣", "-1", "1e9"])
def test_a_time_that_is_none_is_refused(client: TestClient, timestamp: str):
    headers = {**_headers(b"{}"), MLFLOW.timestamp: timestamp.encode()}
    assert client.post("/webhooks/mlflow", content=b"{}", headers=headers).status_code == 401


ENDED = {"pipeline": "training", "task_id": "t-0123456789ab", "run": "r-1", "state": "SUCCEEDED"}
OF_A_RUN = {"secret": "pipeline-secret", "names": PIPELINES}


def _run_ended(client: TestClient, body: bytes, **signed):
    headers = _headers(body, **(OF_A_RUN | signed))
    return client.post("/webhooks/pipelines", content=body, headers=headers)


def test_a_runs_end_is_remembered_and_has_the_run_looked_at(client: TestClient, sessions: Sessions):
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "training", Work(labels_path="labels")).id
        session.flush()
        session.add(PipelineRun(task_id=task_id, run_id="r-1"))
    body = json.dumps(ENDED | {"task_id": task_id, "error": "It broke.\0"}).encode()
    answers = [_run_ended(client, body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.json()["status"] for answer in answers] == ["accepted", "known"]
    (row,) = _stored(sessions)
    assert (row.source, row.event, row.data["task_id"]) == (
        "pipelines", "training.SUCCEEDED", task_id,
    )  # fmt: skip
    assert row.handled is not None  # it is nothing for the promotions to look at
    with sessions() as session:
        assert session.get_one(PipelineRun, task_id).hinted is not None


def test_the_end_of_nobodys_run_is_taken_and_does_nothing(client: TestClient, sessions: Sessions):
    assert _run_ended(client, json.dumps(ENDED).encode()).status_code == 202
    with sessions() as session:
        assert session.scalars(select(PipelineRun)).all() == []


@pytest.mark.parametrize(
    "signed",
    [
        {"secret": "webhook-secret"},
        {"secret": ""},
        {"names": MLFLOW},
        {"age": 301},
        {"id": "d" * 129},
    ],
)
def test_a_runs_end_that_nobody_of_ours_signed_is_refused(client, sessions, signed):
    assert _run_ended(client, json.dumps(ENDED).encode(), **signed).status_code == 401
    assert _stored(sessions) == []


@pytest.mark.parametrize(
    "change",
    [{"pipeline": "cooking"}, {"task_id": 1}, {"task_id": "\0"}, {"state": ""}, {"state": "a b"}],
)
def test_a_signed_body_that_is_no_runs_end_is_bad_input(client, sessions, change):
    assert _run_ended(client, json.dumps(ENDED | change).encode()).status_code == 400
    assert _stored(sessions) == []
    assert _run_ended(client, b"not json").status_code == 400


def test_without_a_secret_nobody_can_tell_of_a_runs_end(settings: Settings, sessions: Sessions):
    client = TestClient(create_app(settings.model_copy(update={"pipeline_secret": SecretStr("")})))
    answer = _run_ended(client, json.dumps(ENDED).encode(), secret="")
    assert answer.status_code == 401
