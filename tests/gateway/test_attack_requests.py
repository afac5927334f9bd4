"""The attack corpus (``tests/corpus/requests.py``) against a real gateway in its own process.

Whatever is sent: no error of ours, nothing outside the user's own files, no second answer, and
the gateway goes on with the memory that it had.
"""

import functools
import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from actverse.roles import gateway_command
from components.delivery_signature import sign_delivery
from components.errors import ActverseError, BadInput, Refused, Unavailable
from components.guarded_network import is_public
from components.guarded_sockets import guarded_sockets
from components.outbound import open_url
from components.settings import Settings
from gateway.app import create_app
from gateway.database import open_database
from gateway.keys import create_key
from gateway.notifications.targets import check_target
from gateway.webhook import MLFLOW, PIPELINES, label_studio_token
from tests.corpus import requests as corpus
from tests.helpers.servers import free_ports, wait_until
from tests.helpers.web import redirect, serving

ROOT = Path(__file__).resolve().parents[2]
# More than a process takes for having answered thousands of requests.
MEMORY = 80 * 2**20
LARGE = 20_000
READ_APART = ("/tasks/", "/video/download")


@dataclass
class Gateway:
    """A gateway that a stack would start, on a database and a folder of its own."""

    settings: Settings
    key: str
    process: psutil.Process

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.settings.gateway_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.gateway_port}"

    def is_well(self) -> bool:
        return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("attacked")
    (port,) = free_ports(1)
    settings = Settings(
        home=home,
        gateway_port=port,
        api_key_secret="keys-secret",
        webhook_secret="webhook-secret",
        pipeline_secret="pipeline-secret",
        rate_limit="",
    )
    shutil.copyfile(empty_database, home / "actverse.db")
    with open_database(settings.database_url).begin() as session:
        key = create_key(session, settings, "ada")
    with (home / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            gateway_command(settings),
            cwd=ROOT,
            env=settings.environment(secrets=True),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        made = Gateway(settings, key, psutil.Process(process.pid))

        def answers() -> bool:
            assert process.poll() is None, (home / "gateway.log").read_text()
            with suppress(httpx.TransportError):
                return made.is_well()
            return False

        wait_until(answers, 60, "the gateway")
        yield made
    finally:
        process.terminate()
        process.wait(20)
    # What nobody has foreseen is logged with its trace.
    assert "Traceback" not in (home / "gateway.log").read_text()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    """With ada's key; the gateway is well and no larger afterwards."""
    before = gateway.process.memory_info().rss
    with httpx.Client(
        base_url=gateway.url, headers={"X-API-Key": gateway.key}, timeout=30, trust_env=False
    ) as made:
        yield made
    assert gateway.is_well()
    assert gateway.process.memory_info().rss - before < MEMORY


def _refused_well(answer: httpx.Response, what: str) -> None:
    assert answer.status_code < 500, (what, answer.text)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", what
        assert answer.json()["type"].startswith("urn:actverse:problem:"), what


def _operations(settings: Settings) -> list[tuple[str, list[str]]]:
    """Path and fields of every operation that takes JSON."""
    described = create_app(settings).openapi()
    schemas = described["components"]["schemas"]
    found = []
    for path, operations in described["paths"].items():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            if name := schema.get("$ref", "").rpartition("/")[2]:
                found.append((path.replace("{task_id}", "t-0"), list(schemas[name]["properties"])))
    return found


def test_bodies(client: httpx.Client, gateway: Gateway):
    operations = _operations(gateway.settings)
    assert len(operations) > 10
    kind = {"Content-Type": "application/json"}
    for path, fields in operations:
        # All but POST /tasks/ read bodies in one way.
        for what, body in corpus.JSON_BODIES.items() if path in READ_APART else ():
            answer = client.post(path, content=body, headers=kind)
            _refused_well(answer, f"{what} to {path}")
        for what, value in corpus.JSON_VALUES.items():
            if len(value) >= LARGE:
                continue
            # All at once: each field is read and found at fault by itself.
            body = b"{" + b",".join(b'"%b":%b' % (f.encode(), value) for f in fields) + b"}"
            answer = client.post(path, content=body, headers=kind)
            _refused_well(answer, f"{what} in the fields of {path}")


def test_forms(client: httpx.Client):
    for what, value in corpus.JSON_BODIES.items():
        head = b"--b0\r\nContent-Disposition: form-data; name=request\r\n\r\n"
        tail = (
            b"\r\n--b0\r\nContent-Disposition: form-data; name=video; filename=a\r\n\r\nx\r\n--b0--"
        )
        kind = {"Content-Type": "multipart/form-data; boundary=b0"}
        _refused_well(client.post("/tasks/", content=head + value + tail, headers=kind), what)


def test_names_of_uploads(client: httpx.Client, gateway: Gateway):
    request = json.dumps({"names": ["mouse"], "num_frames": 20}).encode()
    for name in corpus.FILE_NAMES:
        body = (
            b"--b0\r\nContent-Disposition: form-data; name=request\r\n\r\n"
            + request
            + b'\r\n--b0\r\nContent-Disposition: form-data; name="video"; filename="'
            + name.encode()
            + b'"\r\n\r\nabc\r\n--b0--\r\n'
        )
        kind = {"Content-Type": "multipart/form-data; boundary=b0"}
        _refused_well(client.post("/tasks/", content=body, headers=kind), name)
    _nothing_outside(gateway)


def _nothing_outside(gateway: Gateway) -> None:
    """Every file in the storage is ada's, and none has a name that hides it."""
    root, own = gateway.settings.layout.root, gateway.settings.layout.user_file("ada", "x").parent
    for path in root.rglob("*"):
        if path.is_file():
            assert path.is_relative_to(own), path
            assert not path.name.startswith("."), path
            assert path.resolve() == path


def test_signed_deliveries(client: httpx.Client):
    """Who signs is trusted with less than that its JSON is sound."""
    number = 0

    def headers(source: str, body: bytes) -> dict[str, str]:
        nonlocal number
        number += 1
        if source == "label-studio":
            return {"Authorization": f"Bearer {label_studio_token('webhook-secret')}"}
        names = MLFLOW if source == "mlflow" else PIPELINES
        secret = "webhook-secret" if source == "mlflow" else "pipeline-secret"
        now, id = str(int(time.time())), f"d-{number}"
        return {
            names.delivery_id: id,
            names.timestamp: now,
            names.signature: sign_delivery(id, now, body, secret),
        }

    frames = {
        "mlflow": [
            b'{"entity":"registered_model","action":"created","data":{"name":%b}}',
            b'{"entity":"registered_model","action":"created","data":%b}',
            b'{"entity":%b,"action":"created","data":{}}',
            b'{"entity":"registered_model","action":%b,"data":{}}',
        ],
        "label-studio": [
            b'{"action":%b,"project":{"title":"a-t-0123456789ab"}}',
            b'{"action":"ANNOTATION_CREATED","project":{"title":%b}}',
            b'{"action":"ANNOTATION_CREATED","project":%b}',
        ],
        "pipelines": [
            b'{"pipeline":"training","task_id":%b,"run":"r","state":"FAILED"}',
            b'{"pipeline":"training","task_id":"t-0","run":%b,"state":"FAILED"}',
            b'{"pipeline":"training","task_id":"t-0","run":"r","state":"FAILED","error":%b}',
        ],
    }
    for source, given in frames.items():
        bodies = list(corpus.JSON_BODIES.items())
        for frame in given:
            bodies += [(what, frame % value) for what, value in corpus.JSON_VALUES.items()]
        for what, body in bodies:
            signed = headers(source, body)
            answer = client.post(f"/webhooks/{source}", content=body, headers=signed)
            _refused_well(answer, f"{what} signed as {source}: {body[:80]!r}")


def test_first_messages_over_a_websocket(client: httpx.Client, gateway: Gateway):
    address = gateway.url.replace("http", "ws") + "/ws/tasks/t-0"
    for what, body in corpus.JSON_BODIES.items():
        with connect(address, proxy=None) as websocket, pytest.raises(ConnectionClosed) as closed:
            with suppress(ConnectionClosed):
                websocket.send(body[:60_000])
            websocket.recv(20)
        assert closed.value.rcvd is None or closed.value.rcvd.code in (1002, 1007, 1008, 1009), what


def test_keys_of_files(client: httpx.Client, gateway: Gateway):
    """Sent as they are: a client library would tidy them up."""
    connection = http.client.HTTPConnection(*gateway.address, timeout=30)
    for key in corpus.KEYS_THAT_CLIMB:
        for path in {quote(key, safe=""), quote(key)}:
            for method in ("PUT", "GET", "DELETE"):
                connection.request(
                    method, f"/files/{path}", b"abc", headers={"X-API-Key": gateway.key}
                )
                answer = connection.getresponse()
                said = answer.read()
                assert answer.status < 500, (method, key, said)
                if method == "PUT":
                    _nothing_outside(gateway)
        for name in ("prefix", "after"):
            _refused_well(client.get("/files/", params={name: key}), key)
    connection.close()
    for secret in ("actverse.db", "gateway.log"):
        assert (gateway.settings.home / secret).is_file()
    assert not (gateway.settings.home / "x").exists()


def test_places_in_requests(client: httpx.Client, gateway: Gateway):
    for key in corpus.KEYS_THAT_CLIMB:
        body: dict[str, Any]
        for path, body in (
            ("/tasks/", {"file_path": key}),
            ("/tasks/", {"file_path": "a.mp4", "labels_path": key}),
            ("/video/download", {"file_path": "https://host.test/a", "download_path": key}),
            ("/video/upload", {"file_path": "a.mp4", "upload_path": key}),
        ):
            answer = client.post(path, json=body)
            _refused_well(answer, f"{key!r} to {path}")


def _raw(gateway: Gateway, sent: bytes, patience: float = 30) -> bytes:
    """What comes until the gateway closes, or says nothing for so many seconds."""
    got = b""
    with (
        socket.create_connection(gateway.address, timeout=patience) as client,
        suppress(ConnectionError, TimeoutError),
    ):
        client.sendall(sent)
        while piece := client.recv(65536):
            got += piece
    return got


def _statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"(?:^|\n|})HTTP/1\.[01] (\d{3})", answer)]


