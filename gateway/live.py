"""The live state of tasks, read once for everybody who looks.

One ``Live`` stands in each gateway process. ``GET /status`` is answered from what was read
less than ``FRESH_SECONDS`` ago. Watched tasks are looked at together, one query a look; only
those whose revision has grown are read, and serialised once for all their watchers.

Every message has a revision that no other message of its task has (see ``record_event``), and
a status comes after all events of lower revisions. So the last revision that a watcher has got
is all that must be known to go on: every event above it, in order, then the newest status.
Nothing is queued for anybody: a watcher who is slow finds fewer statuses and every event.

The database is only read in threads, never on the event loop.
"""

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from fastapi.sse import format_sse_event
from pydantic import BaseModel
from sqlalchemy import event, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, joinedload

from components.settings import Settings
from gateway.database import Sessions
from gateway.hints import Hints
from gateway.models import Event, Task
from gateway.status import is_final, task_status, usual_durations
from gateway.tasks import no_such_task

logger = logging.getLogger("actverse.live")

FRESH_SECONDS = 0.15
# Between two looks at the watched tasks: usually; where Redis tells of changes; at least.
_LOOK_SECONDS, _HINTED_SECONDS, _LEAST_SECONDS = 0.06, 2.0, 0.02
_DURATIONS_SECONDS = 10.0
_MOST_KEPT = 1024
_CHANGED = "changed tasks"


class TimelineEvent(BaseModel):
    """One event of a task's timeline, as its watchers are told."""

    task_id: str
    name: str
    revision: int
    time: datetime
    data: dict[str, Any]


@dataclass(frozen=True)
class Message:
    """What watchers are sent; ``json`` is a TaskStatus or a TimelineEvent."""

    event: str
    revision: int
    json: str

    @cached_property
    def sse(self) -> bytes:
        """As a server-sent event."""
        return format_sse_event(data_str=self.json, event=self.event, id=str(self.revision))

    @cached_property
    def text(self) -> str:
        """As a JSON object."""
        return f'{{"event":"{self.event}","id":{self.revision},"data":{self.json}}}'


@dataclass(frozen=True)
class Snapshot:
    """A task's status, serialised."""

    user_id: str
    final: bool
    message: Message

    @property
    def revision(self) -> int:
        """The task's revision."""
        return self.message.revision

    @cached_property
    def body(self) -> bytes:
        """The answer to ``GET /status/{task_id}``."""
        return self.message.json.encode()


@dataclass(frozen=True)
class _View:
    """A task as its watchers see it; ``timeline`` holds its events below the status's revision."""

    status: Snapshot
    timeline: tuple[Message, ...]

    def after(self, revision: int) -> list[Message]:
        return [
            message
            for message in (*self.timeline, self.status.message)
            if message.revision > revision
        ]


@dataclass
class _Watched:
    """A task that somebody watches; ``ears`` are the watchers' loops and alarms."""

    view: _View | None = None
    gone: bool = False
    ears: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=set)


