"""The embedded stack on one machine: MLflow, Triton, the gateway, its workers, beat and
watcher, and Label Studio where it is asked for."""

import contextlib
import fcntl
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from ipaddress import ip_address
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from actverse.label_studio import (
    check_login,
    install_label_studio,
    label_studio_login,
    label_studio_service,
    usual_port,
)
from actverse.private import own_home, owner_only
from actverse.roles import (
    beat_command,
    check_answers,
    gateway_command,
    watcher_command,
    worker_command,
)
from actverse.secrets import embedded_secret, fernet_key, write_secret
from actverse.supervisor import Service, Supervisor
from components.errors import BadInput, Refused, Unavailable
from components.files import write_text
from components.registry.connection import let_in_with
from components.serving.leftovers import remove_shared_memory
from components.settings import Settings

USER = "local"
WEBHOOK = "actverse-promotion"
_PORTS: tuple[str, ...] = (
    "gateway_port",
    "mlflow_port",
    "triton_grpc_port",
    "triton_metrics_port",
)


@dataclass(frozen=True)
class Addresses:
    """Where a running stack is reached.

    Attributes:
        gateway, mlflow: ``http://host:port``.
        triton_grpc: ``host:port``.
        triton_metrics: a URL.
        pid: the supervisor's process.
        label_studio: ``http://host:port``; empty where none runs.
    """

    gateway: str
    mlflow: str
    triton_grpc: str
    triton_metrics: str
    pid: int
    label_studio: str = ""


