"""Faults around the gateway: each is a clear problem document, and nothing is lost or left."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, text

from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions
from gateway.problems import MEDIA_TYPE

BODY = {"file_path": "https://example.org/a.mp4"}


def _is_problem(answer, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json()["type"] == f"urn:actverse:problem:{kind}"
    assert answer.json()["status"] == status
    assert int(answer.headers["retry-after"]) >= 1


def _upload(client: TestClient, video: bytes = b"abc"):
    parts = {"request": (None, json.dumps({})), "video": ("a.mp4", video)}
    return client.post("/tasks/", files=parts)


def test_a_storage_that_is_gone_is_unavailable_until_it_is_back(client, settings):
    client.put("/files/a.mp4", content=b"1")
    root = settings.layout.root
    away = root.rename(root.with_name("away"))
    for answer in (
        client.put("/files/b.mp4", content=b"1"),
        client.get("/files/a.mp4"),
        client.get("/files/"),
        client.delete("/files/a.mp4"),
        client.post("/video/extract-frames", json={"file_path": "a.mp4"}),
        _upload(client),
    ):
        _is_problem(answer, 503, "Unavailable")
    assert not root.exists()
    away.rename(root)
    assert client.get("/files/a.mp4").content == b"1"
    assert len(client.get("/tasks/").json()["tasks"]) == 0


@pytest.fixture
def impatient(client: TestClient) -> TestClient:
    """A gateway that waits a moment only for a lock of the database."""
    sessions: Sessions = client.app.state.sessions  # type: ignore[attr-defined]
    engine = sessions.kw["bind"]
    engine.dispose()

    @event.listens_for(engine, "connect")
    def _hurry(connection: object, record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 50")  # type: ignore[attr-defined]

    return client


def test_a_locked_database_is_unavailable_and_loses_nothing(impatient, sessions, settings):
    client = impatient
    task_id = client.post("/tasks/", json=BODY).json()["task_id"]
    with sessions() as session:
        session.execute(text("BEGIN IMMEDIATE"))
        for answer in (
            client.post("/tasks/", json=BODY),
            client.post("/tasks/", json=BODY, headers={"Idempotency-Key": "k"}),
            client.delete(f"/tasks/{task_id}"),
            _upload(client),
        ):
            _is_problem(answer, 503, "Unavailable")
        assert client.get(f"/status/{task_id}").status_code == 200
    assert [path for path in settings.layout.root.rglob("*") if path.is_file()] == []
    again = client.post("/tasks/", json=BODY, headers={"Idempotency-Key": "k"})
    assert again.status_code == 202
    assert "idempotent-replayed" not in again.headers
    assert len(client.get("/tasks/").json()["tasks"]) == 2


@pytest.fixture
def small_storage(client: TestClient, settings: Settings) -> Iterator[Path]:
    """The storage on a file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    root = settings.layout.root
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(root)]
    if (mounted := subprocess.run(command, capture_output=True, text=True)).returncode:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.strip()}")
    try:
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_full_disk_takes_no_file_and_keeps_those_it_has(client, small_storage: Path):
    assert client.put("/files/a.bin", content=b"1" * 100_000).status_code == 201
    for answer in (
        client.put("/files/a.bin", content=b"2" * 300_000),
        client.put("/files/b.bin", content=b"2" * 300_000),
        _upload(client, b"2" * 300_000),
    ):
        _is_problem(answer, 507, "StorageFull")
    (path,) = (path for path in small_storage.rglob("*") if path.is_file())
    assert path.read_bytes() == b"1" * 100_000
    assert client.get("/tasks/").json()["tasks"] == []


def test_a_full_disk_below_the_database_is_told_as_such(client: TestClient, sessions, settings):
    sessions_of_app: Sessions = client.app.state.sessions  # type: ignore[attr-defined]
    with sessions_of_app.kw["bind"].connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    engine = sessions_of_app.kw["bind"]
    engine.dispose()

    @event.listens_for(engine, "connect")
    def _full(connection: object, record: object) -> None:
        # SQLite says the same of a file that may not grow as of a disk that is full.
        connection.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]

    answer = client.post("/tasks/", json={**BODY, "names": [f"{n:0100}" for n in range(900)]})
    _is_problem(answer, 507, "StorageFull")


def test_too_many_requests_are_told_when_to_come_again(settings, sessions, api_key):
    limited = settings.model_copy(update={"rate_limit": "3/minute"})
    client = TestClient(create_app(limited), headers={"X-API-Key": api_key})
    answers = [client.get("/tasks/") for _ in range(4)]
    assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
    _is_problem(answers[3], 429, "TooManyRequests")


def test_a_result_that_is_deleted_while_it_is_listed_is_not_there(client, settings):
    task_id = client.post("/tasks/", json=BODY).json()["task_id"]
    folder = settings.layout.results(task_id)
    folder.mkdir(parents=True)
    (folder / "results.csv").write_bytes(b"1")
    (file,) = client.get(f"/tasks/{task_id}/results").json()["files"]
    shutil.rmtree(folder)
    assert client.get(file["link"]).status_code == 404
