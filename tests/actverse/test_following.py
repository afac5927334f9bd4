"""A task that is watched: to its end, whatever happens to the gateway meanwhile."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from actverse import following
from actverse.client import Client
from actverse.following import Message
from components.errors import NotFound, Unauthorized, Unavailable
from gateway.events import EventName, record_event
from gateway.tasks import cancel_task, read_task, touch
from tests.actverse.conftest import Gateway, refused_port, worker
from tests.helpers.relay import Relay
from tests.helpers.scripted_web import ScriptedWeb, scripted_web
from tests.helpers.web import Answer, body


def happen(gateway: Gateway, task_id: str, text: str) -> None:
    """An event with a text of its own."""
    with gateway.sessions.begin() as session:
        task = read_task(session, task_id)
        record_event(session, task, EventName.STEP_FAILED, {"text": text}, key=text)
        touch(task)


def cancel(gateway: Gateway, task_id: str) -> None:
    with gateway.sessions.begin() as session:
        cancel_task(session, read_task(session, task_id))


def texts(messages: list[Message]) -> list[str]:
    return [message.data["text"] for message in messages if message.name != "status"]


def upto(messages: Iterator[Message], text: str) -> list[Message]:
    """Messages up to the status behind an event."""
    got: list[Message] = []
    for message in messages:
        got.append(message)
        if message.name == "status" and text in texts(got):
            return got
    raise AssertionError(f"{text} was not told: {got}")


def test_a_task_is_followed_to_its_end(gateway, client, act):
    task_id = gateway.task()
    happen(gateway, task_id, "a \u2028 b\x85c")
    messages = client.watch(task_id)
    got = upto(messages, "a \u2028 b\x85c")
    act(task_id, "download", 3, 10)
    for message in messages:
        if message.status and message.status["steps"][0]["done"] == 3:
            break
    act(task_id, "download", end={"file": "source.mp4", "bytes": 10})
    act(task_id, "deliver_video", end={"path": "b.mp4", "bytes": 10})
    got += messages
    assert got[-1].final
    assert got[-1].status is not None
    assert (got[-1].status["state"], got[-1].status["percent"]) == ("succeeded", 100.0)
    assert texts(got) == ["a \u2028 b\x85c"]
    assert got[0].time
    ids = [message.id for message in got]
    assert ids == sorted(set(ids))
    assert list(client.watch(task_id, after=ids[-1])) == []
    assert [m.id for m in client.watch(task_id, after=ids[0])][-1] == ids[-1]


def test_a_gateway_that_is_killed_and_started_again_costs_no_message(own_gateway):
    task_id = own_gateway.task()
    act = worker(own_gateway)
    told: list[str] = []
    away = threading.Event()

    def tell(sentence: str) -> None:
        told.append(sentence)
        away.set()

    with own_gateway.client() as client:
        messages = client.watch(task_id, told=tell)
        happen(own_gateway, task_id, "before")
        got = upto(messages, "before")

        def restart() -> None:
            away.wait(30)
            happen(own_gateway, task_id, "while it was away")
            act(task_id, "download", 5, 10)
            own_gateway.start()

        thread = threading.Thread(target=restart)
        thread.start()
        own_gateway.kill()
        try:
            got += upto(messages, "while it was away")
        finally:
            away.set()
            thread.join()
        happen(own_gateway, task_id, "after")
        cancel(own_gateway, task_id)
        got += messages
    assert texts(got) == ["before", "while it was away", "after"]
    assert got[-1].data["state"] == "cancelled"
    assert got[-1].data["steps"][0]["done"] == 5
    assert len(told) == 2
    assert "does not answer" in told[0]
    assert told[1] == "The gateway is back."


def test_a_connection_that_is_cut_again_and_again_costs_no_message(gateway, monkeypatch):
    monkeypatch.setattr(following, "_AGAIN_SECONDS", 0.01)
    task_id = gateway.task()
    relay = Relay(gateway.port)
    relay.open()
    try:
        with Client(f"http://127.0.0.1:{relay.port}", gateway.key("ada")) as client:
            messages = client.watch(task_id)
            got: list[Message] = []
            names = [f"{number}" for number in range(5)]
            for name in names:
                happen(gateway, task_id, name)
                got += upto(messages, name)
                relay.cut()
            cancel(gateway, task_id)
            got += messages
    finally:
        relay.close()
    assert texts(got) == names
    assert got[-1].final


def test_a_gateway_that_stays_away_is_waited_for_and_no_longer(own_gateway):
    task_id = own_gateway.task()
    with own_gateway.client() as client:
        messages = client.watch(task_id, patience=0.2)
        next(messages)
        own_gateway.kill()
        with pytest.raises(Unavailable, match="does not answer"):
            list(messages)


def test_what_waiting_does_not_help_against_is_said_at_once(gateway, client):
    with pytest.raises(NotFound, match="'t-none'"):
        next(client.watch("t-none"))
    with Client(gateway.url, "av_wrong") as stranger, pytest.raises(Unauthorized):
        next(stranger.watch(gateway.task()))


def test_waiting_returns_the_status_of_the_end(gateway, client):
    task_id = gateway.task()
    with pytest.raises(Unavailable, match=rf"{task_id} is queued after 0\.2 s"):
        client.wait(task_id, timeout=0.2)
    assert client.wait(task_id, until=("queued",))["state"] == "queued"
    cancel(gateway, task_id)
    assert client.wait(task_id, timeout=20)["state"] == "cancelled"
    assert client.wait(task_id, until=("waiting",))["state"] == "cancelled"


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were to be waited."""
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        assert sum(waited) < 100

    monkeypatch.setattr("actverse.rest.time.sleep", wait)
    return waited


