"""The guard below other people's libraries, against real servers on the loopback.

The "public" server listens on 127.0.0.1, the private one on 127.0.0.2.
"""

import http.client
import os
import smtplib
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
import requests

from components.errors import Refused
from components.guarded_sockets import guarded_sockets
from tests.helpers.web import Server, body, only_first_loopback, redirect, serving

Call = Callable[[str, int], object]


def by_requests(host: str, port: int) -> object:
    return requests.get(f"http://{host}:{port}/", timeout=5).content


def by_session(host: str, port: int) -> object:
    with requests.Session() as session:
        return session.get(f"http://{host}:{port}/", timeout=5).content


def by_http_client(host: str, port: int) -> object:
    with closing(http.client.HTTPConnection(host, port, timeout=5)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read()


def by_urllib(host: str, port: int) -> object:
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=5) as answer:
        return answer.read()


def by_smtplib(host: str, port: int) -> object:
    return smtplib.SMTP(host, port, timeout=5)


def by_smtplib_with_tls(host: str, port: int) -> object:
    return smtplib.SMTP_SSL(host, port, timeout=5)


def by_socket(host: str, port: int) -> object:
    with socket.socket() as client:
        return client.connect((host, port))


def by_connect_ex(host: str, port: int) -> object:
    with socket.socket() as client:
        return client.connect_ex((host, port))


def by_tls_socket(host: str, port: int) -> object:
    with ssl.create_default_context().wrap_socket(socket.socket(), server_hostname=host) as client:
        return client.connect((host, port))


def by_datagram(host: str, port: int) -> object:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        return client.sendto(b"hello", (host, port))


def by_sendmsg(host: str, port: int) -> object:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        return client.sendmsg([b"hello"], [], 0, (host, port))


def by_connected_datagram(host: str, port: int) -> object:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect((host, port))
        return client.sendmsg([b"hello"])


LIBRARIES: list[Call] = [
    by_requests,
    by_session,
    by_http_client,
    by_urllib,
    by_smtplib,
    by_smtplib_with_tls,
]
SOCKETS: list[Call] = [
    by_socket,
    by_connect_ex,
    by_tls_socket,
    by_datagram,
    by_sendmsg,
    by_connected_datagram,
]


@pytest.fixture
def public() -> Iterator[Server]:
    with serving(body(b"public")) as server:
        yield server


@pytest.fixture
def private(public: Server) -> Iterator[Server]:
    with serving(body(b"secret"), "127.0.0.2", public.server_port) as server:
        yield server


@pytest.mark.parametrize("call", LIBRARIES + SOCKETS)
def test_private_address_is_refused_whoever_connects(call: Call, private: Server) -> None:
    with pytest.raises(Refused, match="not public"), guarded_sockets(allowed=only_first_loopback):
        call("127.0.0.2", private.server_port)
    assert private.connections == 0


@pytest.mark.parametrize("call", LIBRARIES)
def test_name_that_leads_inside_is_refused(call: Call, private: Server) -> None:
    with (
        pytest.raises(Refused, match=r"inside\.test leads to an address that is not public"),
        guarded_sockets(allowed=only_first_loopback, resolve=lambda host, port: ["127.0.0.2"]),
    ):
        call("inside.test", private.server_port)
    assert private.connections == 0


@pytest.mark.parametrize("call", [by_requests, by_session, by_http_client, by_urllib])
def test_checked_address_is_used_though_the_name_now_leads_elsewhere(
    call: Call, public: Server, private: Server
) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    with guarded_sockets(allowed=only_first_loopback, resolve=lambda host, port: next(answers)):
        assert call("rebinding.test", public.server_port) == b"public"
    assert next(answers) == ["127.0.0.2"], "the name was looked up more than once"
    assert private.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0",
        "169.254.169.254",
        "10.0.0.5",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "64:ff9b::7f00:1",
        "fe80::1%lo",
        "",
        None,
        b"localhost",
    ],
)
def test_address_that_is_not_public_is_refused_however_it_is_written(
    host: str | bytes | None,
) -> None:
    with pytest.raises(Refused, match="not public"), guarded_sockets():
        socket.getaddrinfo(host, 80)


def test_one_private_address_among_public_ones_is_refused() -> None:
    with (
        pytest.raises(Refused, match="not public"),
        guarded_sockets(resolve=lambda host, port: ["8.8.8.8", "10.0.0.5"]),
    ):
        socket.getaddrinfo("mixed.test", 80)


