"""Events as CloudEvents 1.0, checked against what the specification requires."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.events import EventName
from gateway.notifications.cloud_events import CONTENT_TYPE, cloud_event, event_type

MOMENT = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)


def made(**changed: object) -> dict[str, object]:
    arguments: dict[str, object] = {
        "event_id": "41",
        "name": EventName.VIDEO_DOWNLOADED,
        "task_id": "t-1",
        "user_id": "ada",
        "moment": MOMENT,
        "data": {"bytes": 7, "file": "é.mp4"},
        "source": "/actverse",
    }
    return json.loads(cloud_event(**(arguments | changed)))  # type: ignore[arg-type]


def test_event_holds_what_is_required_and_what_it_is_about() -> None:
    assert made() == {
        "specversion": "1.0",
        "id": "41",
        "source": "/actverse",
        "type": "org.actverse.video.downloaded",
        "subject": "t-1",
        "time": "2026-03-04T05:06:07.890000Z",
        "datacontenttype": "application/json",
        "data": {
            "task_id": "t-1",
            "user_id": "ada",
            "event": "VIDEO_DOWNLOADED",
            "bytes": 7,
            "file": "é.mp4",
        },
    }
    assert CONTENT_TYPE == "application/cloudevents+json"


@pytest.mark.parametrize("name", list(EventName))
def test_every_event_keeps_to_the_specification(name: EventName) -> None:
    event = made(name=name)
    for attribute in ("id", "source", "specversion", "type"):
        assert isinstance(event[attribute], str)
        assert event[attribute]
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", attribute) for attribute in event)
    assert event["type"] == event_type(name)
    data = event["data"]
    assert isinstance(data, dict)
    assert data["event"] == name


def test_types_differ() -> None:
    assert len({event_type(name) for name in EventName}) == len(EventName)


def test_event_is_read_by_the_sdk() -> None:
    from cloudevents.core.formats.json import JSONFormat

    data = {"task_id": "t-1", "user_id": "ada", "event": "VIDEO_DOWNLOADED"}
    event = JSONFormat().read(
        None, cloud_event("41", "VIDEO_DOWNLOADED", "t-1", "ada", MOMENT, {}, "/actverse")
    )
    assert event.get_id() == "41"
    assert event.get_time() == MOMENT
    assert event.get_data() == data


def test_time_keeps_its_zone() -> None:
    event = made(moment=MOMENT.astimezone(timezone(timedelta(hours=2))))
    assert datetime.fromisoformat(str(event["time"])) == MOMENT


def test_data_does_not_replace_whose_event_it_is() -> None:
    event = made(data={"task_id": "other", "user_id": "eve", "event": "x", "id": "9"})
    assert event["data"] == {
        "task_id": "t-1",
        "user_id": "ada",
        "event": "VIDEO_DOWNLOADED",
        "id": "9",
    }
    assert event["id"] == "41"
