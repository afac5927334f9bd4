"""Connections by raw sockets: heads, trailers and bodies without end, half-open ones, slow ones."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from fastapi import FastAPI
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from actverse.roles import gateway_command
from components.settings import Settings
from gateway import limits
from gateway.app import create_app
from gateway.at_once import AtOnce
from gateway.database import Sessions
from gateway.http_limits import SERVER_ARGUMENTS, LimitedProtocol
from gateway.keys import create_key
from gateway.tasks import create_task
from gateway.work import Work
from tests.helpers.gateways import running_gateway
from tests.helpers.servers import wait_until

HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
# FastAPI reads its body before it looks at the key.
POST = b"POST /video/download HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class Impatient(LimitedProtocol):
    """Waits for heads for a moment, and takes few connections."""

    HEAD_SECONDS = 0.4
    CONNECTIONS = 12


@pytest.fixture
def app(settings: Settings, api_key: str) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def address(app: FastAPI) -> Iterator[tuple[str, int]]:
    with running_gateway(app) as url:
        yield _address(url)


@pytest.fixture
def impatient(app: FastAPI) -> Iterator[tuple[str, int]]:
    with running_gateway(app, http=Impatient) as url:
        yield _address(url)


def _address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


@contextmanager
def _connected(address: tuple[str, int], *sent: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=20) as client:
        with suppress(ConnectionError):  # it may be refused before its end
            for piece in sent:
                client.sendall(piece)
        yield client


def _all(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    got = b""
    with suppress(ConnectionError):
        while piece := client.recv(65536):
            got += piece
    return got


def _answered(address: tuple[str, int], *sent: bytes) -> bytes:
    with _connected(address, *sent) as client:
        return _all(client)


def _healthy(address: tuple[str, int]) -> bool:
    answer = _answered(address, HEAD + b"Connection: close\r\n\r\n")
    return answer.startswith(b"HTTP/1.1 200")


LARGE = [
    (431, [HEAD, b"X-Long: ", *[b"a" * 65536] * 32]),
    (431, [HEAD, *(b"X-%d: %b\r\n" % (i, b"a" * 1000) for i in range(90)), b"\r\n"]),
    (431, [HEAD, *(b"X-%d: a\r\n" % i for i in range(120)), b"\r\n"]),
    (431, [HEAD + b"Cookie: " + b"a" * 70_000 + b"\r\n\r\n"]),
    (431, [HEAD, *[b"n" * 65536] * 32]),
    (414, [b"GET /?" + b"a=b&" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"]),
    (414, [b"GET /", *[b"a" * 65536] * 32]),
    (431, [b"\r\n" * 32_768] * 32),
    (400, [CHUNKED, b"1;", *[b"e" * 65536] * 32]),
    (400, [CHUNKED, b'1;e="', *[b"e" * 65536] * 32]),
]


@pytest.mark.parametrize(("status", "sent"), LARGE)
def test_what_is_too_large_for_a_head_is_refused(
    address: tuple[str, int], status: int, sent: list[bytes]
):
    head, _, body = _answered(address, *sent).partition(b"\r\n\r\n")
    if sent[0] == CHUNKED:
        # Its answer is not out yet, so none can be put before it.
        assert head == b""
    else:
        assert head.startswith(b"HTTP/1.1 %d " % status), head
        assert b"content-type: application/problem+json" in head.lower()
        assert b"urn:actverse:problem:" in body
    assert _healthy(address)


@pytest.mark.parametrize(
    "trailers",
    [
        [*(b"X-%d: a\r\n" % i for i in range(200)), b"\r\n"],
        [b"X-Long: ", *[b"a" * 65536] * 32],
        [b"n" * 65536] * 32,
    ],
)
def test_trailers_count_as_headers(address: tuple[str, int], trailers: list[bytes]):
    assert _answered(address, CHUNKED, b"2\r\n{}\r\n0\r\n", *trailers) == b""
    assert _healthy(address)


def test_a_head_as_large_as_allowed_is_taken(address: tuple[str, int]):
    lines = [b"X-%d: %b\r\n" % (i, b"a" * 600) for i in range(90)]
    answer = _answered(address, HEAD, b"Connection: close\r\n", *lines, b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    long = b"GET /healthz?" + b"a" * 30_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert _answered(address, long).startswith(b"HTTP/1.1 200")


def test_endless_headers_take_no_memory(address: tuple[str, int]):
    """The gateway is a thread of this process: 200 MB of headers must not be found in it."""
    before = psutil.Process().memory_info().rss
    peak = before
    line = b"".join(b"X-%d: %b\r\n" % (i, b"a" * 10_000) for i in range(100))
    with socket.create_connection(address, timeout=20) as client, suppress(ConnectionError):
        client.sendall(HEAD)
        for _ in range(200):
            client.sendall(line)
            peak = max(peak, psutil.Process().memory_info().rss)
    assert peak - before < 50 * 2**20


def test_requests_in_a_pipe_are_few(address: tuple[str, int]):
    whole = HEAD + b"\r\n"
    several = _answered(address, whole * 4, HEAD + b"Connection: close\r\n\r\n")
    assert several.count(b"HTTP/1.1 200") == 5
    # So many at once are nobody's who waits for answers.
    assert _answered(address, whole * 5000).count(b"HTTP/1.1 200") < 20
    assert _healthy(address)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET",
        b"\r\n\r\n",
        HEAD,
        HEAD + b"X-Half: ",
        b"GET /ws/tasks/t-1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n",
        # A second request on a connection that was answered once.
        HEAD + b"\r\n" + HEAD,
    ],
)
def test_half_a_head_is_waited_for_and_no_longer(impatient: tuple[str, int], sent: bytes):
    with _connected(impatient, sent) as client:
        answer = _all(client)
    begun = bool(sent.strip())
    assert (b"HTTP/1.1 408 " in answer) == begun, answer


def test_a_head_that_drips_has_no_longer_than_one_that_stops(impatient: tuple[str, int]):
    with _connected(impatient, HEAD) as client:
        client.settimeout(0.02)
        answer, drops = b"", 0
        while b"408" not in answer and drops < 500:
            try:
                client.sendall(b"a")
                drops += 1
                answer += client.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert drops < 500


def test_the_rest_of_a_body_is_not_taken_for_ever(impatient: tuple[str, int]):
    """The answer is out, and what follows on the connection leads to nothing."""
    refused = b"PUT /files/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc"
    with _connected(impatient, refused) as client:
        client.settimeout(0.02)
        answer, drops = b"", 0
        while drops < 500:
            try:
                client.sendall(b"a")
                drops += 1
                answer += client.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert answer.startswith(b"HTTP/1.1 401")
        assert drops < 500


def test_a_slow_client_that_is_honest_is_answered(address: tuple[str, int]):
    with socket.create_connection(address, timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in HEAD + b"Connection: close\r\n\r\n":
            client.sendall(bytes([byte]))
        assert _all(client).startswith(b"HTTP/1.1 200")


def test_half_open_connections_shut_nobody_out(app: FastAPI):
    class Few(LimitedProtocol):
        CONNECTIONS = 20

    with running_gateway(app, http=Few) as url, ExitStack() as stack:
        address = _address(url)
        half = [stack.enter_context(_connected(address, HEAD)) for _ in range(60)]
        assert _healthy(address)
        # The oldest made room for the newest.
        assert _all(half[0]) == b""
        half[-1].sendall(b"Connection: close\r\n\r\n")
        assert _all(half[-1]).startswith(b"HTTP/1.1 200")


def test_strangers_push_out_no_upload_of_a_user(app: FastAPI, api_key: str, settings: Settings):
    class Few(LimitedProtocol):
        CONNECTIONS = 8

    body = b"x" * 2**20
    head = b"PUT /files/a.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: %b\r\n" % (
        api_key.encode()
    )
    stored = settings.layout.user_file("ada", "a.bin")
    with running_gateway(app, http=Few) as url, ExitStack() as stack:
        address = _address(url)
        length = b"Content-Length: %d\r\n\r\n" % (2 * len(body))
        upload = stack.enter_context(_connected(address, head + length, body))
        wait_until(lambda: _files(stored.parent), what="the upload to begin")
        for _ in range(40):
            stack.enter_context(_connected(address, HEAD))
            # Requests with bodies that never come are strangers' as well.
            stack.enter_context(_connected(address, POST + b"Content-Length: 9\r\n\r\n"))
        upload.sendall(body)
        assert _all(upload).startswith(b"HTTP/1.1 201")
    assert stored.stat().st_size == 2 * len(body)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_sockets_that_never_say_who_they_are_shut_nobody_out(app: FastAPI):
    class Few(LimitedProtocol):
        CONNECTIONS = 8

    shake = (
        b"GET /ws/tasks/t-1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with running_gateway(app, http=Few) as url, ExitStack() as stack:
        address = _address(url)
        for _ in range(20):
            client = stack.enter_context(_connected(address, shake))
            assert client.recv(65536).startswith(b"HTTP/1.1 101")
        assert _healthy(address)


def test_a_body_that_does_not_come_is_not_waited_for(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "_BODY_SECONDS", 0.3)
    for sent in (
        POST + b"Content-Length: 9\r\n\r\n",
        POST + b"Content-Length: 9\r\n\r\n{",
        CHUNKED + b"1\r\n{\r\n",
        POST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    ):
        answer = _answered(address, sent).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        assert answer.startswith(b"HTTP/1.1 408"), answer
        assert b"application/problem+json" in answer


def test_a_slow_body_that_goes_on_is_taken(
    address: tuple[str, int], api_key: str, monkeypatch: pytest.MonkeyPatch
):
    """The time it has grows with what came of it."""
    monkeypatch.setattr(limits, "_BODY_SECONDS", 0.5)
    monkeypatch.setattr(limits, "_BODY_BYTES_A_SECOND", 10)
    pause = threading.Event()
    head = POST + b"Connection: close\r\nContent-Length: 300\r\nX-API-Key: %b\r\n\r\n"
    with _connected(address, head % api_key.encode()) as client:
        for _ in range(30):
            client.sendall(b" " * 10)
            pause.wait(0.03)
        # Its JSON is none: it was read to its end.
        assert _all(client).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("key", [b"", b"X-API-Key: av_nobodys\r\n"])
def test_large_bodies_are_taken_of_users_only(address: tuple[str, int], api_key: str, key: bytes):
    def sent(key: bytes) -> bytes:
        body = b" " * 200_000
        length = b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        return _answered(address, POST + key + length + body)

    assert sent(key).startswith(b"HTTP/1.1 401")
    assert sent(b"X-API-Key: %b\r\n" % api_key.encode()).startswith(b"HTTP/1.1 400")
    assert sent(b"Authorization: Bearer %b\r\n" % api_key.encode()).startswith(b"HTTP/1.1 400")


def test_the_gateway_is_started_with_these_limits(settings: Settings):
    command = gateway_command(settings)
    at = command.index(SERVER_ARGUMENTS[0])
    assert tuple(command[at : at + 2]) == SERVER_ARGUMENTS


def test_watchers_of_one_user_are_counted(
    app: FastAPI, settings: Settings, sessions: Sessions, api_key: str
):
    """By either kind of stream; another user's are not among them, and who leaves makes room."""
    app.state.watchers = AtOnce(100, "Live streams", 3)
    with sessions.begin() as session:
        bobs_key = create_key(session, settings, "bob")
        tasks = {
            user: create_task(session, user, "upload", Work(file_path="a.mp4")).id
            for user in ("ada", "bob")
        }

    def stream(address: tuple[str, int], user: str, key: str) -> socket.socket:
        client = socket.create_connection(address, timeout=20)
        head = f"GET /tasks/{tasks[user]}/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n"
        client.sendall(head.encode())
        return client

    with running_gateway(app) as url:
        with ExitStack() as stack:
            address = _address(url)
            mine = [stack.enter_context(stream(address, "ada", api_key)) for _ in range(3)]
            assert {client.recv(12) for client in mine} == {b"HTTP/1.1 200"}
            with stream(address, "ada", api_key) as refused:
                answer = refused.recv(65536)
                assert answer.startswith(b"HTTP/1.1 429")
                assert b"retry-after: 5" in answer.lower()
            place = url.replace("http", "ws") + f"/ws/tasks/{tasks['ada']}"
            with (
                connect(place, additional_headers={"X-API-Key": api_key}) as websocket,
                pytest.raises(ConnectionClosed, match="TooManyRequests"),
            ):
                websocket.recv(20)
            with stream(address, "bob", bobs_key) as other:
                assert other.recv(12) == b"HTTP/1.1 200"
            mine[0].close()
            wait_until(lambda: app.state.watchers._users["ada"] == 2, what="the watcher's leaving")
            with stream(address, "ada", api_key) as again:
                assert again.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: not app.state.watchers._users.total(), what="all watchers' leaving")


def test_two_hundred_watchers_of_one_user_are_let_in(app: FastAPI):
    class Watch:
        """A holder of a place, as a stream is."""

    held = [Watch() for _ in range(200)]
    for one in held:
        app.state.watchers.hold("ada", one)
    assert app.state.watchers._users["ada"] == 200
    del held, one
    assert not app.state.watchers._users.total()
