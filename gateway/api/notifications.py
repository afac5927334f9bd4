"""Notifications: which events a user hears of, and where."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from components.errors import Unavailable
from gateway.api.dependencies import CurrentCaller, SessionDep, SettingsDep
from gateway.api.paging import Limit, next_link
from gateway.models import NotificationRule
from gateway.notifications.rules import (
    TEST_RULE,
    add_rule,
    ask_for_test,
    list_rules,
    read_rule,
    told_events,
)
from gateway.openapi import problems
from gateway.schemas.notifications import Rule, RuleList, RuleRequest, TestQueued

router = APIRouter(prefix="/notifications/rules", tags=["notifications"])

_MAX_ID = 2**31 - 1
_RuleId = Annotated[int, Path(ge=1, le=_MAX_ID)]


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    operation_id="createNotificationRule",
)
def create(
    request: RuleRequest, caller: CurrentCaller, session: SessionDep, settings: SettingsDep
) -> Rule:
    """Hear of events from now on, by Slack, e-mail or any other service that Apprise knows.

    The address is stored encrypted and never shown whole again.
    """
    return _shown(add_rule(session, settings, caller.user_id, request.url, request.events))


@router.get("", operation_id="listNotificationRules")
def listing(
    caller: CurrentCaller,
    session: SessionDep,
    after: Annotated[int, Query(ge=0, le=_MAX_ID, description="from the page before")] = 0,
    limit: Limit = 50,
) -> RuleList:
    """Your rules, an admin's: everybody's."""
    rows = list_rules(session, caller.scope, after=after, limit=limit + 1)
    more = len(rows) > limit
    last = str(rows[limit - 1].id) if more else None
    return RuleList(
        rules=[_shown(row) for row in rows[:limit]],
        after=last,
        next=next_link("/notifications/rules", after=last, limit=limit) if more else None,
    )


@router.delete(
    "/{rule_id}",
    operation_id="deleteNotificationRule",
    responses=problems(404),
)
def delete(rule_id: _RuleId, caller: CurrentCaller, session: SessionDep) -> Rule:
    """Hear no more by this rule; messages that wait to be sent go with it."""
    row = read_rule(session, rule_id, caller.scope)
    session.delete(row)
    return _shown(row)


@router.post(
    "/{rule_id}/test",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="testNotificationRule",
    responses=problems(404),
)
def test(
    rule_id: _RuleId, caller: CurrentCaller, session: SessionDep, request: Request
) -> TestQueued:
    """Send a test message to the rule's address.

    A worker sends it, once: the rule's ``tested`` and ``test_error`` say what came of it. One of
    yours is sent at a time, and a few a minute.
    """
    row = read_rule(session, rule_id, caller.scope)
    ask_for_test(session, row)
    try:
        request.app.state.dispatcher.celery.send_task(TEST_RULE, (rule_id,), ignore_result=True)
    except Exception as error:
        # Each transport has errors of its own.
        raise Unavailable("The broker takes no messages: try again later.") from error
    return TestQueued(rule_id=rule_id, detail=f"The message is on its way to {row.shown_url}.")


def _shown(row: NotificationRule) -> Rule:
    return Rule(
        id=row.id,
        user_id=row.user_id,
        url=row.shown_url,
        events=told_events(row),
        created=row.created,
        tested=row.tested,
        test_error=row.test_error,
    )