class Stack:
    """The servers of one home folder; ``start`` and ``stop`` them, or use ``running``.

    Args:
        label_studio: run one too, and label there.

    Raises:
        BadInput: if a Label Studio is asked for and another one named.
    """

    def __init__(self, settings: Settings, *, label_studio: bool = False) -> None:
        if label_studio and settings.label_studio_url:
            raise BadInput(
                f"ACTVERSE_LABEL_STUDIO_URL names {settings.label_studio_url} already: unset it, "
                "or start without --label-studio to label there."
            )
        self.home = settings.home
        self.label_studio = label_studio
        self.supervisor = Supervisor(str(settings.home), log_bytes=settings.log_bytes)
        self._lock: IO[str] | None = None
        self._shared_memory_prefix = ""
        self.settings = settings

    @property
    def failure(self) -> str:
        """Why the stack cannot go on; empty while it can."""
        return self.supervisor.failure

    def start(self, told: Callable[[str], None] = lambda _: None) -> Addresses:
        """Start everything and return when each part answers.

        Args:
            told: is given a line as each part gets ready.

        Raises:
            Refused: if another stack runs in this home.
            BadInput: if a given port is taken.
            NotFound: if Triton's environment is missing.
            Unavailable: if a part does not get ready, or Label Studio cannot be installed.
        """
        own_home(self.home)
        self._take_lock()
        try:
            if self.label_studio:
                install_label_studio(self.settings.label_studio_env, told)
            with owner_only():
                return self._start(told)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything; harmless when nothing runs."""
        self.supervisor.stop()
        if self._lock is not None:
            state_path(self.home).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _start(self, told: Callable[[str], None]) -> Addresses:
        from components.serving.server import triton_launch, triton_ready
        from gateway.alive import is_alive, worker_sign
        from gateway.database import open_database, upgrade_database
        from gateway.flows import Queue
        from gateway.heartbeats import BEAT, WATCHER, all_heard, queue_heartbeat
        from gateway.models import now

        settings = self.settings = embedded_settings(self.settings, label_studio=self.label_studio)
        settings.layout.models().mkdir(parents=True, exist_ok=True)
        upgrade_database(settings.database_url)
        ensure_local_key(settings)
        launch = triton_launch(
            settings,
            grpc_port=settings.triton_grpc_port,
            metrics_port=settings.triton_metrics_port,
            work=self.home / "triton",
        )
        self._clear_shared_memory(launch.shared_memory_prefix)
        # Short errands have a worker of their own: no long step keeps them waiting.
        step_queues = [queue for queue in Queue if queue is not Queue.NOTIFICATION]
        logs = self.home / "logs"
        begun, sessions = now(), open_database(settings.database_url)

        def heard(*names: str) -> Callable[[], bool]:
            """Whether a service has shown itself, whatever the others do."""
            return lambda: all_heard(sessions, names, since=begun)

        environment = {
            **settings.environment(secrets=True),
            # Its bars would fill the worker's log.
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }
        self.supervisor.start(
            [
                Service(
                    "mlflow",
                    _mlflow_command(settings),
                    _mlflow_environment(settings),
                    logs / "mlflow.log",
                    lambda: _answers(f"{settings.mlflow_uri}/health"),
                    relied_on=True,
                ),
                Service(
                    "triton",
                    launch.argv,
                    launch.env,
                    logs / "triton.log",
                    lambda: triton_ready(settings.triton_url),
                    relied_on=True,
                    shared_memory=launch.shared_memory_prefix,
                ),
                *([label_studio_service(settings)] if self.label_studio else []),
                Service(
                    "gateway",
                    gateway_command(settings),
                    environment,
                    logs / "gateway.log",
                    lambda: _answers(f"{settings.gateway_uri}/healthz"),
                ),
                Service(
                    "worker",
                    worker_command("worker", step_queues, settings.worker_slots),
                    environment,
                    logs / "worker.log",
                    heard(*(queue_heartbeat(queue) for queue in step_queues)),
                    works=lambda: is_alive(worker_sign(self.home, "worker")),
                ),
                Service(
                    "notifier",
                    worker_command("notifier", [Queue.NOTIFICATION], 4),
                    environment,
                    logs / "notifier.log",
                    heard(queue_heartbeat(Queue.NOTIFICATION)),
                    works=lambda: is_alive(worker_sign(self.home, "notifier")),
                ),
                Service(
                    "beat",
                    beat_command(settings),
                    environment,
                    logs / "beat.log",
                    heard(BEAT),
                ),
                Service(
                    "watcher",
                    watcher_command(),
                    environment,
                    logs / "watcher.log",
                    heard(WATCHER),
                ),
            ],
            told,
        )
        register_webhook(settings)
        if self.label_studio:
            check_login(settings)
        addresses = Addresses(
            gateway=settings.gateway_uri,
            mlflow=settings.mlflow_uri,
            triton_grpc=settings.triton_url,
            triton_metrics=f"http://{settings.host}:{settings.triton_metrics_port}/metrics",
            pid=os.getpid(),
            label_studio=settings.label_studio_url if self.label_studio else "",
        )
        write_text(state_path(self.home), json.dumps(asdict(addresses), indent=2))
        return addresses

    def _clear_shared_memory(self, prefix: str) -> None:
        """Remove what the stack before has left, if it and its reaper were killed; note ours."""
        note = self.home / "triton" / "shared_memory"
        if note.is_file():
            remove_shared_memory(note.read_text(encoding="ascii"))
        write_text(note, prefix)
        self._shared_memory_prefix = prefix

    def _take_lock(self) -> None:
        lock = (self.home / "stack.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise Refused(
                f"A stack runs in {self.home} already: use it, stop it, or set ACTVERSE_HOME."
            ) from error
        self._lock = lock


@contextmanager
def running(
    settings: Settings, told: Callable[[str], None] = lambda _: None, *, label_studio: bool = False
) -> Iterator[Stack]:
    """A stack that runs while the block does."""
    stack = Stack(settings, label_studio=label_studio)
    stack.start(told)
    try:
        yield stack
    finally:
        stack.stop()


def state_path(home: Path) -> Path:
    """``stack.json``: the addresses, there while a stack runs."""
    return home / "stack.json"


def find_running(home: Path) -> Addresses | None:
    """The addresses of the stack that runs in ``home``, or None."""
    try:
        found = json.loads(state_path(home).read_text(encoding="utf-8"))
        # Of another version it may say more.
        known = [one.name for one in fields(Addresses) if one.name in found]
        addresses = Addresses(**{name: found[name] for name in known})
    except (OSError, ValueError, TypeError):
        return None
    # The file outlives a killed supervisor: only an answer counts.
    return addresses if _answers(f"{addresses.gateway}/healthz") else None


def api_key_path(home: Path) -> Path:
    """The file with the local user's API key."""
    return home / "secrets" / "api_key"


def mlflow_token(home: Path) -> str:
    """What the embedded tracking server asks of its clients."""
    return embedded_secret(home / "secrets", "mlflow_token")


