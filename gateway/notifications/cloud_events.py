"""An event of a task as a CloudEvent: CloudEvents 1.0, structured JSON.

id               of the event; the same when it is published again
source           of the gateway that says so (actverse://lab, https://host)
type             org.actverse.video.downloaded for VIDEO_DOWNLOADED
subject          the task
time             when it happened
datacontenttype  application/json
data             {task_id, user_id, event: "VIDEO_DOWNLOADED", ...}
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

CONTENT_TYPE = "application/cloudevents+json"


def event_type(name: str) -> str:
    """The CloudEvents type of an event's name."""
    return f"org.actverse.{name.lower().replace('_', '.')}"


def cloud_event(
    event_id: str,
    name: str,
    task_id: str,
    user_id: str,
    moment: datetime,
    data: Mapping[str, Any],
    source: str,
) -> bytes:
    """The body of a message of content type ``CONTENT_TYPE``.

    Args:
        event_id: the event's own; together with ``source`` it is unique.
        name: of `gateway.events.EventName`.
        moment: when it happened, with its time zone.
        data: what else is known of it; it does not replace task_id, user_id and event.
        source: what names the gateway, a URI or a path.
    """
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    event = CloudEvent(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": source,
            "type": event_type(name),
            "subject": task_id,
            "time": moment,
            "datacontenttype": "application/json",
        },
        {**data, "task_id": task_id, "user_id": user_id, "event": str(name)},
    )
    return JSONFormat().write(event)