def test_smuggled_requests(client: httpx.Client, gateway: Gateway):
    for what, sent in corpus.SMUGGLED.items():
        # Some of them wait for more, in vain.
        answer = _raw(gateway, sent, patience=0.3)
        statuses = _statuses(answer)
        assert len(statuses) <= 1, (what, answer[:500])
        assert all(200 <= status < 500 for status in statuses), (what, answer[:500])
        assert b'"openapi"' not in answer, what


def test_odd_requests(client: httpx.Client, gateway: Gateway):
    for what, sent in corpus.ODD_REQUESTS.items():
        answer = _raw(gateway, sent)
        statuses = [status for status in _statuses(answer) if status != 100]
        assert len(statuses) == 1, (what, answer[:500])
        assert statuses[0] < 500, (what, answer[:500])
        assert b"root:" not in answer, what


def test_headers(client: httpx.Client, gateway: Gateway):
    client.put("/files/a.bin", content=b"abc")
    for name, value in corpus.HEADERS:
        for method, path in (
            ("GET", "/files/a.bin"),
            ("GET", "/tasks/t-0/events"),
            ("POST", "/tasks/"),
        ):
            given = {"X-API-Key": gateway.key, "Content-Type": "application/json"}
            given = {k: v for k, v in given.items() if k != name} | {name: value}
            raw = "".join(f"{k}: {v}\r\n" for k, v in given.items())
            host = "" if name == "Host" else "Host: x\r\n"
            body = '{"file_path": "a.bin"}' if method == "POST" else ""
            answer = _raw(
                gateway,
                f"{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n"
                f"Content-Length: {len(body)}\r\n{raw}\r\n{body}".encode("latin-1"),
            )
            (status,) = _statuses(answer)
            assert status < 500, (name, value[:80], path, answer[:500])


