"""Logs: JSON, a line for each request, an id for each; and nothing in them that is secret."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient

from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions
from tests.helpers.servers import free_ports, wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, "actverse.access"):
        yield caplog


def _access(records: list[logging.LogRecord]) -> list[dict[str, Any]]:
    return [vars(record) for record in records if record.name == "actverse.access"]


def test_an_answer_has_the_requests_id(client: TestClient):
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == (
        "abc-1"
    )
    first, second = (client.get("/healthz").headers["x-request-id"] for _ in range(2))
    assert first
    assert first != second


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, '"}{"', "a\u00e9", "a;b"])
def test_an_id_that_is_none_is_replaced(client: TestClient, given: str):
    answered = client.get("/healthz", headers={"X-Request-ID": given.encode()})
    assert len(answered.headers["x-request-id"]) == 32
    assert not given or given not in answered.headers["x-request-id"]


def test_a_request_leaves_one_line_without_what_is_secret(
    client: TestClient, api_key: str, lines: pytest.LogCaptureFixture
):
    client.get("/status/t-17?token=hush")
    (line,) = _access(lines.records)
    assert (line["method"], line["route"], line["status"]) == ("GET", "/status/{task_id}", 404)
    assert (line["user"], line["task_id"]) == ("ada", "t-17")
    assert line["ms"] >= 0
    for secret in ("hush", api_key):
        assert secret not in str(line)


def test_requests_of_nobody_and_to_nowhere_leave_lines_too(
    settings: Settings, sessions: Sessions, lines: pytest.LogCaptureFixture
):
    stranger = TestClient(create_app(settings))
    stranger.get("/keys/", headers={"X-API-Key": "av_guessed"})
    stranger.get("/hush")
    refused, nowhere = _access(lines.records)
    assert (refused["status"], refused["user"]) == (401, "")
    assert (nowhere["status"], nowhere["route"]) == (404, "")
    assert "av_guessed" not in str(_access(lines.records))
    assert "hush" not in str(_access(lines.records))


def test_what_machines_ask_for_all_the_time_is_no_news(
    client: TestClient, lines: pytest.LogCaptureFixture
):
    client.get("/healthz")
    client.get("/readyz")
    assert [line["levelname"] for line in _access(lines.records)] == ["DEBUG", "INFO"]


def test_an_unforeseen_error_has_an_id_and_a_line(
    settings: Settings, sessions: Sessions, lines: pytest.LogCaptureFixture
):
    app = create_app(settings)

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("hush")

    answer = TestClient(app, raise_server_exceptions=False).get(
        "/broken", headers={"X-Request-ID": "r-500"}
    )
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "r-500"
    assert "hush" not in answer.text
    assert [line["status"] for line in _access(lines.records)] == [500]


def test_a_websocket_leaves_a_line_when_it_ends(
    settings: Settings, sessions: Sessions, lines: pytest.LogCaptureFixture
):
    app: FastAPI = create_app(settings)

    @app.websocket("/ws/test/{task_id}")
    async def watch(websocket: WebSocket, task_id: str) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    with TestClient(app).websocket_connect("/ws/test/t-3?key=hush") as websocket:
        assert websocket.receive_text() == "hello"
    (line,) = _access(lines.records)
    assert (line["route"], line["status"]) == ("/ws/test/{task_id}", 101)
    assert "hush" not in str(line)


@contextmanager
def _server(settings: Settings) -> Iterator[tuple[str, Path]]:
    (port,) = free_ports(1)
    log = settings.home / "gateway.log"
    argv = [
        *(sys.executable, "-m", "uvicorn", "--factory", "gateway.server:create_server"),
        *("--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--no-server-header"),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(
            argv,
            env=settings.environment(secrets=True),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=file,
        )
    try:
        uri = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{uri}/healthz", trust_env=False).is_success
            except httpx.TransportError:
                return False

        wait_until(answers, 30, "the gateway")
        yield uri, log
    finally:
        process.terminate()
        process.wait(20)


def test_the_servers_own_lines_are_json_as_well(
    settings: Settings, sessions: Sessions, api_key: str
):
    with _server(settings) as (uri, log):
        headers = {"X-API-Key": api_key, "X-Request-ID": "r-1"}
        answer = httpx.get(f"{uri}/keys/?hush=1", headers=headers, trust_env=False)
        assert answer.status_code == 200
        assert "server" not in answer.headers
    said = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"uvicorn.error", "actverse.access"} <= {line["logger"] for line in said}
    (access,) = [line for line in said if line.get("request_id") == "r-1"]
    assert access["message"] == "GET /keys/ 200"
    assert (access["user"], access["level"]) == ("ada", "INFO")
    for secret in (api_key, "hush", "keys-secret"):
        assert secret not in log.read_text()
