"""Rules of who hears of what: made, listed, deleted, tried; and what is secret stays so."""

import json
from http.server import BaseHTTPRequestHandler

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text

from components.settings import Settings
from gateway.app import create_app
from gateway.celery_app import create_celery
from gateway.database import Sessions
from gateway.events import EventName, record_event
from gateway.models import Event, Notification, NotificationRule, now
from gateway.notifications.deliver import deliver_events
from gateway.notifications.rules import MAX_RULES, TEST_RULE, send_test
from gateway.sealing import unseal
from gateway.tasks import create_task
from gateway.work import Work
from tests.helpers.servers import free_ports
from tests.helpers.web import body, serving

RULES = "/notifications/rules"
URL = "mailtos://lab:hush-word@mail.example.org?to=ada@example.org"


def _made(client: TestClient, **body: object) -> dict[str, object]:
    answer = client.post(RULES, json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_rule_is_stored_sealed_and_shown_without_its_secret(
    client: TestClient, settings: Settings, sessions: Sessions
):
    made = _made(client)
    assert "hush" not in str(made)
    assert "mail.example.org" in made["url"]
    assert made["events"] == [event.value for event in EventName]
    listed = client.get(RULES)
    assert listed.json()["rules"] == [made]
    assert "hush" not in listed.text
    with sessions() as session:
        (row,) = session.execute(text("SELECT * FROM notification_rules")).mappings()
        assert "hush" not in str(dict(row))
        (rule,) = session.scalars(select(NotificationRule))
        assert unseal(settings, rule.sealed_url) == URL


def test_a_rule_names_the_events_it_is_for(client: TestClient):
    made = _made(client, events=["STEP_FAILED", "RESULTS_UPLOADED", "STEP_FAILED"])
    assert made["events"] == ["RESULTS_UPLOADED", "STEP_FAILED"]


@pytest.mark.parametrize(
    "request_body",
    [
        {},
        {"url": ""},
        {"url": "hush-no-address"},
        {"url": "file:///etc/hush"},
        {"url": "syslog://hush"},
        {"url": "json://127.0.0.1/hush"},
        {"url": URL, "events": ["SOMETHING_ELSE"]},
        {"url": URL, "events": "STEP_FAILED"},
        {"url": URL, "more": 1},
        {"url": "x" * 5000},
        {"url": "json://example.org/\0"},
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(client: TestClient, request_body: dict[str, object]):
    answer = client.post(RULES, json=request_body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hush" not in answer.text
    assert client.get(RULES).json()["rules"] == []


def test_a_user_has_so_many_rules_at_most(client: TestClient, bob: TestClient):
    for _ in range(MAX_RULES):
        _made(client)
    answer = client.post(RULES, json={"url": URL})
    assert answer.status_code == 400
    assert str(MAX_RULES) in answer.json()["detail"]
    _made(bob)


def test_rules_are_listed_by_pages(client: TestClient):
    made = [_made(client)["id"] for _ in range(5)]
    seen, address = [], f"{RULES}?limit=2"
    while address:
        page = client.get(address).json()
        seen += [rule["id"] for rule in page["rules"]]
        address = page["next"]
    assert seen == made


def test_rules_are_their_users_own(client: TestClient, bob: TestClient, admin: TestClient):
    rule = _made(client)["id"]
    assert bob.get(RULES).json()["rules"] == []
    assert bob.delete(f"{RULES}/{rule}").status_code == 404
    assert bob.post(f"{RULES}/{rule}/test").status_code == 404
    assert [one["id"] for one in admin.get(RULES).json()["rules"]] == [rule]
    assert admin.delete(f"{RULES}/{rule}").status_code == 200
    assert client.get(RULES).json()["rules"] == []


def test_a_deleted_rule_takes_its_waiting_messages_along(
    client: TestClient, settings: Settings, sessions: Sessions
):
    rule = _made(client, events=["STEP_FAILED"])["id"]
    other = _made(client, events=["RESULTS_UPLOADED"])["id"]
    with sessions.begin() as session:
        task = create_task(session, "ada", "upload", Work(file_path="a.mp4"))
        record_event(session, task, EventName.STEP_FAILED, {"step": "download"})
        session.flush()
        for event in session.scalars(select(Event)):
            event.time = now()
    assert len(deliver_events(settings, sessions)) == 1
    assert client.delete(f"{RULES}/{rule}").status_code == 200
    with sessions() as session:
        assert list(session.scalars(select(Notification))) == []
        assert list(session.scalars(select(NotificationRule.id))) == [other]
    assert client.delete(f"{RULES}/{rule}").status_code == 404


def _queued(settings: Settings) -> list[tuple[str, list[object]]]:
    """The messages that lie on the broker for errands."""
    found = []
    with create_celery(settings).connection_for_read() as connection:
        queue = connection.SimpleQueue("notification")
        while True:
            try:
                message = queue.get(timeout=0.5)
            except queue.Empty:
                return found
            found.append((message.headers["task"], message.payload[0]))
            message.ack()


def test_a_test_message_is_queued_for_a_worker(client: TestClient, settings: Settings):
    rule = _made(client)["id"]
    answer = client.post(f"{RULES}/{rule}/test")
    assert answer.status_code == 202
    assert answer.json()["rule_id"] == rule
    assert "hush" not in answer.text
    assert _queued(settings) == [(TEST_RULE, [rule])]


def test_a_broker_that_is_away_is_said(settings: Settings, api_key: str):
    (port,) = free_ports(1)
    changed = settings.model_copy(update={"broker_url": f"amqp://u:hush@127.0.0.1:{port}//"})
    client = TestClient(create_app(changed), headers={"X-API-Key": api_key})
    answer = client.post(f"{RULES}/{_made(client)['id']}/test")
    assert answer.status_code == 503
    assert "hush" not in answer.text


def test_a_test_message_arrives_and_a_failure_is_said(
    settings: Settings, sessions: Sessions, api_key: str
):
    open_to_private = settings.model_copy(update={"allow_private_urls": True})
    client = TestClient(create_app(open_to_private), headers={"X-API-Key": api_key})
    received: list[str] = []

    def take(handler: BaseHTTPRequestHandler) -> None:
        received.append(json.loads(handler.content)["title"])  # type: ignore[attr-defined]
        body(b"ok")(handler)

    with serving(take) as server:
        rule = _made(client, url=f"json://127.0.0.1:{server.server_port}/hush")["id"]
        assert send_test(open_to_private, sessions, rule) == ""
    assert received == ["actverse: a test"]
    error = send_test(open_to_private, sessions, rule)
    assert error
    assert "hush" not in error
    assert "deleted" in send_test(open_to_private, sessions, 99)
