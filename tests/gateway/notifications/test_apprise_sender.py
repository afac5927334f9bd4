"""Sending in a process of its own, to strangers who mean no good."""

import gzip
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from components.errors import BadInput, Refused, Unavailable
from gateway.notifications.apprise_sender import send
from tests.helpers.web import body, serving


def test_notification_arrives_and_nothing_of_ours_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    got: list[tuple[dict[str, str], dict[str, str]]] = []

    def take(handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        got.append((headers, json.loads(handler.content)))  # type: ignore[attr-defined]
        body(b"ok")(handler)

    with serving(take) as server, serving(body(b"by proxy")) as proxy:
        (tmp_path / ".netrc").write_text(  # type: ignore[operator]
            "machine 127.0.0.1 login us password our-secret\n"
        )
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", f"{tmp_path}/.netrc")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        send(
            f"json://127.0.0.1:{server.server_port}/",
            "Title é",
            "One\ntwo",
            allow_private=True,
        )
        assert proxy.connections == 0
    ((headers, content),) = got
    assert (content["title"], content["message"]) == ("Title é", "One\ntwo")
    assert "authorization" not in headers


def test_errors_come_back_as_they_are() -> None:
    with serving(body(b"", 404)) as server:
        url = f"json://ada:hush@127.0.0.1:{server.server_port}/hush"
        with pytest.raises(BadInput, match="status 404") as caught:
            send(url, "t", "b", allow_private=True)
        assert "hush" not in str(caught.value)
        with pytest.raises(Refused, match="not public"):
            send(url, "t", "b", allow_private=False)
        assert server.connections == 1
    with pytest.raises(Unavailable, match="cannot be reached"):
        send(url, "t", "b", allow_private=True)
    with pytest.raises(Refused, match="syslog"):
        send("syslog://", "t", "b", allow_private=True)


@pytest.fixture
def dripping_url() -> Iterator[str]:
    """Of a web hook whose answer never ends."""
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.05):
            handler.wfile.write(b".")

    with serving(drip) as server:
        try:
            yield f"json://127.0.0.1:{server.server_port}/hush"
        finally:
            stop.set()


def test_answer_that_drips_is_given_up(dripping_url: str) -> None:
    with pytest.raises(Unavailable, match="given up after 1 s") as caught:
        send(dripping_url, "t", "b", allow_private=True, timeout=1)
    assert "hush" not in str(caught.value)


def test_process_ends_by_itself_when_its_worker_is_gone(dripping_url: str) -> None:
    request = {
        "url": dripping_url,
        "title": "t",
        "body": "b",
        "allow_private": True,
        "timeout": 1,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "gateway.notifications.apprise_process"],
        input=json.dumps(request).encode(),
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGALRM
    assert ended.stdout == b""


def test_answer_that_unfolds_to_gigabytes_costs_only_its_process() -> None:
    bomb = gzip.compress(bytes(2**20), 9) * 1024  # 1 MB that becomes 1 GB
    with (
        serving(body(bomb, Content_Encoding="gzip")) as server,
        pytest.raises(BadInput, match="more than can be read"),
    ):
        send(f"json://127.0.0.1:{server.server_port}/", "t", "b", allow_private=True)
