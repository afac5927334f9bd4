"""Uploads that are slow: no user's stand in another's way, and who goes on is heard to the end."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest
from fastapi import FastAPI

from components.settings import Settings
from gateway import uploads
from gateway.app import create_app
from gateway.database import Sessions
from gateway.keys import create_key
from tests.helpers.gateways import running_gateway
from tests.helpers.servers import wait_until

EACH = 8
REQUEST = json.dumps({"names": ["mouse"]}).encode()
FORM_HEAD = (
    b"--b0\r\nContent-Disposition: form-data; name=request\r\n\r\n" + REQUEST + b"\r\n"
    b"--b0\r\nContent-Disposition: form-data; name=video; filename=a.mp4\r\n\r\n"
)
FORM_END = b"\r\n--b0--\r\n"


@pytest.fixture
def app(settings: Settings, api_key: str) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with running_gateway(app) as url:
        yield url


@pytest.fixture
def bobs_key(settings: Settings, sessions: Sessions) -> str:
    with sessions.begin() as session:
        return create_key(session, settings, "bob")


def _begin(url: str, key: str, name: str, length: int, *, form: bool = False) -> socket.socket:
    """Send an upload's head and a little of it."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=30)
    if form:
        start = "POST /tasks/ HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b0\r\n"
        length += len(FORM_HEAD) + len(FORM_END)
    else:
        start = f"PUT /files/slow/{name} HTTP/1.1\r\n"
    head = (
        f"{start}Host: x\r\nConnection: close\r\nX-API-Key: {key}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )
    client.sendall(head.encode() + (FORM_HEAD if form else b""))
    return client


def _answer(client: socket.socket) -> bytes:
    got = b""
    with suppress(ConnectionError):
        while piece := client.recv(65536):
            got += piece
    return got


def _held(app: FastAPI, user: str = "ada") -> int:
    held: int = app.state.uploads._users[user]
    return held


@pytest.mark.parametrize("form", [False, True])
def test_slow_uploads_of_one_user_block_nobody(
    app: FastAPI,
    url: str,
    api_key: str,
    bobs_key: str,
    form: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    # One thread for all uploads is enough, since none is held by who sends slowly.
    monkeypatch.setattr(uploads, "_AT_A_TIME", 1)
    with ExitStack() as stack:
        slow = [stack.enter_context(_begin(url, api_key, f"{i}", 10, form=form)) for i in range(70)]
        wait_until(lambda: _held(app) == EACH, what="the uploads to begin")
        mine = httpx.put(f"{url}/files/a", content=b"abc", headers={"X-API-Key": bobs_key})
        assert mine.status_code == 201
        # The others were answered at once, without their bodies.
        ready = []

        def refused() -> bool:
            for client in slow:
                if client not in ready and _has_answer(client):
                    ready.append(client)
            return len(ready) == 70 - EACH

        wait_until(refused, what="the refusals")
        for client in ready:
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 429"), answer
            assert b"retry-after: 5" in answer.lower()
        taken = [client for client in slow if client not in ready]
        for client in taken:
            client.sendall(b"0123456789" + (FORM_END if form else b""))
        statuses = {_answer(client).split(b" ")[1] for client in taken}
        assert statuses == ({b"202"} if form else {b"201"})
    again = httpx.put(f"{url}/files/a", content=b"abc", headers={"X-API-Key": api_key})
    assert again.status_code == 201


def _has_answer(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        client.settimeout(30)


@pytest.mark.parametrize("form", [False, True])
def test_a_client_that_goes_on_slowly_is_not_silent(
    url: str, api_key: str, settings: Settings, form: bool, monkeypatch: pytest.MonkeyPatch
):
    """Three times as long as it may be silent, and far less than a piece in all."""
    monkeypatch.setattr(uploads, "_SILENCE_SECONDS", 1.0)
    pause = threading.Event()
    with _begin(url, api_key, "drip", 60, form=form) as client:
        for _ in range(60):
            client.sendall(b"x")
            pause.wait(0.05)
        if form:
            client.sendall(FORM_END)
        answer = _answer(client)
    assert answer.startswith(b"HTTP/1.1 202" if form else b"HTTP/1.1 201"), answer
    (stored,) = [path for path in settings.layout.root.rglob("*") if path.is_file()]
    assert stored.read_bytes() == b"x" * 60


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize("sent", [0, 3, 2**20 + 3])
def test_a_client_that_is_silent_is_left_and_nothing_stays(
    app: FastAPI,
    url: str,
    api_key: str,
    settings: Settings,
    form: bool,
    sent: int,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(uploads, "_SILENCE_SECONDS", 0.3)
    with _begin(url, api_key, "silent", 2**22, form=form) as client:
        client.sendall(b"x" * sent)
        answer = _answer(client)
    assert answer.startswith(b"HTTP/1.1 503"), answer
    assert b"nothing came for 0.3 s" in answer
    assert not [path for path in settings.layout.root.rglob("*") if path.is_file()]
    wait_until(lambda: _held(app) == 0, what="the place to be free")


def test_a_form_that_is_silent_before_its_file_is_left_too(
    url: str, api_key: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(uploads, "_SILENCE_SECONDS", 0.3)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        head = (
            "POST /tasks/ HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b0"
            f"\r\nX-API-Key: {api_key}\r\nContent-Length: 1000\r\n\r\n"
        )
        client.sendall(head.encode() + FORM_HEAD[:80])
        assert client.recv(65536).startswith(b"HTTP/1.1 503")


def test_places_are_free_again_when_clients_break_off(app: FastAPI, url: str, api_key: str):
    for _ in range(3):
        with ExitStack() as stack:
            for i in range(EACH):
                stack.enter_context(_begin(url, api_key, f"{i}", 10))
            wait_until(lambda: _held(app) == EACH, what="the uploads to begin")
        wait_until(lambda: _held(app) == 0, what="the places to be free")
