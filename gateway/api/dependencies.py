"""What the endpoints are given: settings, a database session, the caller."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader
from sqlalchemy.orm import Session

from components.settings import Settings
from gateway.keys import find_user
from gateway.problems import Unauthorized

_api_key = APIKeyHeader(name="X-API-Key", auto_error=False)


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _session(request: Request) -> Iterator[Session]:
    with request.app.state.sessions.begin() as session:
        yield session


SettingsDep = Annotated[Settings, Depends(_settings)]
SessionDep = Annotated[Session, Depends(_session, scope="function")]


def _user(
    session: SessionDep, settings: SettingsDep, key: Annotated[str | None, Security(_api_key)]
) -> str:
    user = find_user(session, settings, key) if key else None
    if user is None:
        raise Unauthorized("The API key is missing or unknown: send it as X-API-Key.")
    return user


CurrentUser = Annotated[str, Depends(_user)]
