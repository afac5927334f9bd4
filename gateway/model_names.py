"""Whose a registered model is: of the user whose tasks make its versions.

The global model alone is everybody's: administrators make it, all tasks are pre-annotated by it.
"""

import re

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from components.errors import Conflict, Forbidden
from components.settings import Settings
from gateway.keys import Caller
from gateway.models import ModelName, Task, now
from gateway.work import Work

_MAKING = ("loop", "round", "training", "deployment", "model")
_OF_A_USER = re.compile(r"(.+)-(detect|pose)")


def check_model_name(
    session: Session, settings: Settings, caller: Caller, user_id: str, work: Work
) -> None:
    """See that a task's versions may go to the model that it names, and claim the name for it.

    The name is the user's once the session's transaction, which makes the task too, is committed.
    Of two users at once the database lets one through.

    Args:
        caller: who asks for the task.
        user_id: whose task it is to be.

    Raises:
        Conflict: if the model is another user's.
        Forbidden: if it is the global one, and the caller is no administrator.
    """
    name = work.served_name(user_id)
    if name == settings.global_model:
        if caller.scope is not None:
            raise Forbidden(
                f"The model {name!r} labels everybody's frames, so an administrator brings it: "
                "give another name."
            )
        return
    owner = _OF_A_USER.fullmatch(name)
    reserved = owner is not None and owner[1] != user_id and work.model_name is not None
    if reserved or _claimed(session, name, user_id) != user_id:
        raise Conflict(f"The model name {name!r} is taken: give another one.")


def _claimed(session: Session, name: str, user_id: str) -> str:
    """Whose a name is: ``user_id``'s if it was nobody's."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    row = {"name": name, "user_id": user_id, "created": now()}
    # Of another transaction that claims it, this one waits for the end.
    session.execute(dialect.insert(ModelName).values(**row).on_conflict_do_nothing())
    return session.scalars(select(ModelName.user_id).where(ModelName.name == name)).one()


def models_of(session: Session, user_id: str) -> set[str]:
    """The models that a user's tasks make versions of."""
    chosen, task = Task.request["model_name"].as_string(), Task.request["task"].as_string()
    query = select(chosen, task).where(Task.user_id == user_id, Task.kind.in_(_MAKING)).distinct()
    return {
        str(name or f"{user_id}-{kind or 'detect'}") for name, kind in session.execute(query).all()
    }
