"""Limits: requests of a key, wrong keys of an address, bytes of a body; and what browsers may."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from components.errors import BadInput
from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions
from gateway.keys import create_key
from tests.helpers.servers import free_ports

ASKED = "/keys/"


def _client(settings: Settings, key: str = "", **changes: Any) -> TestClient:
    app = create_app(settings.model_copy(update=changes))
    return TestClient(app, headers={"X-API-Key": key} if key else {})


def _statuses(client: TestClient, count: int) -> list[int]:
    return [client.get(ASKED).status_code for _ in range(count)]


def test_a_key_that_has_spent_its_requests_has_to_wait(settings: Settings, api_key: str):
    client = _client(settings, api_key, rate_limit="3/hour")
    assert _statuses(client, 3) == [200] * 3
    answer = client.get(ASKED)
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:actverse:problem:TooManyRequests"
    assert answer.headers["ratelimit-policy"] == '"key";q=3;w=3600'
    wait = int(answer.headers["retry-after"])
    assert 1 <= wait <= 3600
    assert answer.headers["ratelimit"] == f'"key";r=0;t={wait}'
    assert client.get("/healthz").status_code == 200


def test_each_key_has_its_own_limit(settings: Settings, sessions: Sessions, api_key: str):
    with sessions.begin() as session:
        other = create_key(session, settings, "ada")
    client = _client(settings, rate_limit="2/hour")
    for key in (api_key, other):
        client.headers["X-API-Key"] = key
        assert _statuses(client, 3) == [200, 200, 429]


def test_no_limit_is_one_too(settings: Settings, api_key: str):
    assert set(_statuses(_client(settings, api_key, rate_limit=""), 150)) == {200}


@pytest.mark.parametrize("limit", ["many", "100", "100/fortnight"])
def test_a_limit_that_is_none_is_named(settings: Settings, sessions: Sessions, limit: str):
    with pytest.raises(BadInput, match="ACTVERSE_RATE_LIMIT"):
        _client(settings, rate_limit=limit)


def test_who_tries_keys_has_to_wait_and_locks_nobody_out(
    settings: Settings, sessions: Sessions, api_key: str
):
    with sessions.begin() as session:
        unseen = create_key(session, settings, "bob")
    client = _client(settings, api_key)
    assert _statuses(client, 1) == [200]
    client.headers["X-API-Key"] = "av_guessed"
    assert set(_statuses(client, 30)) == {401}
    answer = client.get(ASKED)
    assert answer.status_code == 429
    assert answer.headers["ratelimit-policy"].startswith('"address"')
    client.headers["X-API-Key"] = unseen
    assert _statuses(client, 1) == [429]
    client.headers["X-API-Key"] = api_key
    assert _statuses(client, 1) == [200]
    assert client.get(ASKED, headers={"X-API-Key": ""}).status_code == 401


@pytest.fixture
def two_gateways(
    settings: Settings, api_key: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[TestClient, TestClient]]:
    # This Redis writes every count to the disk, which may take its time.
    monkeypatch.setattr("gateway.limits._REDIS_SECONDS", 10.0)
    changes = {"redis_url": redis_url, "rate_limit": "4/hour"}
    with (
        _client(settings, api_key, **changes) as one,
        _client(settings, api_key, **changes) as other,
    ):
        yield one, other


def test_gateways_count_together_in_redis(
    two_gateways: tuple[TestClient, TestClient], redis_url: str
):
    from redis import Redis

    Redis.from_url(redis_url).flushall()
    one, other = two_gateways
    assert _statuses(one, 2) + _statuses(other, 2) == [200] * 4
    assert _statuses(one, 1) + _statuses(other, 1) == [429] * 2


def test_without_redis_each_gateway_counts_for_itself(
    settings: Settings, api_key: str, caplog: pytest.LogCaptureFixture
):
    (port,) = free_ports(1)
    changes = {"redis_url": f"redis://:hush@127.0.0.1:{port}/0", "rate_limit": "2/hour"}
    with (
        caplog.at_level(logging.WARNING, "actverse.limits"),
        _client(settings, api_key, **changes) as client,
    ):
        assert _statuses(client, 3) == [200, 200, 429]
    said = [record.getMessage() for record in caplog.records if record.name == "actverse.limits"]
    assert len(said) == 1
    assert "hush" not in caplog.text


def _chunks(size: int) -> Iterator[bytes]:
    """A body whose length is not announced."""
    for _ in range(size // 1000):
        yield b" " * 1000


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_turned_down(settings: Settings, api_key: str, announced: bool):
    client = _client(settings, api_key, max_request_bytes=10_000)
    for size, status in ((9000, 400), (11_000, 413)):
        answer = client.post(
            "/tasks/",
            content=b" " * size if announced else _chunks(size),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:actverse:problem:TooLarge"
    assert answer.json()["status"] == 413
    assert "10000 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("announced", [True, False])
def test_files_have_a_limit_of_their_own(settings: Settings, api_key: str, announced: bool):
    client = _client(settings, api_key, max_request_bytes=1000, max_upload_bytes=50_000)
    for size, statuses in ((40_000, (200, 201)), (60_000, (413,))):
        body = b" " * size if announced else _chunks(size)
        assert client.put("/files/clips/a.bin", content=body).status_code in statuses
    # What is announced is believed, so that nothing of it has to be read first.
    announces = {"Content-Length": "60000"}
    assert client.put("/files/clips/a.bin", content=b" ", headers=announces).status_code == 413
    assert [file["bytes"] for file in client.get("/files/").json()["files"]] == [40_000]


def test_an_uploaded_task_has_the_files_limit_and_a_json_one_has_not(
    settings: Settings, api_key: str
):
    client = _client(settings, api_key, max_request_bytes=1000, max_upload_bytes=50_000)
    large, small = {"file": ("a.mp4", b" " * 200_000)}, {"file": ("a.mp4", b" " * 40_000)}
    assert client.post("/tasks/", files=large).status_code == 413
    assert client.post("/tasks/", files=small).status_code != 413
    assert client.post("/tasks/", json={"file_path": "x" * 2000}).status_code == 413
    # Calling a body multipart opens no other endpoint.
    assert client.post("/keys/", files=small).status_code == 413


def test_no_page_may_call_the_gateway_unless_it_is_named(settings: Settings, api_key: str):
    asked = {"Origin": "https://lab.example", "Access-Control-Request-Method": "GET"}
    closed = _client(settings, api_key)
    assert "access-control-allow-origin" not in closed.get(ASKED, headers=asked).headers
    assert "access-control-allow-origin" not in closed.options(ASKED, headers=asked).headers
    opened = _client(settings, api_key, cors_origins=("https://lab.example",))
    preflight = opened.options(ASKED, headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://lab.example"
    assert "access-control-allow-credentials" not in preflight.headers
    stranger = asked | {"Origin": "https://other.example"}
    assert "access-control-allow-origin" not in opened.get(ASKED, headers=stranger).headers


def test_answers_are_not_taken_for_another_type_and_not_kept(client: TestClient):
    for answer in (client.get(ASKED), client.get("/nowhere"), client.get("/healthz")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
