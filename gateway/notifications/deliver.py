"""From events in the database to the exchange and to those who asked to hear of them.

An event is written with what made it happen, and told of afterwards, from here: at least
once each, under one id, so that who gets it twice can tell.
"""

import functools
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from celery.utils.time import get_exponential_backoff_interval
from sqlalchemy import CursorResult, and_, or_, select, update
from sqlalchemy.orm import Session

from components.errors import ActverseError, Unavailable
from components.settings import Settings
from gateway.database import Sessions
from gateway.locks import only_one
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
_BACKOFF_SECONDS, _BACKOFF_MAX_SECONDS = 5, 600


def deliver_events(settings: Settings, sessions: Sessions) -> list[int]:
    """Publish what is new, write down the notifications it calls for, and find those due.

    Returns:
        The ids of notifications for ``send_notification``.
    """
    with only_one(sessions, "deliver", _LEASE) as mine:
        if mine:
            if settings.events_url:
                _publish(settings, sessions)
            with sessions.begin() as session:
                _note(session)
    with sessions.begin() as session:
        return _take_due(session)


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
        attempt, event, sealed_url = claimed
    title, body = message(event.name, event.task_id, event.data)
    about = {"task_id": event.task_id, "event": event.name, "attempt": attempt}
    try:
        send(
            unseal(settings, sealed_url),
            title,
            body,
            allow_private=settings.allow_private_urls,
            timeout=_SEND_SECONDS,
        )
    except Unavailable as error:
        if attempt < MAX_ATTEMPTS:
            again_in = get_exponential_backoff_interval(
                _BACKOFF_SECONDS, attempt - 1, _BACKOFF_MAX_SECONDS, full_jitter=True
            )
            logger.warning("notification was not taken: %s", error, extra=about)
            _end(sessions, notification_id, "pending", str(error), timedelta(seconds=again_in))
            return float(again_in)
        _end(sessions, notification_id, "failed", str(error))
    except ActverseError as error:
        logger.warning("notification is given up: %s", error, extra=about)
        _end(sessions, notification_id, "failed", str(error))
    else:
        logger.info("notification sent", extra=about)
        _end(sessions, notification_id, "sent", "")
    return None


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
                session.add(Notification(event_id=event.id, rule_id=rule.id))
        event.noted = now()


def _due(moment: datetime) -> Any:
    free = or_(Notification.lease_until.is_(None), Notification.lease_until <= moment)
    ripe = or_(Notification.not_before.is_(None), Notification.not_before <= moment)
    return and_(Notification.state.in_(("pending", "sending")), free, ripe)


def _take_due(session: Session) -> list[int]:
    moment = now()
    ids = list(session.scalars(select(Notification.id).where(_due(moment)).limit(_EVENTS_A_ROUND)))
    if ids:
        # The messages have this long to arrive.
        session.execute(
            update(Notification)
            .where(Notification.id.in_(ids))
            .values(state="pending", lease_until=moment + _LEASE)
        )
    return ids


def _claim(session: Session, notification_id: int) -> tuple[int, Event, str] | None:
    moment = now()
    taken = session.execute(
        update(Notification)
        .where(
            Notification.id == notification_id,
            Notification.state == "pending",
            or_(Notification.not_before.is_(None), Notification.not_before <= moment),
        )
        .values(state="sending", attempt=Notification.attempt + 1, lease_until=moment + _LEASE)
        .execution_options(synchronize_session=False)
    )
    if cast(CursorResult[Any], taken).rowcount != 1:
        return None
    notification = session.get_one(Notification, notification_id)
    event = session.get_one(Event, notification.event_id)
    rule = session.get_one(NotificationRule, notification.rule_id)
    return notification.attempt, event, rule.sealed_url


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
        values |= {"not_before": moment + again_in, "lease_until": moment + again_in + _LEASE}
    with sessions.begin() as session:
        session.execute(
            update(Notification).where(Notification.id == notification_id).values(**values)
        )
