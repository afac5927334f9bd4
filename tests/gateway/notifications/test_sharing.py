"""One user's notifications, however many and wherever to, leave room for all others."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from components.errors import Refused
from components.settings import Settings
from gateway.app import create_app
from gateway.celery_app import create_celery
from gateway.database import Sessions, open_database
from gateway.events import EventName, record_event
from gateway.flows import Queue
from gateway.models import Event, Notification, NotificationRule, now
from gateway.notifications import deliver
from gateway.notifications.deliver import deliver_events, send_notification
from gateway.notifications.rules import MAX_RULES, add_rule
from gateway.tasks import create_task
from gateway.work import Work
from tests.helpers.scripted_web import ScriptedWeb, scripted_web
from tests.helpers.servers import free_ports
from tests.helpers.web import body

pytestmark = pytest.mark.slow

A_USER_AT_ONCE = 2


@pytest.fixture
def settings(settings: Settings) -> Settings:
    settings.allow_private_urls = True
    return settings


@pytest.fixture
def web() -> Iterator[ScriptedWeb]:
    with scripted_web() as server:
        yield server


def _rules(sessions: Sessions, settings: Settings, port: int, count: int, user: str) -> list[int]:
    with sessions.begin() as session:
        url = f"json://127.0.0.1:{port}/{user}"
        return [add_rule(session, settings, user, url).id for _ in range(count)]


def _fail(sessions: Sessions, user: str, count: int) -> None:
    with sessions.begin() as session:
        for _ in range(count):
            task = create_task(session, user, "download", Work(file_path="a.mp4"))
            session.flush()
            record_event(session, task, EventName.STEP_FAILED, {"step": "download", "error": "x"})


def _ripen(sessions: Sessions) -> None:
    """Let the time of each further try have come."""
    with sessions.begin() as session:
        session.execute(update(Notification).values(not_before=None))


def _end_pauses(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(update(NotificationRule).values(paused_until=now() - timedelta(seconds=1)))


def _users(sessions: Sessions, ids: list[int]) -> list[str]:
    query = (
        select(NotificationRule.user_id)
        .join(Notification, Notification.rule_id == NotificationRule.id)
        .where(Notification.id.in_(ids))
        .order_by(NotificationRule.user_id)
    )
    with sessions() as session:
        return list(session.scalars(query))


def test_a_few_of_a_users_are_on_their_way_and_the_others_wait(settings, sessions, web):
    _rules(sessions, settings, web.port, 10, "ada")
    _fail(sessions, "ada", 30)
    first = deliver_events(settings, sessions)
    assert _users(sessions, first) == ["ada"] * A_USER_AT_ONCE
    _rules(sessions, settings, web.port, 1, "bob")
    _fail(sessions, "bob", 1)
    assert _users(sessions, deliver_events(settings, sessions)) == ["bob"]
    assert deliver_events(settings, sessions) == []
    send_notification(settings, sessions, first[0])
    following = deliver_events(settings, sessions)
    assert _users(sessions, following) == ["ada"]
    assert following[0] not in first


def test_what_still_lies_on_the_broker_is_not_queued_again(settings, sessions, web):
    _rules(sessions, settings, web.port, 1, "ada")
    _fail(sessions, "ada", 5)
    first = deliver_events(settings, sessions)
    late = now() - timedelta(hours=1)
    with sessions.begin() as session:
        on_way = update(Notification).where(Notification.id.in_(first))
        session.execute(on_way.values(lease_until=late))
    for _ in range(5):
        assert deliver_events(settings, sessions, lambda: A_USER_AT_ONCE) == []
    assert deliver_events(settings, sessions, lambda: 1) == first, "one of them was lost"
    assert deliver_events(settings, sessions, lambda: 0) == []


def test_an_address_that_fails_again_and_again_is_left_alone(settings, sessions):
    """Many rules to where nobody answers, many events: few messages, whatever time goes by."""
    (nobody,) = free_ports(1)
    rules = _rules(sessions, settings, nobody, 2, "ada")
    _fail(sessions, "ada", 30)
    sent = 0
    for _ in range(40):
        due = deliver_events(settings, sessions)
        assert len(due) <= A_USER_AT_ONCE
        for notification in due:
            send_notification(settings, sessions, notification)
        sent += len(due)
        _ripen(sessions)
        if not due:
            break
    assert sent <= 3 * len(rules) + A_USER_AT_ONCE
    assert deliver_events(settings, sessions) == []
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Notification)) == 60
        before = set(session.scalars(select(NotificationRule.paused_until)))
    assert min(before) > now() + timedelta(seconds=30)

    # A pause over, one message asks whether somebody answers, and the next one is longer.
    _end_pauses(sessions)
    due = deliver_events(settings, sessions)
    assert len(due) == A_USER_AT_ONCE
    for notification in due:
        send_notification(settings, sessions, notification)
    with sessions() as session:
        paused = session.scalars(select(NotificationRule).where(NotificationRule.failures > 3))
        assert {rule.paused_until > now() + timedelta(seconds=100) for rule in paused} == {True}


def test_an_address_that_answers_again_is_told_all(settings, sessions, web):
    web.scripts["/ada"] = [body(b"", 503)] * 3 + [body(b"", 200)]
    _rules(sessions, settings, web.port, 1, "ada")
    _fail(sessions, "ada", 2)
    for _ in range(6):
        for notification in deliver_events(settings, sessions):
            send_notification(settings, sessions, notification)
        _ripen(sessions)
        _end_pauses(sessions)
    with sessions() as session:
        assert set(session.scalars(select(Notification.state))) == {"sent"}
        assert session.scalars(select(NotificationRule.failures)).one() == 0
    assert len(web.requests["/ada"]) == 2 + 3


def test_what_waits_too_long_is_given_up_and_says_so(settings, sessions, web):
    _rules(sessions, settings, web.port, 1, "ada")
    _fail(sessions, "ada", 3)
    with sessions.begin() as session:
        first = session.scalars(select(Event).order_by(Event.id)).first()
        deliver._note(session)
        first.time = now() - timedelta(days=2)
    assert len(deliver_events(settings, sessions)) == 1
    with sessions() as session:
        states = list(session.scalars(select(Notification).order_by(Notification.id)))
        assert [one.state for one in states] == ["failed", "pending", "pending"]
        assert "a day" in states[0].error


def test_a_rule_has_so_many_waiting_messages_at_most(settings, sessions, web, monkeypatch):
    monkeypatch.setattr(deliver, "MAX_WAITING_OF_A_RULE", 5)
    _rules(sessions, settings, web.port, 1, "ada")
    _fail(sessions, "ada", 8)
    deliver_events(settings, sessions)
    with sessions() as session:
        rows = list(session.scalars(select(Notification).order_by(Notification.id)))
    assert [row.state for row in rows] == ["pending"] * 5 + ["failed"] * 3
    assert "mend its address" in rows[-1].error


def test_a_user_is_told_so_much_an_hour_and_the_rest_later(settings, sessions, web):
    settings.notifications_per_hour = 1
    _rules(sessions, settings, web.port, 1, "ada")
    _fail(sessions, "ada", 6)
    for _ in range(4):
        for notification in deliver_events(settings, sessions):
            send_notification(settings, sessions, notification)
    assert len(web.requests["/ada"]) <= 2, "two are on their way at once"
    with sessions.begin() as session:
        session.execute(update(Notification).values(ended=now() - timedelta(hours=2)))
    assert deliver_events(settings, sessions)


def test_of_a_hundred_tests_one_is_on_its_way(settings: Settings, sessions: Sessions, api_key: str):
    client = TestClient(create_app(settings), headers={"X-API-Key": api_key})
    rules = _rules(sessions, settings, 9, 3, "ada")
    answers = [client.post(f"/notifications/rules/{rules[n % 3]}/test") for n in range(100)]
    assert [answer.status_code for answer in answers] == [202] + [429] * 99
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers[1:])
    with create_celery(settings).connection_for_read() as connection:
        channel = connection.default_channel
        declared = channel.queue_declare(queue=Queue.NOTIFICATION.value, passive=True)
        assert declared.message_count == 1


def test_tests_that_were_sent_count_too(settings: Settings, sessions: Sessions, api_key: str):
    client = TestClient(create_app(settings), headers={"X-API-Key": api_key})
    rules = _rules(sessions, settings, 9, 8, "ada")
    codes = []
    for rule in [*rules, rules[0]]:
        codes.append(client.post(f"/notifications/rules/{rule}/test").status_code)
        with sessions.begin() as session:  # it has been sent
            session.execute(update(NotificationRule).values(tested=now()))
    assert codes == [202] * 5 + [429] * 4


def test_rules_made_at_once_are_no_more_than_allowed(settings: Settings, sessions: Sessions):
    opened = [open_database(settings.database_url) for _ in range(8)]

    def add(own: Sessions) -> int:
        made = 0
        for _ in range(4):
            try:
                with own.begin() as session:
                    add_rule(session, settings, "ada", "json://127.0.0.1:9/a")
                made += 1
            except Refused:
                continue
        return made

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(add, opened)) == MAX_RULES
