"""Who wants to hear of what, and where: a user's rules.

The address of a rule is as good as a password to whom it belongs: it is stored sealed, and
shown without what is secret in it.
"""

import logging
import math
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from components.errors import ActverseError, NotFound, Refused, TooManyRequests
from components.settings import Settings
from gateway.database import Sessions
from gateway.events import EventName
from gateway.locks import one_at_a_time
from gateway.models import NotificationRule, now
from gateway.sealing import seal, unseal

logger = logging.getLogger("actverse.notifications")

TEST_RULE = "actverse.test_rule"
MAX_RULES = 20
_TESTS, _TESTS_WINDOW, _TEST_AGAIN = 5, timedelta(seconds=60), timedelta(seconds=15)
_SEND_SECONDS = 20.0


def add_rule(
    session: Session, settings: Settings, user_id: str, url: str, events: Collection[EventName] = ()
) -> NotificationRule:
    """Store a rule; what happens from now on is told.

    Args:
        url: an Apprise URL.
        events: which are told; none named: all.

    Raises:
        BadInput: if the address is none.
        Refused: if it is not allowed, or the user has ``MAX_RULES`` already.
    """
    from gateway.notifications.apprise_sender import check_target, hidden

    target = check_target(url, settings.allow_private_urls)
    one_at_a_time(session, f"rules:{user_id}")
    query = select(func.count()).where(NotificationRule.user_id == user_id)
    if (session.scalar(query) or 0) >= MAX_RULES:
        raise Refused(f"There are {MAX_RULES} rules of yours already: delete one first.")
    rule = NotificationRule(
        user_id=user_id,
        events=[event.value for event in EventName if event in events],
        sealed_url=seal(settings, target),
        shown_url=hidden(target),
    )
    session.add(rule)
    session.flush()
    return rule


def list_rules(
    session: Session, user_id: str | None, *, after: int = 0, limit: int = 50
) -> list[NotificationRule]:
    """Rules, the oldest first.

    Args:
        user_id: whose; None for everybody's.
        after: the id of the last rule of the page before.
        limit: at most so many.
    """
    query = select(NotificationRule).where(NotificationRule.id > after)
    if user_id is not None:
        query = query.where(NotificationRule.user_id == user_id)
    return list(session.scalars(query.order_by(NotificationRule.id).limit(limit)))


def read_rule(session: Session, rule_id: int, user_id: str | None) -> NotificationRule:
    """A rule; with ``user_id``, only if it is that user's.

    Raises:
        NotFound: also for another user's rule, so that nobody learns which ids exist.
    """
    rule = session.get(NotificationRule, rule_id)
    if rule is None or (user_id is not None and rule.user_id != user_id):
        raise NotFound(f"There is no rule {rule_id} of yours: look at the list of rules.")
    return rule


def told_events(rule: NotificationRule) -> list[EventName]:
    """The events that a rule tells of."""
    return [event for event in EventName if not rule.events or event.value in rule.events]


def ask_for_test(session: Session, rule: NotificationRule) -> None:
    """Note that a test message of a rule is asked for.

    Raises:
        TooManyRequests: if one of the user's is on its way, or too many were asked for.
    """
    one_at_a_time(session, f"rules:{rule.user_id}")
    moment = now()
    query = select(NotificationRule).where(
        NotificationRule.user_id == rule.user_id,
        NotificationRule.test_asked > moment - _TESTS_WINDOW,
    )
    recent = list(session.scalars(query.execution_options(populate_existing=True)))
    asked = [one.test_asked for one in recent if one.test_asked is not None]
    if any(_is_on_its_way(one) for one in recent):
        raise TooManyRequests("A test message of yours is on its way: wait for it.", 5)
    if rule.test_asked is not None and (until := rule.test_asked + _TEST_AGAIN) > moment:
        raise _too_many_tests(until - moment)
    if len(asked) >= _TESTS:
        raise _too_many_tests(min(asked) + _TESTS_WINDOW - moment)
    rule.test_asked = moment


def _is_on_its_way(rule: NotificationRule) -> bool:
    if rule.test_asked is None:
        return False
    return rule.tested is None or rule.tested < rule.test_asked


def _too_many_tests(wait: timedelta) -> TooManyRequests:
    seconds = max(1, math.ceil(wait.total_seconds()))
    return TooManyRequests(
        f"A rule is tested once in {_TEST_AGAIN.seconds} s and {_TESTS} of yours in "
        f"{_TESTS_WINDOW.seconds} s: wait for {seconds} s.",
        seconds,
    )


def send_test(settings: Settings, sessions: Sessions, rule_id: int) -> str:
    """Send a rule's test message, once; what becomes of it stands in the rule.

    Returns:
        What went wrong, in a sentence; empty if the message was taken.
    """
    outcome = _try(settings, sessions, rule_id)
    with sessions.begin() as session:
        values = {"tested": now(), "test_error": outcome}
        session.execute(
            update(NotificationRule).where(NotificationRule.id == rule_id).values(**values)
        )
    return outcome


def _try(settings: Settings, sessions: Sessions, rule_id: int) -> str:
    from gateway.notifications.apprise_sender import send

    with sessions() as session:
        rule = session.get(NotificationRule, rule_id)
    if rule is None:
        return "The rule was deleted."
    about = {"rule": rule_id, "user": rule.user_id}
    try:
        send(
            unseal(settings, rule.sealed_url),
            "actverse: a test",
            "This is what a notification looks like. You asked for it.",
            allow_private=settings.allow_private_urls,
            timeout=_SEND_SECONDS,
        )
    except ActverseError as error:
        logger.warning("test message was not taken: %s", error, extra=about)
        return str(error)
    logger.info("test message sent", extra=about)
    return ""
