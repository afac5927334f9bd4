"""Alive and ready: what is missing is named, whatever it is, and nothing hangs on it."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from components.folder_storage import FolderStorage
from components.settings import Settings
from gateway import readiness
from gateway.app import create_app
from gateway.database import Sessions
from gateway.flows import Queue
from gateway.heartbeats import BEAT, WATCHER, beat_once, queue_heartbeat
from gateway.models import Heartbeat, now
from tests.helpers.kfp_server import kfp_server
from tests.helpers.servers import free_ports, wait_until

BACKGROUND = {f"worker:{queue}" for queue in Queue} | {"beat", "watcher"}


@pytest.fixture
def beating(sessions: Sessions) -> None:
    for name in (*(queue_heartbeat(queue) for queue in Queue), BEAT, WATCHER):
        beat_once(sessions, name)


def _client(settings: Settings, **changes: Any) -> TestClient:
    return TestClient(create_app(settings.model_copy(update=changes)))


def _missing(client: TestClient) -> set[str]:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    problem = answer.json()
    assert problem["type"] == "urn:actverse:problem:NotReady"
    assert problem["status"] == 503
    assert set(problem["missing"]) == {n for n, state in problem["parts"].items() if state != "ok"}
    for name in problem["missing"]:
        assert name in problem["detail"]
    return set(problem["missing"])


def test_the_gateway_is_alive_whatever_is_missing(settings: Settings):
    assert _client(settings).get("/healthz").json() == {"status": "ok"}


def test_parts_that_never_showed_themselves_are_named(settings: Settings, sessions: Sessions):
    assert _missing(_client(settings)) == BACKGROUND


def test_one_queue_without_a_worker_is_named(settings: Settings, sessions: Sessions):
    for name in (*(queue_heartbeat(q) for q in Queue if q is not Queue.LABELING), BEAT, WATCHER):
        beat_once(sessions, name)
    assert _missing(_client(settings)) == {"worker:labeling"}


@pytest.mark.usefixtures("beating")
def test_ready_when_every_part_is_there(settings: Settings):
    answer = _client(settings).get("/readyz")
    assert answer.status_code == 200
    parts = answer.json()["parts"]
    assert answer.json() == {"status": "ready", "parts": dict.fromkeys(parts, "ok")}
    assert set(parts) == BACKGROUND | {"database", "storage", "broker"}


def test_a_database_without_its_tables_is_named(settings: Settings):
    assert _missing(_client(settings)) == {"database"} | BACKGROUND


@pytest.mark.usefixtures("beating")
def test_a_storage_that_is_gone_is_named(settings: Settings):
    client = _client(settings)
    settings.layout.root.rename(settings.home / "elsewhere")
    assert _missing(client) == {"storage"}


@pytest.mark.usefixtures("beating")
@pytest.mark.parametrize("seconds", [15, 45, 75])
def test_a_beat_that_is_slow_under_load_is_there(
    settings: Settings, sessions: Sessions, seconds: int
):
    with sessions.begin() as session:
        session.get_one(Heartbeat, BEAT).seen = now() - timedelta(seconds=seconds)
    assert _client(settings).get("/readyz").status_code == 200
    with sessions.begin() as session:
        session.get_one(Heartbeat, BEAT).seen = now() - timedelta(seconds=200)
    assert _missing(_client(settings)) == {"beat"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if (mounted := subprocess.run(command, capture_output=True, text=True)).returncode:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.usefixtures("beating")
@pytest.mark.parametrize(
    ("full", "missing"),
    [("root", {"storage"}), ("home", {"storage", "broker"})],
)
def test_a_full_disk_is_named(
    settings: Settings, small_disk: Path, monkeypatch, full: str, missing: set[str]
):
    monkeypatch.setattr(readiness, "_KEPT_SECONDS", 0.0)
    there = small_disk / full
    there.mkdir()
    changes: dict[str, Any] = {full: str(there) if full == "root" else there}
    if full == "home":
        changes["root"] = settings.root
    client = _client(Settings(**{**settings.model_dump(), **changes}))
    assert client.get("/readyz").status_code == 200
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    assert _missing(client) == missing
    assert "No space is left" in client.get("/readyz").text
    filler.unlink()
    assert client.get("/readyz").status_code == 200


def _unused() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
def silent() -> Iterator[Callable[[], str]]:
    """Makes servers that take connections and never say a word."""
    with ExitStack() as stack:

        def make() -> str:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            return f"127.0.0.1:{server.getsockname()[1]}"

        yield make


def _everything(address: Callable[[], str]) -> dict[str, str]:
    return {
        "mlflow_uri": f"http://{address()}",
        "triton_url": address(),
        "redis_url": f"redis://:hush@{address()}/0",
        "broker_url": f"amqp://u:hush@{address()}//",
        "events_url": f"amqp://u:hush@{address()}//",
        "kfp_endpoint": f"http://{address()}",
    }


SERVERS = {"mlflow", "triton", "redis", "broker", "events", "pipelines"}


@pytest.mark.usefixtures("beating")
def test_servers_that_are_not_there_are_all_named(settings: Settings):
    client = _client(settings, **_everything(_unused))
    assert _missing(client) == SERVERS
    assert "hush" not in client.get("/readyz").text


@pytest.mark.usefixtures("beating")
def test_servers_that_never_answer_are_all_named(settings: Settings, silent: Callable[[], str]):
    client = _client(settings, **_everything(silent))
    assert _missing(client) == SERVERS
    assert "hush" not in client.get("/readyz").text


class _Hanging(FolderStorage):
    """On a disk that never answers."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.layout)
        self.answers = threading.Event()
        self.looks = 0

    def check(self) -> None:
        self.looks += 1
        self.answers.wait()