# Gateways behind something that lets no stream through


def content_of(revision: int, state: str) -> dict[str, Any]:
    return {
        **{"task_id": "t-1", "user_id": "ada", "kind": "upload", "revision": revision},
        "process_status": {"state": state, "updated": "2030-01-01T00:00:00Z", "steps": []},
    }


def status(revision: int, state: str) -> Answer:
    return body(json.dumps(content_of(revision, state)).encode())


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedWeb]:
    monkeypatch.setattr(following, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(following, "_AGAIN_SECONDS", 0.0)
    with scripted_web() as web:
        web.scripts["/status/t-1"] = [
            *(status(1, "queued"), status(1, "queued"), status(1, "queued")),
            *(status(4, "running"), status(9, "succeeded")),
        ]
        yield web


def silent(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()
    threading.Event().wait(0.5)


@pytest.mark.parametrize(
    "answer",
    [body(b"<html>"), silent, body(b"", Content_Type="text/event-stream")],
    ids=["another content", "held back", "ended at once"],
)
def test_where_no_stream_comes_through_the_status_is_asked_for(web, monkeypatch, answer):
    monkeypatch.setattr(following, "_SILENCE_SECONDS", 0.1)
    web.scripts["/tasks/t-1/events"] = [answer]
    told: list[str] = []
    with Client(web.url(""), "av_x") as client:
        got = list(client.watch("t-1", told=told.append))
    assert [(m.id, m.data["state"]) for m in got] == [
        *((1, "queued"), (4, "running"), (9, "succeeded"))
    ]
    assert len(web.requests["/tasks/t-1/events"]) == 1
    assert len(told) == 1
    assert "does not come through" in told[0]


def test_a_gateway_that_never_was_there_is_not_waited_for(no_waits):
    address = f"http://127.0.0.1:{refused_port()}"
    with Client(address, "av_x") as client, pytest.raises(Unavailable, match="does not answer"):
        next(client.watch("t-1"))
    assert sum(no_waits) < 10


def test_who_loses_the_key_meanwhile_is_told_so(web):
    content = f"id: 1\nevent: status\ndata: {json.dumps(content_of(1, 'running'))}\n\n".encode()
    refused = b'{"type": "urn:actverse:problem:Unauthorized", "detail": "The key is unknown."}'
    web.scripts["/tasks/t-1/events"] = [
        body(content, Content_Type="text/event-stream"),
        body(refused, 401),
    ]
    with Client(web.url(""), "av_x") as client:
        messages = client.watch("t-1")
        assert next(messages).id == 1
        with pytest.raises(Unauthorized, match="unknown"):
            next(messages)


def test_lines_are_split_as_the_standard_says():
    pieces = iter(
        [b"ret", b"ry: 1\r", b"\n\r\n: ping\n\nid: 3\nevent:e\nda", b"ta: a\ndata:  b\n\n"]
    )
    assert list(following._events(pieces)) == [
        {"retry": "1"},
        {},
        {},
        {"id": "3", "event": "e", "data": "a\n b"},
    ]
