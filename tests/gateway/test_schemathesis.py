"""The whole OpenAPI document put to the test with generated requests, with a key and without.

Every operation that the document names is tried, those added later, too. Left out is only
``watchTask``: its answer of server-sent events has no end while the task is open.
"""

import itertools
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.types import ASGIApp, Receive, Scope, Send

from components.settings import Settings
from gateway.app import create_app
from gateway.database import Sessions, open_database, upgrade_database
from gateway.keys import add_key
from gateway.openapi import EXAMPLE_TASK
from gateway.tasks import create_task
from gateway.work import Work
from tests.helpers.tasks import succeed

pytestmark = pytest.mark.slow

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_KEY_ID = 987_654  # not one that generated requests revoke
_MODEL = {"state": "succeeded", "facts": {"model": "ada-detect", "version": 1}}


class _Front:
    """Stands before the gateway, which is made after the document was read.

    It lets each request come from an address of its own, as wrong keys are counted by it.
    """

    app: ASGIApp

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "client" in scope:
            number = next(self._numbers)
            scope["client"] = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1)
        await self.app(scope, receive, send)


def _example_task(sessions: Sessions) -> None:
    """The task that the document's examples name, ended, with a model."""
    with sessions.begin() as session:
        task = create_task(session, "ada", "extract", Work(file_path="clips/mouse.mp4"))
        trained = create_task(session, "ada", "training", Work(labels_path="labels/mice"))
        task.id = EXAMPLE_TASK
        trained_id = trained.id
    succeed(sessions, EXAMPLE_TASK, {"deploy": _MODEL["facts"]})
    succeed(sessions, trained_id, {"training": {"pipeline": {"register": _MODEL}}})


class _Gateway:
    def __init__(self, home: Path) -> None:
        self.settings = Settings(
            home=home, api_key_secret="k" * 40, webhook_secret="w" * 40, rate_limit=""
        )
        upgrade_database(self.settings.database_url)
        sessions = open_database(self.settings.database_url)
        with sessions.begin() as session:
            self.key, row = add_key(session, self.settings, "ada")
            row.id = _KEY_ID
        _example_task(sessions)
        storage = self.settings.layout.root
        for path in (
            "users/ada/clips/mouse.mp4",
            "users/ada/labels/mice/labels/a.txt",
            "users/ada/weights/mice.pt",
            f"users/ada/frames/{EXAMPLE_TASK}/frame_000000.jpg",
            f"inference_results/{EXAMPLE_TASK}/results.csv",
        ):
            (storage / path).parent.mkdir(parents=True, exist_ok=True)
            (storage / path).write_bytes(b"content")
        self.app = create_app(self.settings)


def _document() -> dict[str, Any]:
    with TemporaryDirectory() as home:
        return create_app(Settings(home=Path(home), without_secrets=True)).openapi()


# Read when the tests are collected, since each operation is a test of its own.
_SCHEMA = schemathesis.openapi.from_dict(_document())
_SCHEMA.app = _FRONT = _Front()
_API = _SCHEMA.exclude(operation_id="watchTask")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> _Gateway:
    made = _Gateway(tmp_path_factory.mktemp("home"))
    _FRONT.app = made.app
    return made


# What is valid by the schema is mostly refused by what it names: let some of it be there.
@_API.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> Any:
    named = (path_parameters or {}).get("task_id")
    if isinstance(named, str) and len(named) % 2:
        return {**(path_parameters or {}), "task_id": EXAMPLE_TASK}
    return path_parameters


@_API.hook
def map_body(context: Any, body: Any) -> Any:
    named = body.get("user_id") if isinstance(body, dict) else None
    if isinstance(named, str) and _NAME.fullmatch(named) and len(named) % 4:
        return {name: value for name, value in body.items() if name != "user_id"}
    return body


def _repeatable(max_examples: int) -> hypothesis_settings:
    return hypothesis_settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


# By default it takes 503 for a fault of ours, and 400 for one where the schema allows what a
# storage, or the tasks that there are, do not.
_EXCLUDED = [not_a_server_error, positive_data_acceptance]


@_API.parametrize()
@_repeatable(20)
def test_every_answer_is_as_described(case: schemathesis.Case, gateway: _Gateway) -> None:
    answer = case.call(headers={"X-API-Key": gateway.key})
    assert answer.status_code != 500, answer.text
    excluded = list(_EXCLUDED)
    if any(isinstance(value, list) for value in case.query.values()):
        # A parameter that comes twice is no list to us: the last one counts.
        excluded.append(negative_data_rejection)
    case.validate_response(answer, excluded_checks=excluded)


@_API.parametrize()
@_repeatable(5)
def test_without_a_key_every_answer_is_as_described(
    case: schemathesis.Case, gateway: _Gateway
) -> None:
    case.headers.pop("X-API-Key", None)
    case.headers.pop("Authorization", None)
    answer = case.call()
    assert answer.status_code != 500, answer.text
    if case.operation.definition.raw.get("security"):
        assert 400 <= answer.status_code < 500, answer.status_code
    case.validate_response(answer, excluded_checks=_EXCLUDED)
