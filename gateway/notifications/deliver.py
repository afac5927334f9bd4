"""From events in the database to the exchange and to those who asked to hear of them.

An event is written with what made it happen, and told of afterwards, from here: at least
once each, under one id, so that who gets it twice can tell.

One user's notifications hold a few of the senders' places, never all: the others wait in the
database. A rule whose address fails again and again is paused, longer each time.
"""

import functools
import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from celery.utils.time import get_exponential_backoff_interval
from sqlalchemy import ColumnElement, CursorResult, and_, func, or_, select, update
from sqlalchemy.orm import Session

from components.errors import ActverseError, Unavailable
from components.settings import Settings
from gateway.database import Sessions
from gateway.locks import one_at_a_time, only_one
from gateway.models import Event, Notification, NotificationRule, now
from gateway.notifications.cloud_events import CONTENT_TYPE, cloud_event
from gateway.notifications.messages import message

if TYPE_CHECKING:
    from gateway.notifications.exchange import Exchange

logger = logging.getLogger("actverse.notifications")

MAX_ATTEMPTS = 8
SOURCE = "/actverse"
_EVENTS_A_ROUND = 200
_SEND_SECONDS = 20.0
_LEASE = timedelta(seconds=60)
# A sender on a busy machine may take far longer than a message does, and is not to be doubled.
_SENDING_LEASE = timedelta(minutes=5)
_BACKOFF_SECONDS, _BACKOFF_MAX_SECONDS = 5, 600
# On their way at once; a worker has four places.
_OF_A_USER = 2
MAX_WAITING_OF_A_RULE = 500
_AT_MOST_A_RULE_WAITS = timedelta(days=1)
_FAILURES_TO_PAUSE = 3
_PAUSE_SECONDS, _PAUSE_MAX_SECONDS = 60, 3600


def deliver_events(
    settings: Settings, sessions: Sessions, lying: Callable[[], int] | None = None
) -> list[int]:
    """Publish what is new, write down the notifications it calls for, and find those due.

    Args:
        lying: how many messages lie in the queue of notifications; see ``take_due``.

    Returns:
        The ids of notifications for ``send_notification``.
    """
    if _is_news(settings, sessions):
        with only_one(sessions, "deliver", _LEASE) as mine:
            if mine:
                if settings.events_url:
                    _publish(settings, sessions)
                with sessions.begin() as session:
                    _note(session)
    return take_due(settings, sessions, lying)


def take_due(
    settings: Settings, sessions: Sessions, lying: Callable[[], int] | None = None
) -> list[int]:
    """Find notifications that are due, a few of each user's; they are on their way from now on.

    Args:
        lying: how many messages lie in the queue of notifications. One that is overdue may still
            lie there: it was lost only where fewer lie there than are to come. None: it was lost.

    Returns:
        The ids of notifications for ``send_notification``.
    """
    with sessions() as session:
        if session.scalar(select(Notification.id).where(_due(now())).limit(1)) is None:
            return []
    with sessions.begin() as session:
        one_at_a_time(session, "notifications")
        return _take_due(session, settings, lying)


def send_notification(settings: Settings, sessions: Sessions, notification_id: int) -> float | None:
    """Send one notification; every outcome is stored.

    Returns:
        The seconds after which to try again; None if it is done with.
    """
    from gateway.notifications.apprise_sender import send
    from gateway.sealing import unseal

    with sessions.begin() as session:
        claimed = _claim(session, notification_id)
        if claimed is None:
            return None
        attempt, event, rule = claimed
    title, body = message(event.name, event.task_id, event.data)
    about = {"task_id": event.task_id, "event": event.name, "attempt": attempt}
    try:
        send(
            unseal(settings, rule.sealed_url),
            title,
            body,
            allow_private=settings.allow_private_urls,
            timeout=_SEND_SECONDS,
        )
    except Unavailable as error:
        if attempt < MAX_ATTEMPTS:
            again_in = 1.0 + get_exponential_backoff_interval(
                _BACKOFF_SECONDS, attempt - 1, _BACKOFF_MAX_SECONDS, full_jitter=True
            )
            logger.warning("notification was not taken: %s", error, extra=about)
            _end(sessions, notification_id, "pending", str(error), timedelta(seconds=again_in))
            _note_failure(sessions, rule)
            return again_in
        _end(sessions, notification_id, "failed", str(error))
        _note_failure(sessions, rule)
    except ActverseError as error:
        logger.warning("notification is given up: %s", error, extra=about)
        _end(sessions, notification_id, "failed", str(error))
        _note_failure(sessions, rule)
    else:
        logger.info("notification sent", extra=about)
        _end(sessions, notification_id, "sent", "")
        if rule.failures:
            _set_rule(sessions, rule.id, failures=0, paused_until=None)
    return None


