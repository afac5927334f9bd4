"""Each process of an installation by its role: started, probed, ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from actverse import roles
from actverse.cli import cli
from actverse.roles import Role, check_health, prepare
from actverse.stack import WEBHOOK
from components.errors import BadInput, Unavailable
from components.settings import Settings
from gateway.alive import FRESH_SECONDS, is_alive, show_alive, sign_path
from gateway.celery_app import create_celery
from gateway.database import upgrade_database
from tests.helpers.servers import free_ports, running_mlflow, wait_until

pytestmark = pytest.mark.slow

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (port,) = free_ports(1)
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path))
    monkeypatch.setenv("ACTVERSE_GATEWAY_PORT", str(port))
    for name in ("API_KEY_SECRET", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"ACTVERSE_{name}", name.lower() * 4)
    upgrade_database(Settings().database_url)
    return tmp_path


@pytest.fixture
def serve(home: Path) -> Iterator[Start]:
    begun: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> "subprocess.Popen[bytes]":
        argv = [Path(sys.executable).with_name("actverse"), "serve", *arguments]
        with (home / "served.log").open("wb") as log:
            begun.append(subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def _healthy(role: Role | None) -> bool:
    try:
        check_health(role)
    except Unavailable:
        return False
    return True


@pytest.mark.parametrize(
    "arguments",
    [("gateway",), ("worker", "--queue", "notification"), ("beat",), ("watcher",)],
    ids=lambda arguments: arguments[0],
)
def test_a_role_runs_is_healthy_and_ends_when_told(
    arguments: tuple[str, ...], home: Path, serve: Start
):
    role = Role(arguments[0])
    assert not _healthy(role)
    process = serve(*arguments)

    def up() -> bool:
        assert process.poll() is None, (home / "served.log").read_text()
        return _healthy(role)

    wait_until(up, 60, role)
    assert _healthy(None), "the container's own role is known without naming it"
    # The signal reaches the process itself: nothing stands between.
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM), (home / "served.log").read_text()
    if role is Role.GATEWAY:
        assert not _healthy(role)


def test_a_worker_takes_only_the_queues_it_is_given(home: Path, serve: Start):
    process = serve("worker", "--queue", "notification", "--slots", "3")

    def up() -> bool:
        assert process.poll() is None, (home / "served.log").read_text()
        return _healthy(Role.WORKER)

    wait_until(up, 60, "the worker")
    (line,) = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0--queues\0")[1:]
    assert line.split("\0")[0] == "notification"
    assert "\0--concurrency\x003\0" in f"\0{line}"


def test_a_sign_that_is_too_old_is_no_health(home: Path):
    sign = sign_path(home, Role.WATCHER)
    show_alive(sign)
    assert is_alive(sign)
    old = sign.stat().st_mtime - FRESH_SECONDS - 1
    os.utime(sign, (old, old))
    with pytest.raises(Unavailable, match="watcher has shown no sign of life"):
        check_health(Role.WATCHER)


def test_a_home_that_cannot_be_written_does_not_end_a_process(tmp_path: Path):
    (tmp_path / "alive").write_text("a file where the folder should be")
    show_alive(sign_path(tmp_path, Role.BEAT))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("worker", "--queue", "videos"), "no queue 'videos': name video, labeling"),
        (("gateway",), "set ACTVERSE_GATEWAY_PORT"),
        (("cook",), "'cook' is not one of"),
    ],
)
def test_a_role_that_cannot_be_is_refused(
    arguments: tuple[str, ...], said: str, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ACTVERSE_GATEWAY_PORT", "0")
    result = CliRunner().invoke(cli, ["serve", *arguments])
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)


def test_health_without_a_role_looks_at_the_settings(home: Path, monkeypatch: pytest.MonkeyPatch):
    assert CliRunner().invoke(cli, ["health"]).exit_code == 0
    monkeypatch.setenv("ACTVERSE_SHAPE", "cluster")
    result = CliRunner().invoke(cli, ["health"])
    assert isinstance(result.exception, BadInput)


def test_prepare_brings_the_schema_and_the_webhook_and_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
):
    monkeypatch.setenv("ACTVERSE_DATABASE_URL", f"sqlite:///{tmp_path / 'new.db'}")
    monkeypatch.setenv("ACTVERSE_GATEWAY_URI", "http://127.0.0.1:8000")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "https,http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    (tmp_path / "mlflow").mkdir()
    with running_mlflow(tmp_path / "mlflow") as uri:
        monkeypatch.setenv("ACTVERSE_MLFLOW_URI", uri)
        told: list[str] = []
        prepare(told.append)
        prepare(told.append)
        (webhook,) = MlflowClient(uri).list_webhooks()
    assert (tmp_path / "new.db").stat().st_size > 0
    assert (webhook.name, webhook.url) == (WEBHOOK, "http://127.0.0.1:8000/webhooks/mlflow")
    assert len(told) == 4


def test_prepare_says_which_server_is_away(home: Path, monkeypatch: pytest.MonkeyPatch):
    (port,) = free_ports(1)
    monkeypatch.setenv("ACTVERSE_GATEWAY_URI", "http://127.0.0.1:8000")
    with pytest.raises(BadInput, match="ACTVERSE_MLFLOW_URI is not set"):
        prepare(lambda _: None, patience=0)
    monkeypatch.setenv("ACTVERSE_MLFLOW_URI", f"http://127.0.0.1:{port}")
    with pytest.raises(Unavailable, match="MLflow did not answer in time"):
        prepare(lambda _: None, patience=0)
    monkeypatch.setenv("ACTVERSE_DATABASE_URL", f"postgresql+psycopg://u:p@127.0.0.1:{port}/x")
    with pytest.raises(Unavailable, match="database did not answer in time") as caught:
        prepare(lambda _: None, patience=0)
    assert "u:p" not in str(caught.value)


def test_the_commands_are_the_stacks_own(home: Path):
    # Whoever starts a worker, and however: its pool has no lock that a killed process can keep.
    for queues in (["notification"], ["video", "notification"]):
        assert "--pool" not in roles.worker_command("w", queues, 4)
    assert create_celery(Settings()).conf.worker_pool == "threads"
