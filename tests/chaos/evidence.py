"""What is there after the last kill: in the database, the registry, the storage and the memory."""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import av
from sqlalchemy import select

from components.layout import Layout
from gateway.database import Sessions
from gateway.models import Attempt, Event, Notification, NotificationRule, Task
from gateway.notifications.messages import message
from tests.chaos.load import Asked

SHARED_MEMORY = Path("/dev/shm")
# What belongs there: names that begin with a dot though nobody was interrupted.
_HIDDEN_BUT_WELL = (".gitkeep", ".lock", ".trash")
# What libraries keep for the whole machine, one of each however often they are used: ONNX Runtime's
# session and PyTorch's cache.
_OF_THE_MACHINE = (".ses", "torchinductor_")
_SPACE = ("storage", "pipelines", "tasks", "mlflow", "workspace")


@dataclass(frozen=True)
class TaskThere:
    """A task, as the database has it; ``changed`` is in seconds since the epoch."""

    task_id: str
    user: str
    kind: str
    state: str
    error: str
    changed: float
    steps: tuple[str, ...] = ()
    open_attempts: int = 0
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class Told:
    """A notification, as the database has it."""

    user: str
    title: str
    state: str
    attempts: int
    error: str


@dataclass(frozen=True)
class TrainingRun:
    """A training's run in MLflow."""

    run_id: str
    task_id: str
    status: str


@dataclass(frozen=True)
class Version:
    """A version of a registered model; ``state`` is its ``serving.state``."""

    model: str
    version: int
    task_id: str
    champion: bool
    state: str


@dataclass(frozen=True)
class Left:
    """A file, folder or region that nobody needs any more."""

    what: str
    moment: float


@dataclass(frozen=True)
class Evidence:
    """All that is judged.

    Attributes:
        asked: the tasks that were asked for, the reference ones among them.
        references: by kind and user, the tasks that ran unkilled.
        results: by task, what it has made: a digest by name.
        served: versions that Triton serves; None if that could not be seen.
        arrived: by user, when each title has arrived, in seconds since the epoch.
        senders_killed: when something was killed that has a part in sending notifications.
    """

    asked: tuple[Asked, ...] = ()
    references: Mapping[str, Asked] = field(default_factory=dict)
    tasks: tuple[TaskThere, ...] = ()
    told: tuple[Told, ...] = ()
    arrived: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    senders_killed: tuple[float, ...] = ()
    runs: tuple[TrainingRun, ...] = ()
    versions: tuple[Version, ...] = ()
    served: frozenset[tuple[str, int]] | None = None
    results: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    left: tuple[Left, ...] = ()


def tasks_there(sessions: Sessions, users: Collection[str]) -> tuple[TaskThere, ...]:
    """The tasks of these users."""
    with sessions() as session:
        query = select(Task).where(Task.user_id.in_(users)).order_by(Task.created)
        tasks = session.scalars(query).all()
        attempts = Counter(
            session.scalars(select(Attempt.task_id).where(Attempt.outcome == "running"))
        )
        events: dict[str, list[str]] = {}
        for task_id, name in session.execute(
            select(Event.task_id, Event.name).order_by(Event.id)
        ).tuples():
            events.setdefault(task_id, []).append(name)
        return tuple(
            TaskThere(
                task_id=task.id,
                user=task.user_id,
                kind=task.kind,
                state=task.state,
                error=task.error,
                changed=task.updated.timestamp(),
                steps=tuple(
                    f"{step.name} {step.state} (attempt {step.attempt})"
                    for step in task.steps
                    if step.state != "succeeded"
                ),
                open_attempts=attempts[task.id],
                events=tuple(events.get(task.id, ())),
            )
            for task in tasks
        )


def notifications_there(sessions: Sessions) -> tuple[Told, ...]:
    """All notifications, with the titles under which they are sent."""
    with sessions() as session:
        query = (
            select(Notification, Event, NotificationRule.user_id)
            .join(Event, Event.id == Notification.event_id)
            .join(NotificationRule, NotificationRule.id == Notification.rule_id)
        )
        return tuple(
            Told(
                user=user,
                title=message(event.name, event.task_id, event.data)[0],
                state=notification.state,
                attempts=notification.attempt,
                error=notification.error,
            )
            for notification, event, user in session.execute(query).tuples()
        )


