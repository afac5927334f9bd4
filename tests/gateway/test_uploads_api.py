"""Videos that are sent along with POST /tasks/ as a form."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient
from sqlalchemy import select

from components.settings import Settings
from gateway.app import create_app
from gateway.http_limits import LimitedProtocol
from gateway.models import Task
from tests.helpers.servers import wait_until

REQUEST = {"names": ["mouse"], "num_frames": 20}
MIB = 2**20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        api_key_secret="keys-secret",
        webhook_secret="webhook-secret",
        max_upload_bytes=3 * MIB,
        max_request_bytes=64 * 1024,
    )


def _stored(settings: Settings) -> list[Path]:
    return sorted(path for path in settings.layout.root.rglob("*") if path.is_file())


def _tasks(sessions) -> list[Task]:
    with sessions() as session:
        return list(session.scalars(select(Task)))


def _send(client: TestClient, video: bytes, request: object = REQUEST, name="my mouse.mp4", **more):
    parts = [
        ("request", (None, json.dumps(request), "application/json")),
        ("video", (name, video, "video/mp4")),
    ]
    return client.post("/tasks/", files=parts, **more)


def test_a_video_sent_along_is_stored_and_becomes_the_tasks(client, settings, sessions):
    video = bytes(range(256)) * (MIB // 128)
    answer = _send(client, video)
    assert answer.status_code == 202, answer.text
    (task,) = _tasks(sessions)
    assert task.id == answer.json()["task_id"]
    key = task.request["file_path"]
    assert key.startswith("uploads/")
    assert key.endswith("/my_mouse.mp4")
    (path,) = _stored(settings)
    assert path == settings.layout.user_file("ada", key)
    assert path.read_bytes() == video
    assert task.request["names"] == ["mouse"]


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "..\\..\\x.mp4", ".hidden", "/", "ü" * 300, "a\nb.mp4", "..", ""],
)
def test_a_files_name_leads_nowhere_else(client, settings, sessions, name: str):
    boundary = "b0"
    body = (
        f"--{boundary}\r\nContent-Disposition: form-data; name=request\r\n\r\n"
        f"{json.dumps(REQUEST)}\r\n--{boundary}\r\n"
        f'Content-Disposition: form-data; name="video"; filename="{name.replace(chr(10), "")}"'
        f"\r\n\r\nabc\r\n--{boundary}--\r\n"
    ).encode()
    kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
    answer = client.post("/tasks/", content=body, headers=kind)
    assert answer.status_code == 202, answer.text
    (path,) = _stored(settings)
    uploads = settings.layout.user_file("ada", "uploads")
    assert path.parent.parent == uploads
    assert path.read_bytes() == b"abc"


@pytest.mark.parametrize("announced", [True, False])
def test_a_video_that_is_too_large_leaves_nothing(client, settings, sessions, announced: bool):
    if announced:
        answer = _send(client, b"x" * (3 * MIB + 1))
    else:
        whole = client.build_request(
            "POST",
            "/tasks/",
            files=[
                ("request", (None, json.dumps(REQUEST))),
                ("video", ("a.mp4", b"x" * (3 * MIB + 1))),
            ],
        )
        body = whole.read()
        pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
        kind = {"content-type": whole.headers["content-type"]}
        answer = client.post("/tasks/", content=pieces, headers=kind)
    assert answer.status_code == 413, answer.text
    assert answer.json()["type"] == "urn:actverse:problem:TooLarge"
    assert _stored(settings) == []
    assert _tasks(sessions) == []


def test_a_video_just_as_large_as_allowed_is_taken(client, settings):
    assert _send(client, b"x" * (3 * MIB)).status_code == 202


@pytest.mark.parametrize(
    ("request_part", "status"),
    [
        ({"held_out": 2}, 400),
        ({"file_path": "a.mp4"}, 400),
        ({"labels_path": "../x"}, 400),
        ({"user_id": "bob"}, 403),
        ([], 400),
        ({"names": ["x" * 70_000]}, 413),
    ],
)
def test_a_request_that_is_refused_stores_no_video(
    client, settings, sessions, request_part, status
):
    answer = _send(client, b"abc", request_part)
    assert answer.status_code == status, answer.text
    assert _stored(settings) == []
    assert _tasks(sessions) == []


def test_a_name_that_is_taken_leaves_no_video(client, bob, settings, sessions):
    assert _send(bob, b"abc", {"model_name": "mice"}).status_code == 202
    assert _send(client, b"abc", {"model_name": "mice"}).status_code == 409
    assert len(_stored(settings)) == len(_tasks(sessions)) == 1


def _form(*parts: tuple[str, bytes], end: bytes = b"--b0--\r\n") -> bytes:
    body = b""
    for head, content in parts:
        body += b"--b0\r\nContent-Disposition: form-data; " + head.encode()
        body += b"\r\n\r\n" + content + b"\r\n"
    return body + end


GOOD = json.dumps(REQUEST).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        _form(),
        _form(("name=request", GOOD)),
        _form(("name=video; filename=a", b"abc"), ("name=request", GOOD)),
        _form(("name=request", GOOD), ("name=video; filename=a", b"abc"), ("name=more", b"1")),
        _form(("name=request", GOOD), ("name=other; filename=a", b"abc")),
        _form(("name=request", GOOD), ("name=video; filename=a", b"abc"), end=b""),
        _form(("name=request", GOOD), ("name=video; filename=a", b"abc"), end=b"--b0"),
        _form(("name=request", b"{"), ("name=video; filename=a", b"abc")),
        _form(("x" * 100_000, GOOD)),
    ],
)
def test_a_form_that_is_not_as_described_leaves_nothing(client, settings, sessions, body: bytes):
    kind = {"content-type": "multipart/form-data; boundary=b0"}
    answer = client.post("/tasks/", content=body, headers=kind)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert _stored(settings) == []
    assert _tasks(sessions) == []


@pytest.mark.parametrize("boundary", ["", f"; boundary={'x' * 999}"])
def test_a_form_without_a_sound_boundary_is_refused(client, boundary: str):
    kind = f"multipart/form-data{boundary}"
    answer = client.post("/tasks/", content=b"abc", headers={"content-type": kind})
    assert answer.status_code == 400, answer.text


def test_the_same_upload_twice_is_one_task_and_one_file(client, settings, sessions):
    headers = {"Idempotency-Key": "k"}
    first, again = (_send(client, b"abc", headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert _send(client, b"abd", headers=headers).status_code == 409
    assert len(_tasks(sessions)) == 1
    assert [path.read_bytes() for path in _stored(settings)] == [b"abc"]


@contextmanager
def _serving(settings: Settings) -> Iterator[int]:
    """The gateway behind a real server; its port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(create_app(settings), http=LimitedProtocol, log_level="warning")
        )
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


