"""Signs of life of the background parts, in the database, for all to see."""

import logging
import threading
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from gateway.alive import show_alive
from gateway.database import Sessions
from gateway.models import Heartbeat, now

logger = logging.getLogger("actverse.heartbeats")

BEAT, WATCHER, WORKER = "beat", "watcher", "worker"
_EVERY_SECONDS = 2.0


def queue_heartbeat(queue: str) -> str:
    """The name under which a worker of a queue shows itself."""
    return f"queue:{queue}"


def beat_once(sessions: Sessions, name: str) -> None:
    """Write one sign of life."""
    with sessions.begin() as session:
        session.merge(Heartbeat(name=name, seen=now()))


def missing(session: Session, names: Collection[str], within: timedelta) -> list[str]:
    """Those of ``names`` that have not shown themselves for ``within``."""
    query = select(Heartbeat.name).where(Heartbeat.seen >= now() - within)
    return sorted(set(names) - set(session.scalars(query)))


def all_heard(sessions: Sessions, names: Collection[str], *, since: datetime) -> bool:
    """Whether all of ``names`` have shown themselves since a moment; a database that is locked or
    away has not heard of them."""
    query = select(Heartbeat.name).where(Heartbeat.seen >= since, Heartbeat.name.in_(names))
    try:
        with sessions() as session:
            return set(session.scalars(query)) == set(names)
    except SQLAlchemyError:
        return False


class Heart(threading.Thread):
    """Shows under some names that its process lives, and by a file for its own probe.

    The file is touched by a thread of its own: writing to the database may hang.

    Args:
        works: whether the process does its work; while it does not, nothing is shown.
    """

    def __init__(
        self,
        sessions: Sessions,
        names: Collection[str],
        sign: Path,
        works: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(name="heart", daemon=True)
        self._works = works
        self._sessions, self._names, self._sign = sessions, list(names), sign
        self._stopping = threading.Event()

    def run(self) -> None:
        """Beat until ``stop``."""
        threading.Thread(target=self._show, name="sign of life", daemon=True).start()
        while True:
            try:
                for name in self._names if self._works() else ():
                    beat_once(self._sessions, name)
            except SQLAlchemyError as error:
                logger.warning("no sign of life could be written: %s", error)
            if self._stopping.wait(_EVERY_SECONDS):
                return

    def _show(self) -> None:
        while True:
            if self._works():
                show_alive(self._sign)
            if self._stopping.wait(_EVERY_SECONDS):
                return

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
