"""A task as it goes on: told by the gateway's stream of events, however often that is cut off.

The id of the last message is all that is needed to go on behind it, at the same gateway or at
another one. Where something between us and the gateway holds streams back, the status is
asked for again and again instead.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import httpx

from actverse.answers import Status
from actverse.rest import Connection
from components.errors import TooManyRequests, Unavailable
from components.layout import checked_name

ENDED = ("succeeded", "failed", "cancelled")

# The gateway gives a sign of life every 15 s.
_SILENCE_SECONDS = 25.0
_POLL_SECONDS = 1.0
_AGAIN_SECONDS, _AGAIN_MOST_SECONDS = 0.5, 5.0
_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Message:
    """Something that is told of a task.

    Attributes:
        name: ``status``, or the name of an event of its timeline, such as ``FRAMES_EXTRACTED``.
        id: its revision; to ``watch(after=id)`` is to go on behind it.
        data: for ``status`` a Status; otherwise what the event says of itself.
        time: when it was, ISO 8601.
    """

    name: str
    id: int
    data: dict[str, Any]
    time: str

    @property
    def status(self) -> Status | None:
        """The status, if it is one."""
        return cast(Status, self.data) if self.name == "status" else None

    @property
    def final(self) -> bool:
        """Whether it is the last one of its task."""
        return self.name == "status" and self.data["state"] in ENDED


class _Over(Exception):
    """The task has ended, and its last message is known."""


class _NoStream(Exception):
    """What should be a stream of events is none, or is held back."""


def status_path(task_id: str) -> str:
    """Where a task's status is asked for."""
    return f"/status/{checked_name(task_id, 'task id')}"


def status_of(content: dict[str, Any]) -> Status:
    """A TaskStatus of the gateway, flat."""
    process = content["process_status"]
    return cast(Status, {key: content[key] for key in content if key != "process_status"} | process)


def follow(
    connection: Connection,
    task_id: str,
    *,
    after: int = 0,
    patience: float = 300.0,
    deadline: float | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[Message]:
    """Messages of a task until its end, and across the gateway's absences.

    Args:
        after: the id of the last message that is known.
        patience: seconds for which a gateway that has gone away is waited for.
        deadline: of ``time.monotonic``, at which it returns in any case.
        told: hears, in a sentence, that the gateway is away or back, or holds its stream back.

    Raises:
        NotFound, Unauthorized: if there is no such task of this key's user.
        Unavailable: if the gateway stays away.
    """
    # Who asks at a wrong address is not to wait for long.
    connection.call("GET", status_path(task_id))
    source = _streamed
    last_sign, again, away = time.monotonic(), _AGAIN_SECONDS, False
    while True:
        try:
            for message in source(connection, task_id, after, deadline):
                last_sign, again = time.monotonic(), _AGAIN_SECONDS
                if away:
                    away = False
                    told("The gateway is back.")
                if message is not None:
                    after = message.id
                    yield message
                    if message.final:
                        return
                if _passed(deadline):
                    return
            wait = again
        except _Over:
            return
        except _NoStream:
            told("The gateway's stream does not come through: its status is asked for instead.")
            source, wait = _polled, 0.0
        except (Unavailable, TooManyRequests) as error:
            if time.monotonic() - last_sign > patience:
                raise
            if not away:
                away = True
                told(f"{error} It is waited for.")
            asked = error.retry_after if isinstance(error, TooManyRequests) else 0.0
            wait = max(again, min(asked, 60.0))
        again = min(2 * again, _AGAIN_MOST_SECONDS)
        if deadline is not None:
            wait = min(wait, deadline - time.monotonic())
        time.sleep(max(wait, 0.0))
        if _passed(deadline):
            return


def _streamed(
    connection: Connection, task_id: str, after: int, deadline: float | None
) -> Iterator[Message | None]:
    """Messages of one stream; None for each other sign of life, and at the deadline.

    Raises:
        _Over, _NoStream
        Unavailable: when it breaks off; it may also just end.
    """
    headers = {"Accept": _STREAM, "Cache-Control": "no-store"}
    if after:
        headers["Last-Event-ID"] = str(after)
    silence = _SILENCE_SECONDS
    if deadline is not None:
        silence = min(silence, max(0.05, deadline - time.monotonic()))
    timeout = httpx.Timeout(10.0, read=silence)
    heard = False
    path = f"/tasks/{checked_name(task_id, 'task id')}/events"
    try:
        with connection.stream(path, headers, timeout) as answer:
            if answer.status_code == httpx.codes.NO_CONTENT:
                raise _Over
            if not answer.headers.get("Content-Type", "").startswith(_STREAM):
                raise _NoStream
            for fields in _events(answer.iter_raw()):
                heard = True
                yield _message(fields) if "data" in fields else None
        if not heard:
            raise _NoStream
    except httpx.ReadTimeout as error:
        if _passed(deadline):
            yield None
        elif heard:
            raise connection.away(error) from error
        else:
            raise _NoStream from error
    except httpx.TransportError as error:
        raise connection.away(error) from error


def _polled(
    connection: Connection, task_id: str, after: int, deadline: float | None
) -> Iterator[Message | None]:
    """The status, each time that it has changed; None each time that it has not."""
    while True:
        content = connection.call("GET", status_path(task_id))
        message = _status_message(content)
        if message.id > after or message.final:
            after = message.id
            yield message
        else:
            yield None
        time.sleep(_POLL_SECONDS)


def _message(fields: dict[str, str]) -> Message:
    content = json.loads(fields["data"])
    if fields.get("event") == "status":
        return _status_message(content)
    return Message(fields["event"], int(fields["id"]), content["data"], content["time"])


def _status_message(content: dict[str, Any]) -> Message:
    status = status_of(content)
    return Message("status", status["revision"], cast(dict[str, Any], status), status["updated"])


def _events(pieces: Iterator[bytes]) -> Iterator[dict[str, str]]:
    """The fields of each server-sent event; of a comment none.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    fields: dict[str, str] = {}
    rest = b""
    for piece in pieces:
        # Not httpx's lines: those also end at U+2028, which JSON may hold.
        *lines, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            if not line:
                yield fields
                fields = {}
            elif line.startswith(b":"):
                yield {}
            else:
                name, _, value = line.decode().partition(":")
                value = value.removeprefix(" ")
                fields[name] = f"{fields[name]}\n{value}" if name in fields else value


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline
