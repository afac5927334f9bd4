"""The outbound guard against real loopback servers; names are resolved by the tests."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from components.errors import ActverseError, BadInput, NotFound, Refused, Unavailable
from components.guarded_network import IpAddress, is_public
from components.outbound import open_url
from tests.helpers.web import body, only_first_loopback, redirect, self_signed, serving


def fetch(url: str, *, limit: int = 1000, timeout: float = 10, **options: object) -> bytes:
    with open_url(url, max_bytes=limit, timeout=timeout, **options) as stream:  # type: ignore[arg-type]
        return b"".join(stream.iter_bytes())


class Amazon:
    """What stands where the public S3 endpoint would be."""

    address = "127.0.0.3"

    def __init__(self) -> None:
        self.looked_up: list[tuple[str, int]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []

    def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append((host, port))
        return [self.address]

    def allowed(self, address: IpAddress) -> bool:
        return str(address) == self.address

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append((handler.path, headers))
        status = {"/private.mp4": 403, "/none.mp4": 404}.get(handler.path, 200)
        body(b"film", status)(handler)


@pytest.fixture
def amazon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Amazon]:
    """An S3 endpoint on the port of https, with a certificate that is trusted here."""
    certificate = self_signed(tmp_path, ["s3.amazonaws.com", "*.s3.amazonaws.com"])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    endpoint = Amazon()
    try:
        with serving(endpoint.answer, endpoint.address, 443, context):
            yield endpoint
    except PermissionError:
        pytest.skip("port 443 of the loopback is not for this user to listen on")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f000001",
        "0x7f.1",
        "0",
        "0.0.0.0",
        "169.254.169.254",
        "0xa9fea9fe",
        "10.0.0.5",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::a00:5]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "１２７.0.0.1",
        "127。0。0。1",
    ],
)
def test_address_that_is_not_public_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises((Refused, BadInput), match=r"not public|not a URL"):
        fetch(f"http://{host}/")


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_public_address_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_one_private_address_among_public_ones_is_refused() -> None:
    with pytest.raises(Refused, match="not public"):
        fetch("http://mixed.test/", resolve=lambda host, port: ["8.8.8.8", "10.0.0.5"])


def test_connection_goes_to_the_checked_address_though_the_name_now_leads_elsewhere() -> None:
    with (
        serving(body(b"public")) as public,
        serving(body(b"secret"), "127.0.0.2", public.server_port) as private,
    ):
        answers = iter([["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"]])
        got = fetch(
            f"http://rebinding.test:{public.server_port}/",
            ports={public.server_port},
            resolve=lambda host, port: next(answers),
            allowed=only_first_loopback,
        )
        assert got == b"public"
        assert next(answers) == ["127.0.0.2"], "the name was resolved more than once"
        assert private.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_a_private_address_is_refused_before_it_is_called(status: int) -> None:
    with (
        serving(body(b"secret"), "127.0.0.2") as private,
        serving(redirect(f"http://127.0.0.2:{private.server_port}/", status)) as public,
    ):
        with pytest.raises(Refused, match="not public"):
            fetch(
                f"http://127.0.0.1:{public.server_port}/",
                ports={public.server_port, private.server_port},
                allowed=only_first_loopback,
            )
        assert (public.connections, private.connections) == (1, 0)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.1",
        "0x7f.1",
        "0177.0.0.2",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.5",
        "192.168.1.1",
        "[::1]",
        "[::ffff:127.0.0.2]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
    ],
)
def test_redirect_to_what_is_not_public_is_refused_however_it_is_written(host: str) -> None:
    with (
        serving(redirect(f"http://{host}/"), "127.0.0.4") as public,
        pytest.raises((Refused, BadInput), match=r"not public|no URL"),
    ):
        fetch(
            f"http://127.0.0.4:{public.server_port}/",
            ports={public.server_port, 80},
            allowed=lambda address: str(address) == "127.0.0.4" or is_public(address),
        )
    assert public.connections == 1


def test_name_that_a_redirect_leads_to_is_looked_up_and_checked_again() -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    with serving(body(b"secret"), "127.0.0.2") as private:
        location = f"http://same.test:{private.server_port}/"
        with serving(redirect(location)) as public, pytest.raises(Refused, match="not public"):
            fetch(
                f"http://same.test:{public.server_port}/",
                ports={public.server_port, private.server_port},
                resolve=lambda host, port: next(answers),
                allowed=only_first_loopback,
            )
        assert private.connections == 0


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://127.0.0.1/", "scheme 'gopher'"),
        ("http://127.0.0.1:22/", "Port 22"),
        ("http://user:hush@127.0.0.1/", "credentials"),
    ],
)
def test_redirect_is_checked_like_the_first_url(location: str, sentence: str) -> None:
    with serving(redirect(location)) as server, pytest.raises(Refused, match=sentence) as caught:
        fetch(
            f"http://127.0.0.1:{server.server_port}/",
            ports={server.server_port},
            allowed=only_first_loopback,
        )
    assert "hush" not in str(caught.value)


def test_redirect_is_followed_relative_and_to_another_host() -> None:
    with serving(body(b"film")) as last:

        def answer(handler: BaseHTTPRequestHandler) -> None:
            places = {"/a": "b", "/b": f"http://other.test:{last.server_port}/film"}
            redirect(places[handler.path])(handler)

        with (
            serving(answer) as first,
            open_url(
                f"http://first.test:{first.server_port}/a",
                max_bytes=10,
                timeout=10,
                allow_private=True,
                resolve=lambda host, port: ["127.0.0.1"],
            ) as stream,
        ):
            assert b"".join(stream.iter_bytes()) == b"film"
            assert stream.url == f"http://other.test:{last.server_port}/film"
            assert stream.length == 4


def test_endless_redirects_end() -> None:
    with serving(redirect("/again")) as server, pytest.raises(BadInput, match="redirects more"):
        fetch(f"http://127.0.0.1:{server.server_port}/", allow_private=True)


@pytest.mark.parametrize(
    ("url", "error", "sentence"),
    [
        ("ftp://host.test/film.mp4", Refused, "scheme 'ftp'"),
        ("file:///etc/passwd", Refused, "scheme 'file'"),
        ("/etc/passwd", Refused, "scheme ''"),
        ("http://", BadInput, "no host"),
        ("http://[::1/", BadInput, "not a URL"),
        ("http://host.test:99999/", BadInput, "no port 99999"),
        ("http://name:hush@host.test/", Refused, "credentials"),
        ("http://host.test:22/", Refused, "Port 22"),
    ],
)
def test_url_is_refused_unseen(url: str, error: type[ActverseError], sentence: str) -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError("the host was looked up")

    with pytest.raises(error, match=sentence) as caught:
        fetch(url, resolve=resolve)
    assert "hush" not in str(caught.value)


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(body(b"film")) as server, serving(body(b"by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        url = f"http://127.0.0.1:{server.server_port}/"
        assert fetch(url, allow_private=True) == b"film"
        assert proxy.connections == 0


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1000))


def test_endless_body_is_cut_at_the_size_cap() -> None:
    with serving(endless) as server, pytest.raises(BadInput, match="larger than the 5000 bytes"):
        fetch(f"http://127.0.0.1:{server.server_port}/", allow_private=True, limit=5000)


def test_announced_size_beyond_the_cap_is_refused_before_the_body() -> None:
    with (
        serving(body(b"", Content_Length="5001")) as server,
        pytest.raises(BadInput, match="larger than the 5000 bytes"),
    ):
        fetch(f"http://127.0.0.1:{server.server_port}/", allow_private=True, limit=5000)


def test_body_that_drips_is_cut_at_the_time_cap() -> None:
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.05):
            handler.wfile.write(b".")

    with serving(drip) as server:
        try:
            with pytest.raises(Unavailable, match="did not answer in time"):
                fetch(f"http://127.0.0.1:{server.server_port}/", allow_private=True, timeout=0.5)
        finally:
            stop.set()


def test_silent_server_is_left_at_the_time_cap() -> None:
    stop = threading.Event()

    def say_nothing(handler: BaseHTTPRequestHandler) -> None:
        stop.wait(60)

    with serving(say_nothing) as server:
        try:
            started = time.monotonic()
            with pytest.raises(Unavailable, match="did not answer in time"):
                fetch(f"http://127.0.0.1:{server.server_port}/", allow_private=True, timeout=0.3)
            assert time.monotonic() - started < 15, "not the limit on silence, 30 s"
        finally:
            stop.set()


def test_headers_that_drip_are_cut_at_the_time_cap() -> None:
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not stop.wait(0.05):
            handler.wfile.write(b"X-More: yes\r\n")

    with serving(drip) as server:
        try:
            with pytest.raises(Unavailable, match="did not answer in time"):
                fetch(f"http://127.0.0.1:{server.server_port}/", allow_private=True, timeout=0.5)
        finally:
            stop.set()


def test_body_shorter_than_announced_is_an_error() -> None:
    with (
        serving(body(b"half", Content_Length="8")) as server,
        pytest.raises(Unavailable, match="received 4 bytes, expected 8"),
    ):
        fetch(f"http://127.0.0.1:{server.server_port}/", allow_private=True)


def test_compressed_body_is_refused_since_it_could_unfold_beyond_the_cap() -> None:
    with (
        serving(body(b"x", Content_Encoding="gzip")) as server,
        pytest.raises(BadInput, match="compressed"),
    ):
        fetch(f"http://127.0.0.1:{server.server_port}/", allow_private=True)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (410, NotFound),
        (401, Refused),
        (403, Refused),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        (400, BadInput),
        (304, BadInput),
    ],
)
def test_status_becomes_our_error_without_the_secret_query(
    status: int, error: type[ActverseError]
) -> None:
    with serving(body(b"", status)) as server, pytest.raises(error) as caught:
        fetch(f"http://127.0.0.1:{server.server_port}/f.mp4?signature=hush", allow_private=True)
    assert str(status) in str(caught.value)
    assert "f.mp4" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        with pytest.raises(Unavailable, match="cannot be fetched"):
            fetch(f"http://127.0.0.1:{port}/", allow_private=True)


def test_host_that_does_not_resolve_is_unavailable() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(Unavailable, match=r"nowhere\.test cannot be found"):
        fetch("http://nowhere.test/", resolve=resolve)


def test_later_address_is_tried_where_the_first_does_not_answer() -> None:
    with serving(body(b"film")) as server:
        got = fetch(
            f"http://two.test:{server.server_port}/",
            allow_private=True,
            resolve=lambda host, port: ["127.0.0.9", "127.0.0.1"],
        )
    assert got == b"film"


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("s3://films/a/film.mp4", "films.s3.amazonaws.com", "/a/film.mp4"),
        ("S3://films/film.mp4", "films.s3.amazonaws.com", "/film.mp4"),
        ("s3://my.films/film.mp4", "s3.amazonaws.com", "/my.films/film.mp4"),
        (
            "s3://films/a b+c?d#e%20é.mp4",
            "films.s3.amazonaws.com",
            "/a%20b%2Bc%3Fd%23e%2520%C3%A9.mp4",
        ),
    ],
)
def test_s3_object_is_read_from_the_public_endpoint_as_a_stranger(
    url: str, host: str, path: str, amazon: Amazon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "our-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "our-secret")
    assert fetch(url, resolve=amazon.resolve, allowed=amazon.allowed) == b"film"
    ((asked_host, asked_port),) = amazon.looked_up
    assert (asked_host, asked_port) == (host, 443)
    ((request_path, headers),) = amazon.requests
    assert (request_path, headers["host"]) == (path, host)
    assert "authorization" not in headers
    assert "our-" not in str(headers)


def test_s3_object_that_strangers_may_not_read_names_the_way_out(amazon: Amazon) -> None:
    with pytest.raises(Refused, match=r"films\.s3\.amazonaws\.com.*presigned https URL"):
        fetch("s3://films/private.mp4", resolve=amazon.resolve, allowed=amazon.allowed)
    with pytest.raises(NotFound, match=r"none\.mp4 is not there"):
        fetch("s3://films/none.mp4", resolve=amazon.resolve, allowed=amazon.allowed)


def test_s3_endpoint_is_guarded_like_any_other() -> None:
    with pytest.raises(Refused, match="not public"):
        fetch("s3://films/film.mp4", resolve=lambda host, port: ["10.0.0.5"])


@pytest.mark.parametrize(
    "url",
    [
        "s3://films",
        "s3://films/",
        "s3:///film.mp4",
        "s3://key:hush@films/film.mp4",
        "s3://films:22/film.mp4",
        "s3://evil.test%2f/film.mp4",
        "s3://films/../other/film.mp4",
        "s3://Films/film.mp4",
        "s3://films/\ud800.mp4",
    ],
)
def test_s3_address_of_no_object_is_bad_input(url: str) -> None:
    with pytest.raises(BadInput, match="no S3 object") as caught:
        fetch(url, resolve=lambda host, port: ["10.0.0.5"])
    assert "hush" not in str(caught.value)


def test_redirect_to_s3_is_refused() -> None:
    with (
        serving(redirect("s3://films/film.mp4")) as server,
        pytest.raises(Refused, match="scheme 's3'"),
    ):
        fetch(
            f"http://127.0.0.1:{server.server_port}/",
            ports={server.server_port},
            allowed=only_first_loopback,
        )