class Live:
    """Tells of tasks from ``sessions``, whose own changes of tasks it notices at once.

    Args:
        keep_alive: seconds after which a watcher is told that nothing has happened.
    """

    def __init__(self, settings: Settings, sessions: Sessions, keep_alive: float = 15.0) -> None:
        self._settings, self._sessions = settings, sessions
        self.keep_alive = keep_alive
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="live")
        self._known: dict[str, tuple[float, Future[Snapshot]]] = {}
        self._durations: tuple[float, dict[str, float]] = (-_DURATIONS_SECONDS, {})
        self._lock = threading.Lock()
        self._watched: dict[str, _Watched] = {}
        self._looker: threading.Thread | None = None
        self._hints: Hints | None = None
        self._wake = threading.Event()
        event.listen(sessions, "after_flush", _note_changes)
        event.listen(sessions, "after_commit", self._committed)

    async def status(self, task_id: str, scope: str | None) -> Snapshot:
        """A task's status, at most ``FRESH_SECONDS`` older than the question.

        Args:
            scope: the user who may see it; None for everybody's.

        Raises:
            NotFound: also for another user's task.
        """
        future = self._ask(task_id)
        if not future.done():
            # Shielded: others wait for the same answer.
            await asyncio.shield(asyncio.wrap_future(future))
        snapshot = future.result()
        if scope is not None and snapshot.user_id != scope:
            raise no_such_task(task_id)
        return snapshot

    async def watch(self, task_id: str, scope: str | None, after: int = 0) -> "Watch":
        """Watch a task from a revision on.

        Args:
            scope: the user who may see it; None for everybody's.
            after: the revision of the last message that the watcher has got. One that the
                task never had is taken for 0.

        Raises:
            NotFound: also for another user's task.
        """
        snapshot = await self.status(task_id, scope)
        if after > snapshot.revision:
            # Another gateway may have known more.
            self.forget([task_id])
            snapshot = await self.status(task_id, scope)
        if after > snapshot.revision:
            after = 0
        return Watch(self, task_id, after, over=snapshot.final and after == snapshot.revision)

    def forget(self, task_ids: Collection[str]) -> None:
        """These tasks have changed: what was read of them is read again."""
        for task_id in task_ids:
            self._known.pop(task_id, None)
        if any(task_id in self._watched for task_id in task_ids):
            self._wake.set()

    @property
    def hinted(self) -> bool:
        """Whether Redis tells of changes, so that looks are few."""
        return self._hints is not None and self._hints.connected

    def watcher_count(self) -> int:
        """The number of watchers at present."""
        with self._lock:
            return sum(len(watched.ears) for watched in self._watched.values())

    def join(self, task_id: str, alarm: asyncio.Event) -> _Watched:
        """Have ``alarm`` set, in the running loop, at each change of a task."""
        with self._lock:
            watched = self._watched.setdefault(task_id, _Watched())
            watched.ears.add((asyncio.get_running_loop(), alarm))
            if self._looker is None:
                self._looker = threading.Thread(target=self._look_on, name="live", daemon=True)
                self._looker.start()
        if watched.view is None:
            self._wake.set()
        return watched

    def leave(self, task_id: str, alarm: asyncio.Event) -> None:
        """The opposite of ``join``."""
        with self._lock:
            watched = self._watched[task_id]
            watched.ears.discard((asyncio.get_running_loop(), alarm))
            if not watched.ears:
                del self._watched[task_id]

    def _ask(self, task_id: str) -> "Future[Snapshot]":
        moment = time.monotonic()
        asked, future = self._known.get(task_id, (0.0, None))
        if future is not None and (not future.done() or moment - asked < FRESH_SECONDS):
            return future
        if len(self._known) >= _MOST_KEPT:
            self._known = {
                key: (then, answer)
                for key, (then, answer) in list(self._known.items())
                if not answer.done() or moment - then < FRESH_SECONDS
            }
        future = self._readers.submit(self._read_one, task_id)
        self._known[task_id] = (moment, future)
        return future

    def _read_one(self, task_id: str) -> Snapshot:
        with self._sessions() as session:
            for task in _read(session, [task_id]):
                return self._snapshot(session, task)
        raise no_such_task(task_id)

    def _snapshot(self, session: Session, task: Task) -> Snapshot:
        status = task_status(task, self._usual_durations(session))
        message = Message("status", task.revision, status.model_dump_json())
        return Snapshot(task.user_id, is_final(task.state), message)

    def _usual_durations(self, session: Session) -> dict[str, float]:
        read, durations = self._durations
        if time.monotonic() - read >= _DURATIONS_SECONDS:
            durations = usual_durations(session)
            self._durations = (time.monotonic(), durations)
        return durations

    def _look_on(self) -> None:
        """Look at the watched tasks again and again, until nobody watches."""
        url = self._settings.redis_url
        self._hints = hints = Hints(url, self._heard) if url else None
        if hints:
            hints.start()
        while True:
            # Before the look: what changes meanwhile is not to be missed.
            self._wake.clear()
            with self._lock:
                watched = dict(self._watched)
                if not watched:
                    self._looker = None
                    break
            try:
                self._look(watched)
            except SQLAlchemyError as error:
                logger.warning("the watched tasks could not be read: %s", error)
            time.sleep(_LEAST_SECONDS)
            self._wake.wait(_HINTED_SECONDS if hints and hints.connected else _LOOK_SECONDS)
        if hints:
            hints.stop()

    def _look(self, watched: dict[str, _Watched]) -> None:
        asked = time.monotonic()
        with self._sessions() as session:
            query = select(Task.id, Task.revision).where(Task.id.in_(watched))
            revisions = dict(session.execute(query).tuples().all())
            changed = {
                task_id: one
                for task_id, one in watched.items()
                if one.view is None or one.view.status.revision != revisions.get(task_id)
            }
            if not changed:
                return
            tasks = {task.id: task for task in _read(session, changed)}
            for task_id, one in changed.items():
                one.gone = task_id not in tasks
            for task_id, task in tasks.items():
                try:
                    status = self._snapshot(session, task)
                    view = changed[task_id].view
                    timeline = self._timeline(session, task_id, view, status)
                except SQLAlchemyError:
                    raise
                except Exception:
                    # One task that cannot be told must not silence the others.
                    logger.exception("what is new of %s could not be told", task_id)
                    continue
                changed[task_id].view = _View(status, timeline)
                answer: Future[Snapshot] = Future()
                answer.set_result(status)
                self._known[task_id] = (asked, answer)
        self._call(changed.values())

    def _timeline(
        self, session: Session, task_id: str, before: _View | None, status: Snapshot
    ) -> tuple[Message, ...]:
        known = before.timeline if before else ()
        # Read after the status: every event below its revision is there by now.
        query = (
            select(Event.name, Event.revision, Event.time, Event.data)
            .where(
                Event.task_id == task_id,
                Event.revision > (known[-1].revision if known else 0),
                Event.revision < status.revision,
            )
            .order_by(Event.revision, Event.id)
        )
        new = (
            TimelineEvent(task_id=task_id, name=name, revision=revision, time=moment, data=data)
            for name, revision, moment, data in session.execute(query).tuples()
        )
        return known + tuple(Message(e.name, e.revision, e.model_dump_json()) for e in new)

    def _call(self, changed: Iterable[_Watched]) -> None:
        alarms = defaultdict(list)
        with self._lock:
            for watched in changed:
                for loop, alarm in watched.ears:
                    alarms[loop].append(alarm)
        for loop, ours in alarms.items():
            with suppress(RuntimeError):  # a loop that was closed has no watchers any more
                loop.call_soon_threadsafe(_set_all, ours)

    def _heard(self, task_id: str) -> None:
        if task_id:
            self.forget([task_id])
        else:
            self._wake.set()

    def _committed(self, session: Session) -> None:
        self.forget(session.info.pop(_CHANGED, ()))


