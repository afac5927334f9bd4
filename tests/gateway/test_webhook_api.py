"""The registry's webhook: what is let in, and what is remembered."""

import json
import time

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from gateway.database import Sessions
from gateway.models import WebhookDelivery
from gateway.webhook import DELIVERY_ID, SIGNATURE, TIMESTAMP, sign_delivery

EVENT = {
    "entity": "model_version_alias",
    "action": "created",
    "timestamp": "2026-01-01T00:00:00Z",
    "data": {"name": "mice", "alias": "champion", "version": "2"},
}


def _headers(body: bytes, *, secret: str = "webhook-secret", age: float = 0, id: str = "d-1"):
    timestamp = str(int(time.time() - age))
    return {
        DELIVERY_ID: id,
        TIMESTAMP: timestamp,
        SIGNATURE: sign_delivery(id, timestamp, body, secret),
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
        ({"age": -301}, "older"),
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


@pytest.mark.parametrize("missing", [DELIVERY_ID, TIMESTAMP, SIGNATURE])
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
