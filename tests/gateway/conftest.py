"""The gateway on a database of its own, without any other server."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions, open_database, upgrade_database
from gateway.keys import create_key


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, api_key_secret="keys-secret", webhook_secret="webhook-secret")


@pytest.fixture
def sessions(settings: Settings) -> Sessions:
    upgrade_database(settings.database_url)
    return open_database(settings.database_url)


@pytest.fixture
def api_key(settings: Settings, sessions: Sessions) -> str:
    with sessions.begin() as session:
        return create_key(session, settings, "ada")


@pytest.fixture
def client(settings: Settings, sessions: Sessions, api_key: str) -> TestClient:
    return TestClient(create_app(settings), headers={"X-API-Key": api_key})