def _note_failure(sessions: Sessions, rule: NotificationRule) -> None:
    """Count a failure; from the third in a row on the rule is paused, longer each time."""
    failures = rule.failures + 1
    values: dict[str, Any] = {"failures": failures}
    if failures >= _FAILURES_TO_PAUSE:
        seconds = min(
            _PAUSE_SECONDS * 2 ** min(failures - _FAILURES_TO_PAUSE, 10), _PAUSE_MAX_SECONDS
        )
        values["paused_until"] = now() + timedelta(seconds=seconds)
        logger.warning(
            "a rule's address fails: it is paused for %d s",
            seconds,
            extra={"rule": rule.id, "user": rule.user_id},
        )
    _set_rule(sessions, rule.id, **values)


def _set_rule(sessions: Sessions, rule_id: int, **values: Any) -> None:
    with sessions.begin() as session:
        session.execute(
            update(NotificationRule).where(NotificationRule.id == rule_id).values(**values)
        )


def _is_news(settings: Settings, sessions: Sessions) -> bool:
    new: ColumnElement[bool] = Event.noted.is_(None)
    if settings.events_url:
        new = or_(new, Event.published.is_(None))
    with sessions() as session:
        return session.scalar(select(Event.id).where(new).limit(1)) is not None


def _publish(settings: Settings, sessions: Sessions) -> None:
    exchange = _exchange(settings.events_url, settings.events_exchange)
    with sessions() as session:
        query = select(Event).where(Event.published.is_(None)).order_by(Event.id)
        events = list(session.scalars(query.limit(_EVENTS_A_ROUND)))
    for event in events:
        body = cloud_event(
            event_id=str(event.id),
            name=event.name,
            task_id=event.task_id,
            user_id=event.user_id,
            moment=event.time,
            data=event.data,
            source=SOURCE,
        )
        try:
            exchange.publish(f"task.{event.name}", body, CONTENT_TYPE, message_id=str(event.id))
        except Unavailable as error:
            logger.warning("events wait for the exchange: %s", error)
            return
        with sessions.begin() as session:
            session.execute(update(Event).where(Event.id == event.id).values(published=now()))


@functools.lru_cache(maxsize=2)
def _exchange(url: str, name: str) -> "Exchange":
    from gateway.notifications.exchange import Exchange

    return Exchange(url, name)


def _note(session: Session) -> None:
    query = select(Event).where(Event.noted.is_(None)).order_by(Event.id)
    for event in session.scalars(query.limit(_EVENTS_A_ROUND)).all():
        rules = session.scalars(
            select(NotificationRule).where(
                NotificationRule.user_id == event.user_id, NotificationRule.created <= event.time
            )
        )
        for rule in rules:
            if not rule.events or event.name in rule.events:
                session.add(_notification(session, event, rule))
        event.noted = now()


def _notification(session: Session, event: Event, rule: NotificationRule) -> Notification:
    waiting = select(func.count()).where(
        Notification.rule_id == rule.id, Notification.state == "pending"
    )
    if (session.scalar(waiting) or 0) < MAX_WAITING_OF_A_RULE:
        return Notification(event_id=event.id, rule_id=rule.id)
    return Notification(
        event_id=event.id,
        rule_id=rule.id,
        state="failed",
        ended=now(),
        error=f"{MAX_WAITING_OF_A_RULE} messages of the rule wait already: mend its address.",
    )


def _due(moment: datetime) -> Any:
    free = or_(Notification.lease_until.is_(None), Notification.lease_until <= moment)
    ripe = or_(Notification.not_before.is_(None), Notification.not_before <= moment)
    return and_(Notification.state.in_(("pending", "sending")), free, ripe)


