"""From an event's row to the exchange and to those who asked: at least once, and to nobody else."""

import json
from collections.abc import Iterator
from datetime import timedelta

import kombu
import pytest
from kombu.simple import SimpleQueue
from sqlalchemy import select

from components.settings import Settings
from gateway.database import Sessions
from gateway.events import EventName, record_event
from gateway.models import Event, Notification, NotificationRule, now
from gateway.notifications.deliver import MAX_ATTEMPTS, deliver_events, send_notification
from gateway.notifications.rules import add_rule
from gateway.tasks import create_task, read_task
from gateway.work import Work
from tests.helpers.scripted_web import ScriptedWeb, scripted_web
from tests.helpers.servers import free_ports
from tests.helpers.web import body


@pytest.fixture
def settings(settings: Settings) -> Settings:
    settings.allow_private_urls = True
    return settings


@pytest.fixture
def web() -> Iterator[ScriptedWeb]:
    with scripted_web() as server:
        yield server


def rule(sessions: Sessions, settings: Settings, web: ScriptedWeb, *events, user="ada") -> int:
    with sessions.begin() as session:
        url = f"json://127.0.0.1:{web.port}/{user}"
        return add_rule(session, settings, user, url, events).id


def happen(sessions: Sessions, *names: EventName, user: str = "ada") -> str:
    with sessions.begin() as session:
        task = create_task(session, user, "download", Work(file_path="a.mp4"))
        session.flush()
        for name in names:
            record_event(session, task, name, {"step": "download", "error": "It broke."})
        return task.id


def told(web: ScriptedWeb, user: str = "ada") -> list[str]:
    return [json.loads(content)["title"] for content in web.requests[f"/{user}"]]


