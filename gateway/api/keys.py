"""API keys: made by admins, listed and revoked by them and by whose they are."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from gateway.api.dependencies import AdminCaller, CurrentCaller, SessionDep, SettingsDep
from gateway.api.paging import Limit, next_link
from gateway.keys import add_key, list_keys, revoke_key
from gateway.openapi import problems
from gateway.schemas.keys import KeyCreated, KeyInfo, KeyList, KeyRequest

router = APIRouter(prefix="/keys", tags=["keys"])

_COLUMNS = ("id", "user_id", "role", "label", "prefix", "created", "revoked")
_MAX_ID = 2**31 - 1


@router.post(
    "/",
    status_code=HTTPStatus.CREATED,
    operation_id="createKey",
    responses=problems(403),
)
def create(
    request: KeyRequest, caller: AdminCaller, session: SessionDep, settings: SettingsDep
) -> KeyCreated:
    """Make a key for a user; its text is in this answer and nowhere else."""
    text, row = add_key(session, settings, request.user_id, request.role, request.label)
    return KeyCreated(key=text, **{name: getattr(row, name) for name in _COLUMNS})


@router.get(
    "/",
    operation_id="listKeys",
)
def listing(
    caller: CurrentCaller,
    session: SessionDep,
    after: Annotated[int, Query(ge=0, le=_MAX_ID, description="from the page before")] = 0,
    limit: Limit = 50,
) -> KeyList:
    """Your keys, an admin's: everybody's; the revoked ones too."""
    rows = list_keys(session, caller.scope, after=after, limit=limit + 1)
    more = len(rows) > limit
    last = str(rows[limit - 1].id) if more else None
    return KeyList(
        keys=[
            KeyInfo.model_validate({name: getattr(row, name) for name in _COLUMNS})
            for row in rows[:limit]
        ],
        after=last,
        next=next_link("/keys/", after=last, limit=limit) if more else None,
    )


@router.delete(
    "/{key_id}",
    operation_id="revokeKey",
    responses=problems(404),
)
def revoke(
    key_id: Annotated[int, Path(ge=1, le=_MAX_ID)], caller: CurrentCaller, session: SessionDep
) -> KeyInfo:
    """End a key: your own, or as an admin anybody's. It may work for five more seconds."""
    row = revoke_key(session, key_id, caller.scope)
    return KeyInfo.model_validate({name: getattr(row, name) for name in _COLUMNS})