class Watch:
    """One watcher's way through a task's messages.

    Attributes:
        over: the task has ended and the watcher knows it: there is nothing to tell.
    """

    def __init__(self, live: Live, task_id: str, after: int, *, over: bool) -> None:
        self._live, self._task_id, self._after = live, task_id, after
        self.over = over

    async def messages(self) -> AsyncGenerator[list[Message], None]:
        """What is new, each time that there is something; an empty list now and then.

        Ends after the status of a task that has ended, or when the task is gone.
        """
        alarm = asyncio.Event()
        watched = self._live.join(self._task_id, alarm)
        try:
            while True:
                alarm.clear()
                view = watched.view
                if view is not None and (new := view.after(self._after)):
                    self._after = view.status.revision
                    yield new
                    continue
                if watched.gone or (
                    view is not None and view.status.final and self._after == view.status.revision
                ):
                    return
                try:
                    async with asyncio.timeout(self._live.keep_alive):
                        await alarm.wait()
                except TimeoutError:
                    yield []
        finally:
            self._live.leave(self._task_id, alarm)


def _read(session: Session, task_ids: Collection[str]) -> list[Task]:
    # Joined, so that a task and its steps are of one moment.
    query = select(Task).where(Task.id.in_(task_ids)).options(joinedload(Task.steps))
    return list(session.scalars(query).unique())


def _set_all(alarms: Iterable[asyncio.Event]) -> None:
    for alarm in alarms:
        alarm.set()


def _note_changes(session: Session, _: object) -> None:
    ids = {
        one.id for one in (*session.new, *session.dirty, *session.deleted) if isinstance(one, Task)
    }
    if ids:
        session.info.setdefault(_CHANGED, set()).update(ids)
