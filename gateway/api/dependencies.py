"""What the endpoints are given: settings, a database session, the caller."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session
from starlette.datastructures import State

from components.settings import Settings
from gateway.callers import Callers
from gateway.keys import Caller
from gateway.problems import Forbidden, Unauthorized

__all__ = ["AdminCaller", "Caller", "CurrentCaller", "SessionDep", "SettingsDep", "authenticate"]

_api_key = APIKeyHeader(name="X-API-Key", auto_error=False)
_bearer = HTTPBearer(auto_error=False)


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _session(request: Request) -> Iterator[Session]:
    with request.app.state.sessions.begin() as session:
        yield session


SettingsDep = Annotated[Settings, Depends(_settings)]
SessionDep = Annotated[Session, Depends(_session, scope="function")]


async def authenticate(app_state: State, key: str) -> Caller | None:
    """Whose key it is, or None if it is unknown or revoked.

    For whoever has no ``Request`` to depend on, a WebSocket for example.

    Args:
        app_state: ``request.app.state`` or ``websocket.app.state``.
    """
    callers: Callers = app_state.callers
    return await callers.find(key)


async def _caller(
    request: Request,
    key: Annotated[str | None, Security(_api_key)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    key = key or (bearer.credentials if bearer else None)
    caller = await authenticate(request.app.state, key) if key else None
    if caller is None:
        raise Unauthorized(
            "The API key is missing or unknown: send it as X-API-Key, or as a bearer token."
        )
    return caller


CurrentCaller = Annotated[Caller, Depends(_caller)]


async def _admin(caller: CurrentCaller) -> Caller:
    if caller.role != "admin":
        raise Forbidden("This is an admin's to do: use an admin's API key.")
    return caller


AdminCaller = Annotated[Caller, Depends(_admin)]


async def _user(caller: CurrentCaller) -> str:
    return caller.user_id


CurrentUser = Annotated[str, Depends(_user)]
