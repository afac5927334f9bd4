"""A real gateway for the client and the command line: killed and started again as tests like."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from actverse.client import Client
from components.settings import Settings
from gateway.database import Sessions, open_database, upgrade_database
from gateway.keys import create_key
from gateway.leases import claim_step, finish_step, note_progress
from gateway.tasks import create_task
from gateway.work import Work
from tests.helpers.servers import free_ports, wait_until

ROOT = Path(__file__).resolve().parents[2]
LEASE = timedelta(minutes=5)


@dataclass
class Gateway:
    """A gateway in a process of its own, with SQLite and a folder below ``home``."""

    settings: Settings
    sessions: Sessions
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        with (self.settings.home / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "--factory", "gateway.app:create_app"),
                    *("--port", str(self.port), "--timeout-graceful-shutdown", "1"),
                ],
                cwd=ROOT,
                env=self.settings.environment(secrets=True),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._answers, 60, "the gateway")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def key(self, user: str, role: Any = "user") -> str:
        with self.sessions.begin() as session:
            return create_key(session, self.settings, user, role)

    def client(self, user: str = "ada", role: Any = "user") -> Client:
        return Client(self.url, self.key(user, role))

    def task(self, kind: str = "upload", user: str = "ada", **work: Any) -> str:
        """A task that nobody runs."""
        with self.sessions.begin() as session:
            return create_task(session, user, kind, Work(**{"file_path": "a.mp4", **work})).id

    def _answers(self) -> bool:
        assert self.process is not None
        log = self.settings.home / "gateway.log"
        assert self.process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False, timeout=2).is_success
        except httpx.TransportError:
            return False


def new_gateway(home: Path, **settings: Any) -> Gateway:
    """One that is not started, on a database that is made here."""
    made = Settings(
        home=home, api_key_secret="keys-secret", webhook_secret="webhook-secret", **settings
    )
    upgrade_database(made.database_url)
    return Gateway(made, open_database(made.database_url))


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all tests that leave it running; each has tasks, files and users of its own."""
    made = new_gateway(tmp_path_factory.mktemp("gateway"), rate_limit="")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def own_gateway(tmp_path: Path) -> Iterator[Gateway]:
    """One that the test may kill."""
    made = new_gateway(tmp_path / "home", rate_limit="")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    """A client with a user's key."""
    with gateway.client() as client:
        yield client


@pytest.fixture
def admin(gateway: Gateway) -> Iterator[Client]:
    """A client with an administrator's key."""
    with gateway.client("grace", "admin") as client:
        yield client


@pytest.fixture
def act(gateway: Gateway) -> Callable[..., None]:
    """Does what a worker would: claims a step, tells of its progress, ends it."""
    return worker(gateway)


def worker(gateway: Gateway) -> Callable[..., None]:
    held: dict[tuple[str, str], int] = {}

    def act(task_id: str, step: str, done: float = 0, total: float = 0, end: Any = None) -> None:
        with gateway.sessions.begin() as session:
            if (task_id, step) not in held:
                claimed = claim_step(session, task_id, step, "test", LEASE)
                assert claimed is not None
                held[task_id, step] = claimed.id
            if total:
                note_progress(session, held[task_id, step], "test", done, total, {})
            if end is not None:
                finish_step(session, held[task_id, step], "test", end)

    return act


@pytest.fixture
def settings_of_commands(gateway: Gateway) -> dict[str, str]:
    """The environment in which a command finds the gateway and a user's key."""
    return command_environment(gateway.url, gateway.key("ada"))


def command_environment(url: str, key: str) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("ACTVERSE_", "COLUMNS"))}
    return {**kept, "ACTVERSE_GATEWAY_URI": url, "ACTVERSE_API_KEY": key}


def refused_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