def test_a_client_that_breaks_off_leaves_nothing(settings, sessions, api_key):
    with _serving(settings) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            body = _form(("name=request", GOOD), ("name=video; filename=a", b"x" * MIB), end=b"")
            head = (
                f"POST /tasks/ HTTP/1.1\r\nHost: x\r\nX-API-Key: {api_key}\r\n"
                "Content-Type: multipart/form-data; boundary=b0\r\n"
                f"Content-Length: {2 * MIB}\r\n\r\n"
            )
            client.sendall(head.encode() + body)
            wait_until(lambda: _stored(settings), what="the upload to begin")
        wait_until(lambda: not _stored(settings), what="the upload to be forgotten")
    assert _tasks(sessions) == []


def test_a_server_takes_a_stream_and_answers_before_its_end_when_it_is_too_large(
    settings, sessions, api_key
):
    def endless() -> Iterator[bytes]:
        yield _form(("name=request", GOOD), end=b"")
        yield b"--b0\r\nContent-Disposition: form-data; name=video; filename=a\r\n\r\n"
        for _ in range(64):
            yield b"x" * (MIB // 4)

    headers = {
        "X-API-Key": api_key,
        "Content-Type": "multipart/form-data; boundary=b0",
    }
    with _serving(settings) as port:
        url = f"http://127.0.0.1:{port}/tasks/"
        answer = httpx.post(url, content=endless(), headers=headers, trust_env=False)
    assert answer.status_code == 413
    assert _stored(settings) == []