@pytest.mark.parametrize("call", [by_socket, by_connect_ex, by_datagram])
def test_name_that_was_not_looked_up_is_refused(call: Call, public: Server) -> None:
    with pytest.raises(Refused, match="without looking it up"), guarded_sockets(allow_private=True):
        call("localhost", public.server_port)
    assert public.connections == 0


def test_redirect_to_a_private_address_is_refused(private: Server) -> None:
    location = f"http://127.0.0.2:{private.server_port}/"
    with serving(redirect(location)) as server:
        with (
            pytest.raises(Refused, match="not public"),
            guarded_sockets(allowed=only_first_loopback),
        ):
            by_requests("127.0.0.1", server.server_port)
        assert (server.connections, private.connections) == (1, 0)


def test_family_asked_for_is_given() -> None:
    with guarded_sockets(resolve=lambda host, port: ["2606:4700::1111", "8.8.8.8"]):
        assert {info[4][0] for info in socket.getaddrinfo("both.test", 443)} == {
            "8.8.8.8",
            "2606:4700::1111",
        }
        (info,) = socket.getaddrinfo("both.test", "443", socket.AF_INET, socket.SOCK_STREAM)
        assert info[4] == ("8.8.8.8", 443)
    with (
        guarded_sockets(resolve=lambda host, port: ["2606:4700::1111"]),
        pytest.raises(socket.gaierror),
    ):
        socket.getaddrinfo("six.test", 443, socket.AF_INET)


def test_refusal_that_a_library_swallowed_comes_up_again(private: Server) -> None:
    with (
        pytest.raises(Refused, match="not public"),
        guarded_sockets(allowed=only_first_loopback),
        suppress(Exception),
    ):
        by_socket("127.0.0.2", private.server_port)


def test_refusal_that_a_library_turned_into_its_own_error_comes_up_again() -> None:
    with pytest.raises(Refused, match="not public") as caught, guarded_sockets():
        try:
            by_socket("10.0.0.5", 80)
        except Refused as error:
            raise RuntimeError("hidden") from error
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError), guarded_sockets():
        raise KeyError("theirs")


@pytest.mark.parametrize(
    "leave",
    [
        lambda: threading.Thread(target=print).start(),
        lambda: subprocess.run(["true"], check=True),
        lambda: os.system("true"),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: os.fork() or os._exit(0),
    ],
    ids=["thread", "subprocess", "system", "spawn", "fork"],
)
def test_the_guarded_thread_cannot_be_left(leave: Callable[[], object]) -> None:
    with pytest.raises(Refused, match="thread or a process"), guarded_sockets(allow_private=True):
        leave()


def test_unix_sockets_are_refused() -> None:
    with (
        pytest.raises(Refused, match="Only Internet addresses"),
        guarded_sockets(allow_private=True),
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect("/run/docker.sock")


@pytest.mark.parametrize("scheme", ["http", ""])
def test_proxy_of_the_environment_is_not_used(
    scheme: str, public: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(body(b"by proxy")) as proxy:
        address = f"127.0.0.1:{proxy.server_port}"
        monkeypatch.setenv("http_proxy", f"{scheme}://{address}" if scheme else address)
        with pytest.raises(Refused, match="proxy"), guarded_sockets(allow_private=True):
            by_requests("127.0.0.1", public.server_port)
        assert proxy.connections == 0
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with guarded_sockets(allow_private=True):
            assert by_requests("127.0.0.1", public.server_port) == b"public"


def test_other_threads_and_later_calls_are_free(public: Server) -> None:
    opened, asked = threading.Event(), threading.Event()
    got: list[object] = []

    def other() -> None:
        opened.wait(10)
        got.append(by_requests("127.0.0.1", public.server_port))
        asked.set()

    thread = threading.Thread(target=other)
    thread.start()
    with guarded_sockets():
        opened.set()
        assert asked.wait(10)
    thread.join()
    assert got == [b"public"]
    assert by_requests("127.0.0.1", public.server_port) == b"public"


def test_guards_nest_and_the_inner_one_counts(public: Server, private: Server) -> None:
    with (
        pytest.raises(Refused, match="not public"),
        guarded_sockets(allowed=only_first_loopback),
    ):
        with guarded_sockets(allow_private=True):
            assert by_requests("127.0.0.2", private.server_port) == b"secret"
        assert by_requests("127.0.0.1", public.server_port) == b"public"
        by_requests("127.0.0.2", private.server_port)
    assert private.connections == 1
