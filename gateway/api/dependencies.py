"""What the endpoints are given: settings, a database session, the caller."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session
from starlette.datastructures import State
from starlette.requests import HTTPConnection

from components.errors import Forbidden, Unauthorized
from components.settings import Settings
from gateway.callers import Callers
from gateway.keys import Caller
from gateway.limits import RateLimits, client_address

__all__ = [
    "AdminCaller",
    "Caller",
    "CurrentCaller",
    "SessionDep",
    "SettingsDep",
    "admit",
    "authenticate",
]

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

    Args:
        app_state: ``request.app.state`` or ``websocket.app.state``.
    """
    callers: Callers = app_state.callers
    return await callers.find(key)


async def admit(connection: HTTPConnection, key: str | None) -> Caller:
    """Let a request, or a WebSocket, with a key in; it counts among those of the key.

    Raises:
        Unauthorized: if the key is missing, unknown or revoked.
        TooManyRequests: if the key has spent its requests, or too many wrong keys came from
            this address.
    """
    state, address = connection.app.state, client_address(connection.scope)
    callers: Callers = state.callers
    limits: RateLimits = state.limits
    # Somebody else's guesses from behind the same proxy lock no valid key out.
    if key and not callers.knows(key):
        await limits.check_address(address)
    caller = await callers.find(key) if key else None
    if caller is None:
        if key:
            await limits.wrong_key(address)
        raise Unauthorized(
            "The API key is missing or unknown: send it as X-API-Key, or as a bearer token."
        )
    connection.state.caller = caller
    await limits.spend(caller)
    return caller


async def _caller(
    request: Request,
    key: Annotated[str | None, Security(_api_key)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    return await admit(request, key or (bearer.credentials if bearer else None))


CurrentCaller = Annotated[Caller, Depends(_caller)]


async def _admin(caller: CurrentCaller) -> Caller:
    if caller.role != "admin":
        raise Forbidden("This is an admin's to do: use an admin's API key.")
    return caller


AdminCaller = Annotated[Caller, Depends(_admin)]


async def _user(caller: CurrentCaller) -> str:
    return caller.user_id


CurrentUser = Annotated[str, Depends(_user)]
