"""The processes of actverse by their roles: how each is started, and whether it lives.

The embedded stack starts them beside each other, a container has one.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

import httpx

from components.errors import ActverseError, BadInput, Unavailable
from components.settings import Settings

_PREPARE_SECONDS = 300.0


class Role(StrEnum):
    """What a process is."""

    GATEWAY = "gateway"
    WORKER = "worker"
    BEAT = "beat"
    WATCHER = "watcher"


def gateway_command(settings: Settings) -> list[str]:
    """The REST gateway, on the settings' host and port."""
    from gateway.http_limits import SERVER_ARGUMENTS

    return [
        *(sys.executable, "-m", "uvicorn", "--factory", "gateway.server:create_server"),
        *("--host", settings.host, "--port", str(settings.gateway_port)),
        *("--no-access-log", "--no-server-header", *SERVER_ARGUMENTS),
        # Live streams would hold its end up; a first message over a WebSocket is small.
        *("--timeout-graceful-shutdown", "2", "--ws-max-size", "65536"),
    ]


def worker_command(name: str, queues: Sequence[str], slots: int) -> list[str]:
    """A Celery worker of some queues.

    Args:
        name: told apart by it in the logs.
        queues: of ``gateway.flows.Queue``.
        slots: how many messages at once.
    """
    return [
        *(sys.executable, "-m", "celery", "--app", "gateway.celery_app:app", "worker"),
        *("--hostname", f"{name}@%h", "--queues", ",".join(queues), "--concurrency", str(slots)),
        # They need not know of each other.
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]


def beat_command(settings: Settings) -> list[str]:
    """Celery's beat; there must be one alone."""
    return [
        *(sys.executable, "-m", "celery", "--app", "gateway.celery_app:app", "beat"),
        *("--schedule", str(settings.home / "beat-schedule"), "--pidfile", ""),
    ]


def watcher_command() -> list[str]:
    """Promotions, and the pipeline runs of trainings."""
    return [sys.executable, "-m", "gateway.watcher"]


def serve(role: Role, queues: Sequence[str] = (), slots: int | None = None) -> None:
    """Become a role's process; signals reach it as they come.

    Args:
        queues: a worker's; all by default.
        slots: a worker's; ``worker_slots`` by default.

    Raises:
        BadInput: if there is no such queue, or the gateway has no port.
    """
    settings = Settings()
    argv = _command(Role(role), settings, queues, slots)
    _role_path(settings).parent.mkdir(parents=True, exist_ok=True)
    _role_path(settings).write_text(role, encoding="ascii")
    if slots:
        # By it the machine's memory is shared out.
        os.environ["ACTVERSE_WORKER_SLOTS"] = str(slots)
    # Its bars would fill the log.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.update(settings.tracking_environment())
    os.execv(argv[0], argv)  # noqa: S606 (a list, and no shell)


def _command(role: Role, settings: Settings, queues: Sequence[str], slots: int | None) -> list[str]:
    from gateway.flows import Queue

    if role is Role.GATEWAY:
        if not settings.gateway_port:
            raise BadInput("The gateway has no port: set ACTVERSE_GATEWAY_PORT, to 8000 say.")
        return gateway_command(settings)
    if role is Role.BEAT:
        return beat_command(settings)
    if role is Role.WATCHER:
        return watcher_command()
    known = [queue.value for queue in Queue]
    for queue in queues:
        if queue not in known:
            raise BadInput(f"There is no queue {queue!r}: name {', '.join(known)}.")
    wanted = list(queues) or known
    return worker_command("-".join(wanted), wanted, slots or settings.worker_slots)


def check_health(role: Role | None) -> None:
    """Raise Unavailable unless the process of a role on this host lives.

    Args:
        role: by default the one that was started here; where none was, the settings are
            looked at alone.
    """
    from gateway.alive import FRESH_SECONDS, is_a_worker_alive, is_alive, sign_path

    settings = Settings()
    role = role or _role_here(settings)
    if role is None:
        return
    if role is Role.GATEWAY:
        check_answers(f"http://{_reachable(settings.host)}:{settings.gateway_port}/healthz")
    elif not (
        is_a_worker_alive(settings.home)
        if role is Role.WORKER
        else is_alive(sign_path(settings.home, role))
    ):
        raise Unavailable(
            f"The {role} has shown no sign of life for {FRESH_SECONDS:g} s: read its log."
        )


def prepare(told: Callable[[str], None], patience: float = _PREPARE_SECONDS) -> None:
    """Bring the database to this version and let the registry tell of its aliases.

    Both may be done again. Servers that are still starting are waited for.

    Args:
        told: is given a line for each part.
        patience: seconds to wait for all of it.

    Raises:
        Unavailable: if a server does not answer in time.
        BadInput: if no address is given for one.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from actverse.stack import register_webhook
    from gateway.database import upgrade_database

    settings = Settings()
    for name in ("mlflow_uri", "gateway_uri"):
        if not getattr(settings, name):
            raise BadInput(f"ACTVERSE_{name.upper()} is not set: give the server's address.")
    until = time.monotonic() + patience
    _patiently(
        lambda: upgrade_database(settings.database_url), SQLAlchemyError, "The database", until
    )
    told("the database is at this version's schema")
    _patiently(lambda: check_answers(f"{settings.mlflow_uri}/health"), Unavailable, "MLflow", until)
    register_webhook(settings)
    told(f"the registry tells {settings.gateway_uri} of its aliases")


def _patiently(act: Callable[[], None], passing: type[Exception], what: str, until: float) -> None:
    while True:
        try:
            return act()
        except passing as error:
            if time.monotonic() > until:
                reason = str(error) if isinstance(error, ActverseError) else type(error).__name__
                raise Unavailable(f"{what} did not answer in time ({reason}).") from error
            time.sleep(1.0)


def check_answers(url: str) -> None:
    """Raise Unavailable unless a URL answers, with status 200."""
    try:
        status = httpx.get(url, timeout=2.0, trust_env=False).status_code
    except httpx.HTTPError as error:
        raise Unavailable(f"{url} does not answer ({type(error).__name__}).") from error
    if status != 200:
        raise Unavailable(f"{url} answers with status {status}.")


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 (is looked for)


def _role_path(settings: Settings) -> Path:
    from gateway.alive import sign_path

    return sign_path(settings.home, "role")


def _role_here(settings: Settings) -> Role | None:
    try:
        return Role(_role_path(settings).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
