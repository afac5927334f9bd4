"""Whose a registered model is: of the user whose tasks make its versions."""

import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from components.errors import Conflict
from gateway.models import Task
from gateway.work import Work

_MAKING = ("loop", "training", "deployment")
_OF_A_USER = re.compile(r"(.+)-(detect|pose)")


def check_model_name(session: Session, user_id: str, work: Work) -> None:
    """Raise Conflict if the model that a task's versions are to go to is another user's."""
    name = work.served_name(user_id)
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
