"""A POST that is sent twice makes one task.

The key is the client's own; it is kept with a digest of what came with it, in the same
transaction as the task. Of two that come at the same time, the database's unique
constraint lets one through, and the other is given the task of the first.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from components.errors import Conflict
from gateway.models import IdempotencyKey, Task


def digest_of(*parts: Any) -> str:
    """A digest of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make_once(
    session: Session, user_id: str, key: str, digest: str, make: Callable[[], Task]
) -> tuple[Task, bool]:
    """The task that ``make`` makes, or the one that was made with this key before.

    Args:
        user_id: who sends.
        key: theirs.
        digest: of what is asked for.

    Returns:
        The task, and whether it had been there.

    Raises:
        Conflict: if the key came with something else before.
    """
    query = select(IdempotencyKey).where(
        IdempotencyKey.user_id == user_id, IdempotencyKey.key == key
    )
    known = session.scalar(query)
    if known is None:
        try:
            # Nothing is read in here before it is written: SQLite would refuse to write to
            # what another has changed since.
            with session.begin_nested():
                task = make()
                session.flush()
                session.add(
                    IdempotencyKey(user_id=user_id, key=key, digest=digest, task_id=task.id)
                )
            return task, False
        except IntegrityError:
            known = session.scalar(query)
            if known is None:
                raise
    if known.digest != digest:
        raise Conflict("This Idempotency-Key came with another body before: take a new key.")
    return session.get_one(Task, known.task_id), True
