"""Locks across processes, kept in the database; one that its holder lost runs out."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from gateway.database import Sessions
from gateway.models import Heartbeat, now


@contextmanager
def only_one(sessions: Sessions, name: str, at_most: timedelta) -> Iterator[bool]:
    """True for one process at a time; the others are told False and do without.

    Args:
        name: what is locked.
        at_most: after it the lock is anybody's again.
    """
    taken = _take(sessions, f"lock:{name}", at_most)
    try:
        yield taken
    finally:
        if taken:
            with sessions.begin() as session:
                session.merge(Heartbeat(name=f"lock:{name}", seen=now()))


def one_at_a_time(session: Session, name: str) -> None:
    """Hold a lock until the end of the session's transaction; whoever else wants it waits here.

    So what is counted afterwards is still so when the transaction writes. PostgreSQL has locks of
    any name; on SQLite it is the one lock of all writers.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
        return
    # Changes nothing; SQLite takes its lock for any statement that may write.
    session.execute(update(Heartbeat).where(Heartbeat.name == "").values(name=""))


def _take(sessions: Sessions, name: str, at_most: timedelta) -> bool:
    moment = now()
    try:
        with sessions.begin() as session:
            if session.get(Heartbeat, name) is None:
                session.add(Heartbeat(name=name, seen=moment + at_most))
                return True
            taken = session.execute(
                update(Heartbeat)
                .where(Heartbeat.name == name, Heartbeat.seen <= moment)
                .values(seen=moment + at_most)
                .execution_options(synchronize_session=False)
            )
            return cast(CursorResult[Any], taken).rowcount == 1
    except IntegrityError:
        return False  # somebody was quicker with the first row
