"""The gateway on a database of its own, without any other server."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions, open_database, upgrade_database
from gateway.keys import create_key
from tests.helpers.brokers import missing_rabbitmq, missing_redis, rabbitmq, redis_server


@pytest.fixture
def database_url() -> Iterator[str]:
    """SQLite in the home; with ``ACTVERSE_TEST_DATABASE_URL`` a new database of that server."""
    server = os.environ.get("ACTVERSE_TEST_DATABASE_URL", "")
    if not server:
        yield ""
        return
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        engine.dispose()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(
        home=tmp_path,
        database_url=database_url,
        api_key_secret="keys-secret",
        webhook_secret="webhook-secret",
        pipeline_secret="pipeline-secret",
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SQLite with the newest schema: what hundreds of tests begin with is made once."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    upgrade_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def sessions(settings: Settings, empty_database: Path) -> Sessions:
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        shutil.copyfile(empty_database, url.database)
    else:
        upgrade_database(settings.database_url)
    return open_database(settings.database_url)


@pytest.fixture
def api_key(settings: Settings, sessions: Sessions) -> str:
    with sessions.begin() as session:
        return create_key(session, settings, "ada")


@pytest.fixture
def client(settings: Settings, sessions: Sessions, api_key: str) -> TestClient:
    return TestClient(create_app(settings), headers={"X-API-Key": api_key})


@pytest.fixture(scope="session")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real RabbitMQ for the whole session; tests keep apart by names of their own."""
    if reason := missing_rabbitmq():
        pytest.skip(reason)
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis for the whole session; tests keep apart by names of their own."""
    if reason := missing_redis():
        pytest.skip(reason)
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def admin(settings: Settings, sessions: Sessions) -> TestClient:
    """A client with an admin's key."""
    with sessions.begin() as session:
        key = create_key(session, settings, "grace", "admin")
    return TestClient(create_app(settings), headers={"X-API-Key": key})


@pytest.fixture
def bob(client: TestClient, settings: Settings, sessions: Sessions) -> TestClient:
    """Another user of the same gateway."""
    with sessions.begin() as session:
        key = create_key(session, settings, "bob")
    return TestClient(client.app, headers={"X-API-Key": key})
