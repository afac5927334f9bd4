"""Real servers for tests: a Triton and an MLflow server on free ports of the loopback."""

import fnmatch
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from components.serving.server import Launch, remove_shared_memory, triton_launch, triton_ready
from components.settings import Settings


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_until(condition: Callable[[], object], seconds: float = 30.0, what: str = "") -> None:
    """Poll ``condition`` until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what or condition}"
        time.sleep(0.05)


@dataclass
class TritonServer:
    """A real Triton in explicit mode; ``url`` is host:port of its gRPC service."""

    settings: Settings
    launch: Launch
    log: Path
    http_port: int | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.settings.triton_url

    @property
    def repository(self) -> Path:
        return self.settings.layout.models()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.launch.argv,
                env=self.launch.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: self.ready_or_dead(), what="Triton")
        assert self.process.poll() is None, self.log.read_text()

    def ready_or_dead(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None or triton_ready(self.url)

    def stubs(self, model: str) -> list[int]:
        """The process ids of a model's instances; '*' in its name stands for anything."""
        assert self.process is not None
        found = []
        for children in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for child in children.read_text().split():
                arguments = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
                if fnmatch.filter(arguments, f"{model}_0_*"):
                    found.append(int(child))
        return found

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            # Its stubs outlive a Triton that was killed.
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            remove_shared_memory(self.launch.shared_memory_prefix)


def new_triton(folder: Path, *, drop: str = "", http: bool = False, **given: Any) -> TritonServer:
    """A Triton below ``folder``, not started.

    Args:
        folder: its home.
        drop: an argument to leave out.
        http: let it listen for HTTP too, as in the cluster.
        given: settings besides its own.
    """
    web, grpc, metrics = free_ports(3)
    http_port = web if http else None
    settings = Settings(
        home=folder / "home",
        triton_url=f"127.0.0.1:{grpc}",
        triton_threads=1,
        **given,
    )
    launch = triton_launch(
        settings, http_port=http_port, grpc_port=grpc, metrics_port=metrics, work=folder
    )
    argv = [argument for argument in launch.argv if argument != drop]
    launch = Launch(argv, launch.env, launch.shared_memory_prefix)
    return TritonServer(settings, launch, folder / "triton.log", http_port)


@contextmanager
def running_mlflow(folder: Path, port: int = 0) -> Iterator[str]:
    """The URI of an MLflow server whose SQLite registry and artifacts lie in ``folder``."""
    port = port or free_ports(1)[0]
    uri = f"http://127.0.0.1:{port}"
    argv = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    env = os.environ | {
        # 0.5 GB instead of 2.6: no consumers of jobs that nothing here sends.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "mlflow.log").open("wb") as log:
        # A session of its own: the server's workers end with it.
        process = subprocess.Popen(
            argv, env=env, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "mlflow.log").read_text()
        try:
            return httpx.get(f"{uri}/health", timeout=2).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, 90, "the MLflow server")
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
