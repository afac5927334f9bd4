"""For whom a caller acts."""

from fastapi import Request

from components.errors import Forbidden
from components.storage import Storage
from gateway.keys import Caller


def acting_for(caller: Caller, user_id: str | None) -> str:
    """The user whose files and tasks a request is about: the caller's own, if none is named.

    Raises:
        Forbidden: if a user who is no admin names another.
    """
    if user_id in (None, caller.user_id):
        return caller.user_id
    if caller.scope is not None:
        raise Forbidden(f"The API key is not {user_id!r}'s: leave user_id out.")
    return str(user_id)


def storage_of(request: Request) -> Storage:
    """The gateway's storage."""
    storage: Storage = request.app.state.storage
    return storage
