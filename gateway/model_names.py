"""Whose a registered model is: of the user whose tasks make its versions.

The global model alone is everybody's: administrators make it, all tasks are pre-annotated by it.
"""

import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from components.errors import Conflict, Forbidden
from components.settings import Settings
from gateway.keys import Caller
from gateway.models import Task
from gateway.work import Work

_MAKING = ("loop", "round", "training", "deployment", "model")
_OF_A_USER = re.compile(r"(.+)-(detect|pose)")


def check_model_name(
    session: Session, settings: Settings, caller: Caller, user_id: str, work: Work
) -> None:
    """See that a task's versions may go to the model that it names.

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
    query = select(Task.user_id).where(
        Task.user_id != user_id,
        Task.kind.in_(_MAKING),
        Task.request["model_name"].as_string() == name,
    )
    if reserved or session.scalar(query.limit(1)) is not None:
        raise Conflict(f"The model name {name!r} is taken: give another one.")


def models_of(session: Session, user_id: str) -> set[str]:
    """The models that a user's tasks make versions of."""
    chosen, task = Task.request["model_name"].as_string(), Task.request["task"].as_string()
    query = select(chosen, task).where(Task.user_id == user_id, Task.kind.in_(_MAKING)).distinct()
    return {
        str(name or f"{user_id}-{kind or 'detect'}") for name, kind in session.execute(query).all()
    }