def registry_there(path: Path) -> tuple[tuple[TrainingRun, ...], tuple[Version, ...]]:
    """The runs and the versions of the MLflow server whose SQLite file this is."""
    if not path.exists():
        return (), ()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        runs = tuple(
            TrainingRun(run_id, task_id or "", status)
            for run_id, status, task_id in database.execute(
                "SELECT r.run_uuid, r.status, t.value FROM runs r LEFT JOIN tags t "
                "ON t.run_uuid = r.run_uuid AND t.key = 'task_id' "
                "WHERE r.lifecycle_stage = 'active'"
            )
        )
        tags: dict[tuple[str, int], dict[str, str]] = {}
        for name, version, key, value in database.execute(
            "SELECT name, version, key, value FROM model_version_tags"
        ):
            tags.setdefault((name, int(version)), {})[key] = value
        champions = {
            (name, int(version))
            for name, version in database.execute(
                "SELECT name, version FROM registered_model_aliases WHERE alias = 'champion'"
            )
        }
        versions = tuple(
            Version(
                model=name,
                version=int(version),
                task_id=tags.get((name, int(version)), {}).get("task_id", ""),
                champion=(name, int(version)) in champions,
                state=tags.get((name, int(version)), {}).get("serving.state", ""),
            )
            for name, version in database.execute("SELECT name, version FROM model_versions")
        )
    return runs, versions


def results_there(layout: Layout, tasks: Iterable[TaskThere]) -> dict[str, dict[str, str]]:
    """What each task that succeeded has made; the same for every task of a kind."""
    found = {}
    for task in tasks:
        if task.state != "succeeded":
            continue
        if task.kind == "inference":
            found[task.task_id] = _analysis(layout.results(task.task_id))
        elif task.kind == "extract":
            folder = layout.user_file(task.user, f"frames/{task.task_id}")
            found[task.task_id] = _digests(folder, ".jpg")
    return found


def _analysis(folder: Path) -> dict[str, str]:
    made = {}
    for name in ("results.csv", "results.json", "overlaid_results.mp4", "report.ipynb"):
        path = folder / name
        if not path.exists():
            made[name] = "missing"
        elif name == "results.json":
            content = json.loads(path.read_text(encoding="utf-8"))["results"]
            made[name] = _digest(json.dumps(content).encode())
        elif name.endswith(".mp4"):
            with av.open(str(path)) as container:
                made[name] = f"{sum(1 for _ in container.decode(video=0))} frames"
        elif name.endswith(".csv"):
            made[name] = _digest(path.read_bytes())
        else:
            made[name] = "there"
    return {**made, "chunks": str(len(list((folder / "chunks").glob("*.json"))))}


def _digests(folder: Path, suffix: str) -> dict[str, str]:
    paths = sorted(folder.glob(f"*{suffix}")) if folder.is_dir() else []
    return {path.name: _digest(path.read_bytes()) for path in paths}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def left_behind(
    home: Path, temporary: Path, pids: Collection[int], ports: Collection[str]
) -> tuple[Left, ...]:
    """What lies about after the stack has stopped.

    Args:
        home: the stack's; half files in it begin with a dot or end in ``.part``.
        temporary: the folder for its temporary files, which had nothing in it.
        pids: every process that it ever had: some are in the names of shared memory.
        ports: Triton's, which are too.
    """
    left = [
        _left(path, f"temporary: {path.name}")
        for path in sorted(temporary.iterdir())
        if not path.name.startswith(_OF_THE_MACHINE)
    ]
    for place in _SPACE:
        for path in sorted((home / place).rglob("*")):
            half = path.name.startswith(".") or path.suffix in (".part", ".work")
            inside = any(part.startswith(".") for part in path.relative_to(home).parts[:-1])
            if half and not inside and path.name not in _HIDDEN_BUT_WELL:
                left.append(_left(path, f"half: {path.relative_to(home)}"))
    left += [
        _left(path, f"half: {path.name}") for path in sorted(home.glob("labels-*")) if path.is_dir()
    ]
    numbers = {str(pid) for pid in pids}
    for path in sorted(SHARED_MEMORY.glob("actverse*")):
        parts = path.name.replace("_", "-").split("-")
        if numbers & set(parts[1:3]) or set(ports) & set(parts[1:2]):
            left.append(_left(path, f"shared memory: {path.name}"))
    return tuple(left)


def _left(path: Path, what: str) -> Left:
    try:
        return Left(what, path.lstat().st_mtime)
    except OSError:
        return Left(what, 0.0)
