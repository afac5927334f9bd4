"""A model's name is one user's, however many ask for it at the same moment."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import select, text

from components.errors import Conflict
from components.settings import Settings
from gateway import database
from gateway.database import Sessions, open_database, upgrade_database
from gateway.keys import Caller
from gateway.model_names import check_model_name
from gateway.models import ModelName
from gateway.tasks import create_task
from gateway.work import Work

USERS = 8


def test_of_users_who_ask_at_once_one_is_given_the_name(settings: Settings, sessions: Sessions):
    """Each on a connection of its own, as of several gateways."""
    together = threading.Barrier(USERS)
    opened = {f"user{n}": open_database(settings.database_url) for n in range(USERS)}
    names = [f"model-{n}" for n in range(10)]

    def claim(user: str) -> list[str]:
        given = []
        for name in names:
            together.wait()
            work = Work(file_path="a.mp4", model_name=name)
            try:
                with opened[user].begin() as session:
                    caller = Caller(user, "user", 1)
                    check_model_name(session, settings, caller, user, work)
                    create_task(session, user, "loop", work)
                given.append(name)
            except Conflict:
                continue
        return given

    with ThreadPoolExecutor(USERS) as threads:
        given = [name for found in threads.map(claim, opened) for name in found]
    assert sorted(given) == sorted(names)


def test_a_name_is_kept_by_who_has_it_and_freed_with_a_task_that_was_not_made(
    settings: Settings, sessions: Sessions
):
    work = Work(file_path="a.mp4", model_name="mice")

    def claim(user: str) -> None:
        with sessions.begin() as session:
            check_model_name(session, settings, Caller(user, "user", 1), user, work)

    with pytest.raises(RuntimeError), sessions.begin() as session:
        check_model_name(session, settings, Caller("ada", "user", 1), "ada", work)
        raise RuntimeError
    claim("bob")
    claim("bob")
    with pytest.raises(Conflict, match="mice"):
        claim("ada")


def test_the_names_of_older_databases_are_their_first_users(tmp_path, database_url: str):
    url = database_url or f"sqlite:///{tmp_path / 'old.db'}"
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    sessions = open_database(url)
    with sessions.kw["bind"].begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
    insert = text(
        "INSERT INTO tasks (id, user_id, kind, request, previous_id, state, error, revision, "
        "created, updated) VALUES (:id, :user, :kind, :request, '', 'succeeded', '', 1, :at, :at)"
    )
    rows = [
        ("t-1", "bob", "loop", {"model_name": "mice"}, 2),
        ("t-2", "ada", "training", {"model_name": "mice"}, 1),
        ("t-3", "eve", "inference", {"model_name": "fish"}, 1),
        ("t-4", "eve", "loop", {"task": "pose"}, 1),
    ]
    with sessions.begin() as session:
        for task_id, user, kind, request, day in rows:
            at = datetime(2026, 1, day, tzinfo=UTC)
            values = {"id": task_id, "user": user, "kind": kind, "at": at}
            session.execute(insert, {**values, "request": json.dumps(request)})
    upgrade_database(url)
    with sessions() as session:
        found = dict(session.execute(select(ModelName.name, ModelName.user_id)).tuples().all())
    assert found == {"mice": "ada", "eve-pose": "eve"}
