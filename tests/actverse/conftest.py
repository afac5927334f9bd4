"""A real gateway for the client and the command line: killed and started again as tests like."""

import io
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from actverse.cli import main
from actverse.client import Client
from components.settings import Settings
from components.storage import open_storage
from gateway.database import Sessions, open_database, upgrade_database
from gateway.keys import create_key
from gateway.leases import claim_step, finish_step, note_progress
from gateway.runner import StepRunner
from gateway.steps import FUNCTIONS
from gateway.tasks import create_task, read_task
from gateway.work import Work
from tests.helpers.label_images import make_images
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

    def run_step(self, task_id: str, name: str, **settings: Any) -> str:
        """Run a step here, as a worker would; return how it ended."""
        with self.sessions.begin() as session:
            for step in read_task(session, task_id).steps:
                step.not_before = None
            step = claim_step(session, task_id, name, "test", LEASE)
        assert step is not None, f"{name} of {task_id} is not to be run"
        settings = {"labeling_settle_seconds": 0.0, **settings}
        changed = self.settings.model_copy(update=settings)
        runner = StepRunner(changed, self.sessions, open_storage(changed))
        return runner.run(step, "test", FUNCTIONS[name]).outcome

    def labelling(self, user: str = "ada", frames: int = 4, **work: Any) -> str:
        """A task whose frames lie in a folder, wait for labels, and have none."""
        folder = f"frames/{secrets.token_hex(4)}"
        place = self.settings.layout.user_file(user, folder)
        make_images(place, *(f"frame_{number:06}.png" for number in range(frames)))
        given = {"file_path": "", "folder_path": folder, "names": ["mouse", "rat"], **work}
        task_id = self.task("labeling", user, **given)
        assert self.run_step(task_id, "labeling") == "succeeded"
        assert self.run_step(task_id, "labels") == "waiting"
        return task_id

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


@pytest.fixture(scope="module")
def environment(gateway: Gateway) -> dict[str, str]:
    return command_environment(gateway.url, gateway.key("ada"))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs a command in this process, where that shows the same: it is much quicker."""

    def run(*arguments: str, stdin: str = "", **variables: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(os, "environ", {**environment, **variables})
            patch.setattr(sys, "argv", ["actverse", *arguments])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            code: object = 0
            try:
                main()
            except SystemExit as ended:
                code = ended.code
        return Ended(code, out.getvalue(), err.getvalue())

    return run


def command_environment(url: str, key: str) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("ACTVERSE_", "COLUMNS"))}
    return {**kept, "ACTVERSE_GATEWAY_URI": url, "ACTVERSE_API_KEY": key}


def refused_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
