"""Rules of who hears of what."""

from datetime import datetime

from pydantic import BaseModel, Field

from gateway.events import EventName
from gateway.schemas.body import Body


class RuleRequest(Body):
    """Where one wants to hear of which events."""

    url: str = Field(
        min_length=1,
        max_length=4096,
        description="an Apprise URL: https://appriseit.com/services/",
        examples=["mailtos://lab%40example.org:password@smtp.example.org"],
    )
    events: list[EventName] = Field(
        [],
        max_length=100,
        description="which events; none: all",
        examples=[["RESULTS_UPLOADED", "STEP_FAILED"]],
    )


class Rule(BaseModel):
    """A rule, without what is secret in its address."""

    id: int
    user_id: str = Field(examples=["ada"])
    url: str = Field(
        description="for you to recognise", examples=["mailtos://lab%40example.org:****@…"]
    )
    events: list[EventName]
    created: datetime
    tested: datetime | None = Field(description="when a test message was last tried")
    test_error: str = Field(description="what went wrong with it; empty if it was taken")


class RuleList(BaseModel):
    """A page of rules, the oldest first."""

    rules: list[Rule]
    after: str | None = Field(description="where the next page begins; null on the last one")
    next: str | None = Field(description="the next page's address")


class TestQueued(BaseModel):
    """A test message is on its way."""

    rule_id: int
    detail: str = Field(examples=["The message is on its way to mailtos://…"])
