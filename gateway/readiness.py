"""Is everything there that a task needs? Each part is looked at by itself, side by side."""

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from components.errors import ActverseError, Unavailable
from components.settings import Settings
from components.storage import Storage
from gateway.database import Sessions
from gateway.flows import Queue
from gateway.heartbeats import BEAT, WATCHER, queue_heartbeat
from gateway.models import Heartbeat, now

# Under mere load some seconds pass; what is told after it is that work is held up.
_FRESH = timedelta(seconds=30)
# Beat shows itself as often as it has looked for lost steps, which takes its time under load.
_FRESH_OF = {BEAT: timedelta(seconds=90)}
_TOTAL_SECONDS, _PART_SECONDS, _KEPT_SECONDS = 2.0, 1.5, 1.0
_DATABASE = "database"

Check = Callable[[], None]


class Readiness:
    """Looks at every part that the settings name; what it saw holds for a second.

    A look that hangs is left behind in its thread and not begun again before it has ended.
    """

    def __init__(self, settings: Settings, sessions: Sessions, storage: Storage) -> None:
        self._sessions = sessions
        self._checks = checks(settings, storage)
        self._running: dict[str, threading.Thread] = {}
        self._found: dict[str, str] = {}
        self._heard: dict[str, str] = {}
        self._lock = threading.Lock()
        self._until = 0.0

    def parts(self) -> Mapping[str, str]:
        """Each part's name with what is wrong with it, in a sentence; empty if it is there."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._look()
                self._until = time.monotonic() + _KEPT_SECONDS
            return {**self._found, **self._heard}

    def _look(self) -> None:
        deadline = time.monotonic() + _TOTAL_SECONDS
        looks: dict[str, Check] = {_DATABASE: self._hear, **self._checks}
        for name, check in looks.items():
            if name not in self._running or not self._running[name].is_alive():
                thread = threading.Thread(
                    target=self._note, args=(name, check), name=f"ready-{name}", daemon=True
                )
                self._running[name] = thread
                thread.start()
        for name, thread in self._running.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._found[name] = f"It did not answer within {_TOTAL_SECONDS:g} s."
        if self._found[_DATABASE]:
            self._heard = dict.fromkeys(_background(), "Unknown while the database is away.")

    def _note(self, name: str, check: Check) -> None:
        try:
            check()
        except ActverseError as error:
            self._found[name] = str(error)
        except Exception as error:  # noqa: BLE001 (each client has errors of its own)
            # Their texts may hold addresses with passwords in them.
            self._found[name] = f"It does not answer ({type(error).__name__})."
        else:
            self._found[name] = ""

    def _hear(self) -> None:
        """The database, and in it the signs of life of the background parts."""
        try:
            with self._sessions() as session:
                moment, query = now(), select(Heartbeat.name, Heartbeat.seen)
                alive = {
                    name
                    for name, seen in session.execute(query).tuples()
                    if seen >= moment - _FRESH_OF.get(name, _FRESH)
                }
        except SQLAlchemyError as error:
            raise Unavailable(f"It does not answer ({type(error).__name__}).") from error
        self._heard = {
            part: "" if heartbeat in alive else _not_heard(_FRESH_OF.get(heartbeat, _FRESH))
            for part, heartbeat in _background().items()
        }


def _not_heard(within: timedelta) -> str:
    return f"Nothing was heard of it for {within.seconds} s: start it."


def checks(settings: Settings, storage: Storage) -> dict[str, Check]:
    """A look at each server and folder that the settings name; it raises what is wrong."""
    found: dict[str, Check] = {
        "storage": lambda: _storage(settings, storage),
        "broker": lambda: _broker(settings),
    }
    if settings.mlflow_uri:
        found["mlflow"] = lambda: _mlflow(settings.mlflow_uri)
    if settings.triton_url:
        found["triton"] = lambda: _triton(settings.triton_url)
    if settings.kfp_endpoint:
        found["pipelines"] = lambda: _pipelines(settings)
    if settings.redis_url:
        found["redis"] = lambda: _redis(settings.redis_url)
    if settings.events_url:
        found["events"] = lambda: _connection(settings.events_url)
    return found


def _background() -> dict[str, str]:
    """The parts that show themselves in the database, with their heartbeats' names."""
    queues = {f"worker:{queue}": queue_heartbeat(queue) for queue in Queue}
    return {**queues, "beat": BEAT, "watcher": WATCHER}


def _storage(settings: Settings, storage: Storage) -> None:
    """The storage, and the home: what is worked on lies there, and on one machine the database."""
    from components.folder_storage import check_folder

    storage.check()
    settings.home.mkdir(parents=True, exist_ok=True)
    check_folder(settings.home)


def _broker(settings: Settings) -> None:
    if settings.broker_url:
        _connection(settings.broker_url)
        return
    from components.folder_storage import check_folder

    folder = settings.home / "broker" / "messages"
    folder.mkdir(parents=True, exist_ok=True)
    check_folder(folder)


def _connection(url: str) -> None:
    from kombu import Connection

    options = {}
    if url.startswith("redis"):
        options = {"socket_timeout": _PART_SECONDS, "socket_connect_timeout": _PART_SECONDS}
    with Connection(url, connect_timeout=_PART_SECONDS, transport_options=options) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)


def _mlflow(uri: str) -> None:
    import httpx

    answer = httpx.get(f"{uri}/health", timeout=_PART_SECONDS, trust_env=False)
    if not answer.is_success:
        raise Unavailable(f"It answers with status {answer.status_code}: read its log.")


def _triton(url: str) -> None:
    from components.serving.server import triton_ready

    if not triton_ready(url, timeout=_PART_SECONDS):
        raise Unavailable("It does not answer over gRPC: start it, or read its log.")


def _pipelines(settings: Settings) -> None:
    # Not by its own client, which takes longer to import than a look may take.
    import httpx

    token = settings.kfp_token.get_secret_value()
    if settings.kfp_token_path is not None:
        token = settings.kfp_token_path.read_text(encoding="utf-8").strip()
    bundle = settings.kfp_ca_bundle
    answer = httpx.get(
        f"{settings.kfp_endpoint.rstrip('/')}/apis/v2beta1/healthz",
        headers={"Authorization": f"Bearer {token}"} if token else {},
        verify=ssl.create_default_context(cafile=bundle) if bundle else True,
        timeout=_PART_SECONDS,
        trust_env=False,
    )
    if not answer.is_success:
        raise Unavailable(f"It answers with status {answer.status_code}: look at its log.")
    if "json" not in answer.headers.get("content-type", ""):
        raise Unavailable("It is not Kubeflow Pipelines that answers: a login page, perhaps.")


def _redis(url: str) -> None:
    from redis import Redis

    options = {"socket_timeout": _PART_SECONDS, "socket_connect_timeout": _PART_SECONDS}
    with Redis.from_url(url, **options) as redis:
        redis.ping()