_CONTEXT = functools.cache(httpx.create_ssl_context)


@contextmanager
def _refuses() -> Iterator[None]:
    """What is no address in any spelling cannot be found, and is not connected to either."""
    with pytest.raises((Refused, BadInput, Unavailable)) as caught:
        yield
    if isinstance(caught.value, Unavailable):
        assert "cannot be found" in str(caught.value)


@pytest.fixture
def one_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the certificates of all authorities takes far longer than to refuse."""
    monkeypatch.setattr(httpx, "create_ssl_context", _CONTEXT)


@pytest.mark.usefixtures("one_context")
@pytest.mark.parametrize("host", corpus.HOSTS_THAT_ARE_NOT_PUBLIC)
def test_hosts_that_are_not_public(host: str):
    """By a fetch, by a redirect and, by whatever a library makes of it, below its own sockets."""
    with _refuses(), open_url(f"http://{host}/", max_bytes=10, timeout=5):
        pass
    if host.isascii():  # as a header is
        with (
            serving(redirect(f"http://{host}/"), "127.0.0.4") as public,
            _refuses(),
            open_url(
                f"http://127.0.0.4:{public.server_port}/",
                max_bytes=10,
                timeout=5,
                ports={public.server_port, 80},
                allowed=lambda address: str(address) == "127.0.0.4" or is_public(address),
            ),
        ):
            pass
    with pytest.raises((Refused, socket.gaierror, UnicodeError)), guarded_sockets():
        socket.create_connection((host.strip("[]").replace("%25", "%"), 80), timeout=5).close()


@pytest.mark.usefixtures("one_context")
@pytest.mark.parametrize("url", corpus.URLS_THAT_ARE_REFUSED)
def test_urls_that_are_refused(url: str):
    with (
        pytest.raises((Refused, BadInput)) as caught,
        open_url(url, max_bytes=10, timeout=5, resolve=lambda host, port: ["10.0.0.5"]),
    ):
        pass
    assert "hush" not in str(caught.value)
    with suppress(ActverseError):
        check_target(url, allow_private=False)
        pytest.fail(f"{url} was taken as a notification's address")


def test_the_corpus_is_as_large_as_it_was():
    """99 addresses were tried by hand when the outbound guard was attacked."""
    hosts, urls = corpus.HOSTS_THAT_ARE_NOT_PUBLIC, corpus.URLS_THAT_ARE_REFUSED
    assert len(set(hosts)) + len(set(urls)) >= 99