@pytest.mark.timeout(30)
@pytest.mark.usefixtures("beating")
def test_a_look_that_hangs_is_given_up_and_not_begun_again(
    settings: Settings, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(readiness, "_KEPT_SECONDS", 0.0)
    storage = _Hanging(settings)
    ready = readiness.Readiness(settings, sessions, storage)
    try:
        for _ in range(2):
            parts = ready.parts()
            assert {name for name, wrong in parts.items() if wrong} == {"storage"}
            assert storage.looks == 1
    finally:
        storage.answers.set()
    wait_until(lambda: not ready.parts()["storage"], 10)


@pytest.mark.usefixtures("beating")
def test_brokers_that_are_there_are_found(settings: Settings, rabbitmq_url: str, redis_url: str):
    changes = {"broker_url": rabbitmq_url, "events_url": rabbitmq_url, "redis_url": redis_url}
    answer = _client(settings, **changes).get("/readyz")
    assert answer.status_code == 200, answer.text
    assert {"broker", "events", "redis"} <= set(answer.json()["parts"])
    assert _client(settings, broker_url=redis_url).get("/readyz").status_code == 200


def test_the_description_names_the_problems_members(client: TestClient):
    document = client.get("/openapi.json").json()
    answer = document["paths"]["/readyz"]["get"]["responses"]["503"]
    schema = answer["content"]["application/problem+json"]["schema"]
    described = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    assert {"type", "title", "status", "detail", "missing", "parts"} <= set(described["required"])


@pytest.mark.usefixtures("beating")
def test_a_kubeflow_pipelines_that_does_not_know_us_is_named(settings: Settings, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("ours\n")
    with kfp_server() as kfp:
        kfp.token = "ours"
        by_file = {"kfp_endpoint": kfp.url, "kfp_token_path": token}
        assert _client(settings, **by_file).get("/readyz").status_code == 200
        by_value = {"kfp_endpoint": kfp.url, "kfp_token": SecretStr("ours")}
        assert _client(settings, **by_value).get("/readyz").status_code == 200
        assert _missing(_client(settings, kfp_endpoint=kfp.url)) == {"pipelines"}
        kfp.login_page = True
        assert _missing(_client(settings, **by_file)) == {"pipelines"}
