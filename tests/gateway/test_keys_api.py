"""API keys: made, listed, revoked; whom they let in, and at what cost."""

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import event, select

from actverse.stack import USER, api_key_path, ensure_local_key
from components.errors import BadInput, Refused
from components.settings import Settings
from gateway.app import create_app
from gateway.callers import Callers
from gateway.database import Sessions
from gateway.keys import bootstrap_key, create_key, find_caller
from gateway.models import ApiKey
from tests.helpers.servers import wait_until

LISTED = "/keys/"


def _with(settings: Settings, key: str) -> TestClient:
    """A client of another gateway on the same database."""
    return TestClient(create_app(settings), headers={"X-API-Key": key})


def test_a_key_that_an_admin_makes_lets_its_user_in(admin: TestClient, settings: Settings):
    answer = admin.post("/keys/", json={"user_id": "bob", "label": "microscope"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["user_id"], made["role"], made["label"]) == ("bob", "user", "microscope")
    assert made["key"].startswith(made["prefix"])
    assert answer.headers["cache-control"] == "no-store"
    bob = _with(settings, made["key"])
    assert [key["user_id"] for key in bob.get(LISTED).json()["keys"]] == ["bob"]


def test_the_text_of_a_key_is_shown_once_and_stored_nowhere(admin: TestClient, sessions: Sessions):
    text = admin.post("/keys/", json={"user_id": "bob"}).json()["key"]
    assert text not in admin.get(LISTED).text
    assert "digest" not in admin.get(LISTED).text
    with sessions() as session:
        for row in session.scalars(select(ApiKey)):
            stored = {name: getattr(row, name) for name in row.__table__.columns.keys()}  # noqa: SIM118 (no dict)
            assert text not in str(stored)


def test_a_key_may_be_sent_as_a_bearer_token(settings: Settings, api_key: str):
    client = TestClient(create_app(settings))
    assert client.get(LISTED, headers={"Authorization": f"Bearer {api_key}"}).status_code == 200
    assert client.get(LISTED, headers={"Authorization": "Bearer no"}).status_code == 401
    assert client.get(LISTED, headers={"Authorization": "Bearer"}).status_code == 401


@pytest.mark.parametrize("key", ["", "wrong-one", "av_" + "x" * 43, "schl\u00fcssel"])
def test_nobody_else_gets_in(client: TestClient, key: str):
    answer = client.get(LISTED, headers={"X-API-Key": key.encode()})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:actverse:problem:Unauthorized"
    assert "www-authenticate" in answer.headers
    assert not key or key not in answer.text


def test_a_user_makes_no_keys(client: TestClient):
    answer = client.post("/keys/", json={"user_id": "ada", "role": "admin"})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:actverse:problem:Forbidden"


def test_a_user_sees_their_own_keys_and_an_admin_all(client: TestClient, admin: TestClient):
    admin.post("/keys/", json={"user_id": "bob"})
    assert {key["user_id"] for key in client.get(LISTED).json()["keys"]} == {"ada"}
    assert {key["user_id"] for key in admin.get(LISTED).json()["keys"]} == {"ada", "grace", "bob"}


def test_keys_are_listed_by_pages(admin: TestClient):
    for number in range(4):
        admin.post("/keys/", json={"user_id": f"u{number}"})
    whole = [key["id"] for key in admin.get(LISTED).json()["keys"]]
    seen, address = [], "/keys/?limit=2"
    while address:
        page = admin.get(address).json()
        assert len(page["keys"]) <= 2
        seen += [key["id"] for key in page["keys"]]
        address = page["next"]
    assert seen == whole


def test_a_revoked_key_lets_nobody_in(
    client: TestClient, settings: Settings, api_key: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Callers, "SECONDS", 0.3)
    elsewhere = _with(settings, api_key)
    assert elsewhere.get(LISTED).status_code == 200
    (own,) = client.get(LISTED).json()["keys"]
    revoked = client.delete(f"/keys/{own['id']}")
    assert revoked.status_code == 200
    assert revoked.json()["revoked"] is not None
    assert _with(settings, api_key).get(LISTED).status_code == 401
    # Another gateway remembers it for a moment.
    wait_until(lambda: elsewhere.get(LISTED).status_code == 401, 10)


def test_only_an_admin_revokes_another_users_key(
    client: TestClient, admin: TestClient, settings: Settings
):
    made = admin.post("/keys/", json={"user_id": "bob"}).json()
    answer = client.delete(f"/keys/{made['id']}")
    assert answer.status_code == 404
    assert answer.json()["detail"] == client.delete("/keys/99999").json()["detail"].replace(
        "99999", str(made["id"])
    )
    assert _with(settings, made["key"]).get(LISTED).status_code == 200
    assert admin.delete(f"/keys/{made['id']}").status_code == 200
    assert _with(settings, made["key"]).get(LISTED).status_code == 401


def test_many_requests_look_a_key_up_once(client: TestClient, api_key: str):
    looked_up = []
    engine = client.app.state.sessions.kw["bind"]

    @event.listens_for(engine, "before_cursor_execute")
    def _note(connection, cursor, statement, *rest):
        if "WHERE api_keys.digest" in statement:
            looked_up.append(statement)

    for _ in range(20):
        assert client.get(LISTED).status_code == 200
    assert len(looked_up) == 1
    assert api_key not in str(vars(client.app.state.callers))


def test_the_first_admins_key_is_made_once(settings: Settings, sessions: Sessions):
    first = bootstrap_key(settings, "grace")
    with pytest.raises(Refused, match="grace"):
        bootstrap_key(settings, "grace")
    second = bootstrap_key(settings, "grace", again=True)
    for key in (first, second):
        assert _with(settings, key).post("/keys/", json={"user_id": "bob"}).status_code == 201


@pytest.mark.parametrize("user", ["", "../etc", "a b", "x" * 200])
def test_a_first_admin_needs_a_name(settings: Settings, sessions: Sessions, user: str):
    with pytest.raises(BadInput):
        bootstrap_key(settings, user)


def test_without_a_secret_no_key_is_made(settings: Settings, sessions: Sessions):
    bare = settings.model_copy(update={"api_key_secret": SecretStr("")})
    with pytest.raises(Refused, match="ACTVERSE_API_KEY_SECRET"):
        bootstrap_key(bare, "grace")


def test_the_local_key_is_an_admins_also_where_it_was_a_users(
    settings: Settings, sessions: Sessions
):
    with sessions.begin() as session:
        old = create_key(session, settings, USER)
    path = api_key_path(settings.home)
    path.parent.mkdir(parents=True)
    path.write_text(old)
    assert ensure_local_key(settings) == old
    with sessions() as session:
        caller = find_caller(session, settings, old)
    assert caller is not None
    assert caller.scope is None
    path.unlink()
    new = ensure_local_key(settings)
    with sessions() as session:
        assert find_caller(session, settings, new).role == "admin"