def embedded_settings(settings: Settings, *, label_studio: bool = False) -> Settings:
    """Settings with ports, addresses and secrets filled in for this machine.

    Args:
        label_studio: also for one that runs here.

    Raises:
        BadInput: if a given port is taken.
    """
    secrets = settings.home / "secrets"
    values = settings.model_dump()
    names = _PORTS
    if label_studio:
        # First, so that no other is given the usual one.
        names = ("label_studio_port", *_PORTS)
        port = settings.label_studio_port or usual_port(settings)
        settings = settings.model_copy(update={"label_studio_port": port})
    values.update(_free_ports(settings, names))
    host = settings.host
    values |= {
        "gateway_uri": f"http://{host}:{values['gateway_port']}",
        "mlflow_uri": f"http://{host}:{values['mlflow_port']}",
        "triton_url": f"{host}:{values['triton_grpc_port']}",
        "api_key_secret": embedded_secret(secrets, "api_key_secret"),
        "webhook_secret": embedded_secret(secrets, "webhook_secret"),
        "triton_control_key": embedded_secret(secrets, "triton_control_key"),
        "mlflow_token": mlflow_token(settings.home),
    }
    if label_studio:
        values |= {
            "label_studio_url": f"http://{host}:{values['label_studio_port']}",
            "label_studio_token": label_studio_login(settings.home).token,
        }
    return Settings(**values)


def _free_ports(settings: Settings, names: Sequence[str]) -> dict[str, int]:
    ports, held = {}, []
    for name in names:
        wanted = getattr(settings, name)
        probe = socket.socket()
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, wanted))
        except OSError as error:
            variable = f"ACTVERSE_{name.upper()}"
            raise BadInput(
                f"The port {wanted} on {settings.host} cannot be taken ({error.strerror}): "
                f"set {variable} to another, or to 0 for a free one."
            ) from error
        ports[name] = probe.getsockname()[1]
        held.append(probe)  # so that the next one is another
    for probe in held:
        probe.close()
    return ports


def ensure_local_key(settings: Settings) -> str:
    """The local user's API key, an admin's; made and written to its file if there is none yet."""
    from gateway.database import open_database
    from gateway.keys import create_key, ensure_admin_key

    path = api_key_path(settings.home)
    with open_database(settings.database_url).begin() as session:
        if path.exists():
            key = path.read_text(encoding="ascii").strip()
            # Keys of older homes were a user's.
            if ensure_admin_key(session, settings, USER, key):
                return key
        key = create_key(session, settings, USER, "admin", "local")
        write_secret(path, key)
    return key


def register_webhook(settings: Settings) -> None:
    """Let the registry tell the gateway of every alias; an older registration is replaced."""
    from mlflow import MlflowClient

    client = MlflowClient(settings.mlflow_uri)
    with let_in_with(settings.tracking_environment()):
        for webhook in client.list_webhooks():
            if webhook.name == WEBHOOK:
                client.delete_webhook(webhook.webhook_id)
        client.create_webhook(
            name=WEBHOOK,
            url=_webhook_url(settings),
            events=["model_version_alias.created"],
            description="Promotes the version that gets the champion's alias into Triton.",
            secret=settings.webhook_secret.get_secret_value(),
        )


def _webhook_url(settings: Settings) -> str:
    return f"{settings.gateway_uri}/webhooks/mlflow"


def _mlflow_command(settings: Settings) -> list[str]:
    data = settings.home / "mlflow"
    data.mkdir(parents=True, exist_ok=True)
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--app-name", "actverse"),
        *("--host", settings.host, "--port", str(settings.mlflow_port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{data / 'mlflow.db'}"),
        *("--artifacts-destination", str(data / "artifacts"), "--serve-artifacts"),
    ]


def _mlflow_environment(settings: Settings) -> dict[str, str]:
    return {
        **settings.environment(secrets=False),
        **_mlflow_hosts(settings),
        "ACTVERSE_MLFLOW_TOKEN": settings.mlflow_token.get_secret_value(),
        "ACTVERSE_MLFLOW_WEBHOOK_URL": _webhook_url(settings),
        # Its job consumers would take two more gigabytes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # The gateway listens on loopback, without TLS.
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
        # Without a key of its own each start would forget the webhooks' secrets.
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": embedded_secret(
            settings.home / "secrets", "mlflow_webhook_key", fernet_key
        ),
    }


def _mlflow_hosts(settings: Settings) -> dict[str, str]:
    """The names that MLflow answers to: on loopback no other than its own.

    By itself it takes any that looks local, and so a page whose name leads here.
    """
    with contextlib.suppress(ValueError):  # a name, not an address
        if not ip_address(settings.host).is_loopback:
            return {}
    names = [f"{host}:{settings.mlflow_port}" for host in (settings.host, "localhost")]
    if settings.mlflow_public_url:
        names.append(urlsplit(settings.mlflow_public_url).netloc)
    return {"MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(names)}


def _answers(url: str) -> bool:
    try:
        check_answers(url)
    except Unavailable:
        return False
    return True