def _take_due(session: Session, settings: Settings, lying: Callable[[], int] | None) -> list[int]:
    moment = now()
    on_way: Counter[str] = Counter()
    of_rules: Counter[int] = Counter()
    to_come = 0
    query = (
        select(Notification.state, NotificationRule.id, NotificationRule.user_id)
        .join(NotificationRule)
        .where(Notification.state.in_(("pending", "sending")), Notification.lease_until > moment)
    )
    for state, rule_id, user_id in session.execute(query).tuples():
        on_way[user_id] += 1
        of_rules[rule_id] += 1
        to_come += state == "pending"
    fresh: dict[int, str] = {}
    overdue: list[int] = []
    for notification, rule, event_time in _candidates(session, moment):
        if event_time < moment - _AT_MOST_A_RULE_WAITS:
            notification.state, notification.ended = "failed", moment
            notification.error = "It could not be sent within a day."
            continue
        # Where the last message was not taken, one at a time tells whether this has changed.
        of_rule = 1 if rule.failures else _OF_A_USER
        if on_way[rule.user_id] >= _OF_A_USER or of_rules[rule.id] >= of_rule:
            continue
        on_way[rule.user_id] += 1
        of_rules[rule.id] += 1
        if notification.state == "pending" and notification.lease_until is not None:
            overdue.append(notification.id)
        else:
            fresh[notification.id] = rule.user_id
    spent = _spent(session, settings, moment) if fresh else set()
    taken = [one for one, user_id in fresh.items() if user_id not in spent]
    if overdue and (lying is None or lying() < to_come + len(overdue)):
        taken += overdue
    if taken:
        # The messages have this long to arrive.
        session.execute(
            update(Notification)
            .where(Notification.id.in_(taken))
            .values(state="pending", lease_until=moment + _LEASE)
        )
    return taken


def _candidates(
    session: Session, moment: datetime
) -> list[tuple[Notification, NotificationRule, datetime]]:
    """What is due, the oldest of each rule that is not paused."""
    turn = func.row_number().over(partition_by=Notification.rule_id, order_by=Notification.id)
    of_rules = select(Notification.id, turn.label("turn")).where(_due(moment)).subquery()
    query = (
        select(Notification, NotificationRule, Event.time)
        .join(of_rules, of_rules.c.id == Notification.id)
        .join(NotificationRule)
        .join(Event, Event.id == Notification.event_id)
        .where(
            of_rules.c.turn <= _OF_A_USER,
            or_(NotificationRule.paused_until.is_(None), NotificationRule.paused_until <= moment),
        )
        .order_by(Notification.id)
    )
    return list(session.execute(query).tuples())


def _spent(session: Session, settings: Settings, moment: datetime) -> set[str]:
    """The users who were told as much within the last hour as one may be told."""
    query = (
        select(NotificationRule.user_id)
        .join(Notification, Notification.rule_id == NotificationRule.id)
        .where(Notification.ended > moment - timedelta(hours=1), Notification.attempt > 0)
        .group_by(NotificationRule.user_id)
        .having(func.count() >= settings.notifications_per_hour)
    )
    return set(session.scalars(query))


def _claim(session: Session, notification_id: int) -> tuple[int, Event, NotificationRule] | None:
    moment = now()
    taken = session.execute(
        update(Notification)
        .where(
            Notification.id == notification_id,
            Notification.state == "pending",
            or_(Notification.not_before.is_(None), Notification.not_before <= moment),
        )
        .values(
            state="sending",
            attempt=Notification.attempt + 1,
            lease_until=moment + _SENDING_LEASE,
        )
        .execution_options(synchronize_session=False)
    )
    if cast(CursorResult[Any], taken).rowcount != 1:
        return None
    notification = session.get_one(Notification, notification_id)
    event = session.get_one(Event, notification.event_id)
    rule = session.get_one(NotificationRule, notification.rule_id)
    return notification.attempt, event, rule


def _end(
    sessions: Sessions,
    notification_id: int,
    state: str,
    error: str,
    again_in: timedelta | None = None,
) -> None:
    moment = now()
    values: dict[str, Any] = {"state": state, "error": error, "lease_until": None}
    if again_in is None:
        values["ended"] = moment
    else:
        values["not_before"] = moment + again_in
    with sessions.begin() as session:
        session.execute(
            update(Notification).where(Notification.id == notification_id).values(**values)
        )