def states(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return list(session.scalars(select(Notification.state).order_by(Notification.id)))


def ripen(sessions: Sessions) -> None:
    """Let the time of every notification have come, and every lease have run out."""
    past = now() - timedelta(seconds=1)
    with sessions.begin() as session:
        for notification in session.scalars(select(Notification)):
            notification.lease_until = past
            if notification.not_before is not None:
                notification.not_before = past


def test_who_asked_hears_of_what_they_asked_for(settings, sessions, web):
    rule(sessions, settings, web, EventName.STEP_FAILED)
    rule(sessions, settings, web, user="eve")
    happen(sessions, EventName.VIDEO_DOWNLOADED, EventName.STEP_FAILED)
    (due,) = deliver_events(settings, sessions)
    assert deliver_events(settings, sessions) == [], "it is on its way already"
    assert send_notification(settings, sessions, due) is None
    (title,) = told(web)
    assert title.startswith("A step has failed")
    assert told(web, "eve") == []
    assert states(sessions) == ["sent"]
    assert send_notification(settings, sessions, due) is None
    assert len(told(web)) == 1, "a message that comes twice sends nothing twice"


def test_a_rule_tells_of_what_happens_after_it(settings, sessions, web):
    happen(sessions, EventName.VIDEO_DOWNLOADED)
    rule(sessions, settings, web)
    assert deliver_events(settings, sessions) == []
    happen(sessions, EventName.VIDEO_DOWNLOADED)
    assert len(deliver_events(settings, sessions)) == 1


def test_an_event_is_written_once(sessions):
    task_id = happen(sessions, EventName.VIDEO_DOWNLOADED)
    with sessions.begin() as session:
        task = read_task(session, task_id)
        assert not record_event(session, task, EventName.VIDEO_DOWNLOADED, {})
        assert record_event(session, task, EventName.STEP_FAILED, {}, key="download")
        assert record_event(session, task, EventName.STEP_FAILED, {}, key="extract")
        assert len(session.scalars(select(Event)).all()) == 3


def test_who_does_not_take_it_now_is_asked_again(settings, sessions, web):
    web.scripts["/ada"] = [body(b"", 503), body(b"", 200)]
    rule(sessions, settings, web)
    happen(sessions, EventName.VIDEO_DOWNLOADED)
    (due,) = deliver_events(settings, sessions)
    again_in = send_notification(settings, sessions, due)
    assert again_in is not None
    assert states(sessions) == ["pending"]
    assert deliver_events(settings, sessions) == [], "Celery brings it, after a while"
    ripen(sessions)
    assert deliver_events(settings, sessions) == [due], "or beat does, if that message is lost"
    assert send_notification(settings, sessions, due) is None
    assert states(sessions) == ["sent"]


def test_who_never_takes_it_is_given_up(settings, sessions, web):
    web.scripts["/ada"] = [body(b"", 500)]
    rule(sessions, settings, web)
    happen(sessions, EventName.VIDEO_DOWNLOADED)
    (due,) = deliver_events(settings, sessions)
    with sessions.begin() as session:
        session.get_one(Notification, due).attempt = MAX_ATTEMPTS - 1
    assert send_notification(settings, sessions, due) is None
    assert states(sessions) == ["failed"]


def test_who_will_never_take_it_is_asked_once(settings, sessions, web):
    web.scripts["/ada"] = [body(b"", 404)]
    rule(sessions, settings, web)
    happen(sessions, EventName.VIDEO_DOWNLOADED)
    (due,) = deliver_events(settings, sessions)
    assert send_notification(settings, sessions, due) is None
    assert states(sessions) == ["failed"]
    ripen(sessions)
    assert deliver_events(settings, sessions) == []


def test_a_sender_that_was_killed_is_made_up_for(settings, sessions, web):
    rule(sessions, settings, web)
    happen(sessions, EventName.VIDEO_DOWNLOADED)
    (due,) = deliver_events(settings, sessions)
    with sessions.begin() as session:
        session.get_one(Notification, due).state = "sending"
    assert send_notification(settings, sessions, due) is None
    assert told(web) == [], "somebody else has it"
    ripen(sessions)
    assert deliver_events(settings, sessions) == [due]
    send_notification(settings, sessions, due)
    assert len(told(web)) == 1


def test_a_slow_sender_is_not_doubled(settings, sessions, web, monkeypatch: pytest.MonkeyPatch):
    rule(sessions, settings, web)
    happen(sessions, EventName.VIDEO_DOWNLOADED)
    (due,) = deliver_events(settings, sessions)
    found: list[int] = []

    def slow(*_: object, **__: object) -> None:
        with sessions.begin() as session:
            notification = session.get_one(Notification, due)
            assert notification.lease_until is not None
            notification.lease_until -= timedelta(minutes=2)
        found.extend(deliver_events(settings, sessions))

    monkeypatch.setattr("gateway.notifications.apprise_sender.send", slow)
    send_notification(settings, sessions, due)
    assert found == []
    assert states(sessions) == ["sent"]


def test_a_deleted_rule_takes_its_messages_along(settings, sessions, web):
    rule_id = rule(sessions, settings, web)
    happen(sessions, EventName.VIDEO_DOWNLOADED)
    (due,) = deliver_events(settings, sessions)
    with sessions.begin() as session:
        session.delete(session.get_one(NotificationRule, rule_id))
    assert send_notification(settings, sessions, due) is None
    assert told(web) == []


def test_events_go_to_the_exchange_in_their_order_and_wait_for_it(
    settings: Settings, sessions: Sessions, rabbitmq_url: str
):
    settings.events_exchange = "test.deliver"
    (nobody,) = free_ports(1)
    settings.events_url = f"amqp://guest:guest@127.0.0.1:{nobody}//"
    task_id = happen(sessions, EventName.VIDEO_DOWNLOADED, EventName.FRAMES_EXTRACTED)
    deliver_events(settings, sessions)
    with sessions() as session:
        assert set(session.scalars(select(Event.published))) == {None}

    settings.events_url = rabbitmq_url
    with kombu.Connection(rabbitmq_url) as connection:
        exchange = kombu.Exchange("test.deliver", "topic", durable=True)
        queue = kombu.Queue("test.deliver", exchange, routing_key="task.#", exclusive=True)
        with SimpleQueue(connection.channel(), queue) as inbox:
            deliver_events(settings, sessions)
            messages = [inbox.get(timeout=10) for _ in range(2)]
            keys = [message.delivery_info["routing_key"] for message in messages]
            assert keys == ["task.VIDEO_DOWNLOADED", "task.FRAMES_EXTRACTED"]
            events = [json.loads(message.body) for message in messages]
            assert {event["subject"] for event in events} == {task_id}
            assert {event["specversion"] for event in events} == {"1.0"}
            deliver_events(settings, sessions)
            last = happen(sessions, EventName.VIDEO_DOWNLOADED)
            deliver_events(settings, sessions)
            assert json.loads(inbox.get(timeout=10).body)["subject"] == last, "each once"
