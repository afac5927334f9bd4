"""Live state on a real server: what watchers are told, and that none of it is lost."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, select, text
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from components.settings import Settings
from gateway import live as live_module
from gateway.announce import announce
from gateway.api import status as status_module
from gateway.app import create_app
from gateway.callers import Callers
from gateway.database import Sessions, open_database
from gateway.events import EventName, record_event
from gateway.keys import add_key, create_key, revoke_key
from gateway.live import Live
from gateway.models import Event, Task
from gateway.tasks import cancel_task, create_task, extend_task, read_task, touch
from gateway.work import Work
from tests.helpers.brokers import RedisServer, missing_redis
from tests.helpers.gateways import Told, event_stream, parsed_events, running_gateway
from tests.helpers.servers import wait_until


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "_LOOK_SECONDS", 0.02)


@pytest.fixture
def app(settings: Settings, sessions: Sessions) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with running_gateway(app) as url:
        yield url


@pytest.fixture
def task_id(sessions: Sessions) -> str:
    with sessions.begin() as session:
        return create_task(session, "ada", "upload", Work(file_path="a.mp4")).id


@pytest.fixture
def change(sessions: Sessions, task_id: str) -> Callable[..., int]:
    """Changes the task as a worker would, from outside the gateway; returns its revision."""

    def change(happened: str = "", state: str = "running", done: int = 0, facts: str = "") -> int:
        with sessions.begin() as session:
            task = read_task(session, task_id)
            task.state = state
            step = task.steps[0]
            step.state, step.done, step.facts = "running", done, {"text": facts}
            touch(task)
            if happened:
                record_event(session, task, EventName.STEP_FAILED, {"n": happened}, key=happened)
        with sessions() as session:
            return read_task(session, task_id).revision

    return change


def happened(messages: list[Told]) -> list[str]:
    """The events among messages, by the text they were made with."""
    return [message.data["data"]["n"] for message in messages if message.event != "status"]


def told(stream: Iterator[Told | str]) -> list[Told]:
    return [message for message in stream if isinstance(message, Told)]


def upto(stream: Iterator[Told | str], revision: int) -> list[Told]:
    """Messages up to the status of a revision."""
    messages: list[Told] = []
    for message in stream:
        if isinstance(message, Told):
            messages.append(message)
            if message.event == "status" and message.id >= revision:
                return messages
    raise AssertionError(f"the stream ended before revision {revision}: {messages}")


def get(url: str, path: str, key: str = "", **headers: str) -> httpx.Response:
    return httpx.get(f"{url}{path}", headers={"X-API-Key": key, **headers} if key else headers)


def test_each_message_has_a_revision_of_its_own(sessions: Sessions, task_id: str) -> None:
    with sessions.begin() as session:
        task = read_task(session, task_id)
        touch(task)
        names = (EventName.VIDEO_DOWNLOADED, EventName.FRAMES_EXTRACTED)
        assert [record_event(session, task, name, {}) for name in names] == [True, True]
        assert not record_event(session, task, names[0], {})
    with sessions() as session:
        first, second = session.scalars(select(Event.revision).order_by(Event.id))
        assert 1 < first < second < read_task(session, task_id).revision
        # One was there when a status of a revision between them may have been told.
        assert second - first == 2


def test_stream_tells_the_timeline_then_the_status_then_what_changes(
    url: str, api_key: str, task_id: str, change: Callable[..., int]
) -> None:
    change("a")
    known = change("b", done=3)
    with event_stream(f"{url}/tasks/{task_id}/events", api_key) as stream:
        messages = upto(stream, known)
        assert happened(messages) == ["a", "b"]
        assert [message.event for message in messages] == ["STEP_FAILED", "STEP_FAILED", "status"]
        assert messages[-1].data == get(url, f"/status/{task_id}", api_key).json()
        assert messages[0].data["task_id"] == task_id
        assert messages[0].data["revision"] == messages[0].id
        [status] = upto(stream, change(done=4))
        assert status.data["process_status"]["steps"][0]["done"] == 4
        assert status.data["revision"] == status.id
        final = change("c", state="succeeded")
        rest = told(stream)
    assert [message.event for message in rest] == ["STEP_FAILED", "status"]
    assert rest[-1].id == final


def test_stream_goes_on_after_a_cut_at_every_message(
    url: str, api_key: str, task_id: str, change: Callable[..., int]
) -> None:
    address = f"{url}/tasks/{task_id}/events"
    with event_stream(address, api_key) as stream:
        whole = upto(stream, 1)
        for number in range(4):
            whole += upto(stream, change())
            whole += upto(stream, change(f"event {number}"))
        change("last", state="failed")
        whole += told(stream)
    assert len(happened(whole)) == 5
    assert len(whole) == 1 + 4 * 3 + 2
    assert len({message.id for message in whole}) == len(whole)
    for cut, last in enumerate(whole[:-1], start=1):
        with event_stream(address, api_key, last.id) as stream:
            rest = told(stream)
        assert happened(whole[:cut]) + happened(rest) == happened(whole)
        assert rest[-1] == whole[-1]
        assert [message.event for message in rest].count("status") == 1
    assert get(url, f"/tasks/{task_id}/events", api_key, **{"Last-Event-ID": str(whole[-1].id)})
    answer = get(url, f"/tasks/{task_id}/events", api_key, **{"Last-Event-ID": str(whole[-1].id)})
    assert (answer.status_code, answer.content) == (204, b"")


def test_nothing_is_lost_or_doubled_while_events_and_cuts_cross(
    url: str, api_key: str, task_id: str, change: Callable[..., int]
) -> None:
    count = 40

    def write() -> None:
        for number in range(count):
            change(f"{number}")
            change(done=number)
        change(state="succeeded")

    writer = threading.Thread(target=write)
    writer.start()
    messages: list[Told] = []
    while not messages or messages[-1].data.get("process_status", {}).get("state") != "succeeded":
        after = messages[-1].id if messages else None
        with event_stream(f"{url}/tasks/{task_id}/events", api_key, after) as stream:
            for message in stream:
                assert isinstance(message, Told)
                messages.append(message)
                if len(messages) % 2:
                    break
    writer.join()
    assert happened(messages) == [f"{number}" for number in range(count)]
    ids = [message.id for message in messages]
    assert ids == sorted(set(ids))


def test_event_between_the_reading_of_status_and_timeline_is_told_once(
    app: FastAPI, url: str, api_key: str, task_id: str, change: Callable[..., int]
) -> None:
    between: list[int] = []

    def read(*arguments: object) -> None:
        if "FROM events" in str(arguments[2]) and not between:
            between.append(0)
            between[0] = change("between")

    event.listen(app.state.sessions.kw["bind"], "before_cursor_execute", read)
    with event_stream(f"{url}/tasks/{task_id}/events", api_key) as stream:
        messages = upto(stream, 1)
        messages += upto(stream, between[0])
        messages += upto(stream, change("after"))
    assert happened(messages) == ["between", "after"]
    ids = [message.id for message in messages]
    assert ids == sorted(set(ids))


def test_a_task_that_goes_on_is_told_again(
    url: str, api_key: str, task_id: str, sessions: Sessions, change: Callable[..., int]
) -> None:
    final = change(state="succeeded")
    with sessions.begin() as session:
        extend_task(session, read_task(session, task_id), "deployment", Work(file_path="a.mp4"))
    with event_stream(f"{url}/tasks/{task_id}/events", api_key, final) as stream:
        message = next(stream)
        assert isinstance(message, Told)
        assert message.data["process_status"]["state"] == "queued"


def test_an_id_that_the_task_never_had_begins_from_the_start(
    url: str, api_key: str, task_id: str, change: Callable[..., int]
) -> None:
    final = change("a", state="succeeded")
    with event_stream(f"{url}/tasks/{task_id}/events", api_key, 10**30) as stream:
        messages = told(stream)
    assert happened(messages) == ["a"]
    assert messages[-1].id == final


def test_watchers_are_told_the_same_and_leave_nothing_behind(
    app: FastAPI, url: str, api_key: str, task_id: str, change: Callable[..., int]
) -> None:
    live: Live = app.state.live
    with (
        event_stream(f"{url}/tasks/{task_id}/events", api_key) as one,
        event_stream(f"{url}/tasks/{task_id}/events", api_key) as two,
        _websocket(url, task_id, api_key) as three,
    ):
        change("a")
        revision = change("b")
        first, second = upto(one, revision), upto(two, revision)
        assert happened(first) == happened(second) == ["a", "b"]
        assert first[-1] == second[-1]
        assert upto(_received(three), revision)[-1] == first[-1]
        assert live.watcher_count() == 3
    wait_until(lambda: live.watcher_count() == 0, what="the watchers' leaving")
    wait_until(
        lambda: not any(thread.name == "live" for thread in threading.enumerate()),
        what="the end of the looking",
    )
    with event_stream(f"{url}/tasks/{task_id}/events", api_key, revision) as again:
        assert happened(upto(again, change("c"))) == ["c"]


def test_watcher_who_does_not_read_holds_nobody_up_and_misses_no_event(
    url: str, api_key: str, task_id: str, change: Callable[..., int]
) -> None:
    large, count = "x" * 300_000, 40
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        slow.sendall(
            f"GET /tasks/{task_id}/events HTTP/1.0\r\nX-API-Key: {api_key}\r\n\r\n".encode()
        )
        with event_stream(f"{url}/tasks/{task_id}/events", api_key) as quick:
            for number in range(count):
                upto(quick, change(f"{number}", done=number, facts=large))
            change(state="succeeded", done=count)
            told(quick)
        # Now it reads all that is left for it.
        lines = slow.makefile("r", encoding="utf-8", newline="\n")
        messages = told(parsed_events(line.rstrip("\r\n") for line in lines))
    assert happened(messages) == [f"{number}" for number in range(count)]
    assert messages[-1].data["process_status"]["state"] == "succeeded"
    assert sum(message.event == "status" for message in messages) < count


def test_quiet_stream_is_kept_alive(
    app: FastAPI, url: str, api_key: str, task_id: str, change: Callable[..., int]
) -> None:
    app.state.live.keep_alive = 0.05
    with event_stream(f"{url}/tasks/{task_id}/events", api_key) as stream:
        upto(stream, 1)
        assert next(stream) == ": ping"
        assert next(stream) == ": ping"
        assert upto(stream, change(done=1))


def test_others_learn_nothing(
    settings: Settings, sessions: Sessions, url: str, api_key: str, task_id: str
) -> None:
    with sessions.begin() as session:
        bob = create_key(session, settings, "bob")
        admin = create_key(session, settings, "root", "admin")
    # Somebody who may see it has just been told, so it is known to the process.
    assert get(url, f"/status/{task_id}", api_key).status_code == 200
    for path in (f"/status/{task_id}", f"/tasks/{task_id}/events"):
        for key, status in ((bob, 404), ("", 401), ("av_wrong", 401)):
            answer = get(url, path, key)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
        foreign, absent = get(url, path, bob), get(url, path.replace(task_id, "t-none"), bob)
        assert foreign.json()["detail"].replace(task_id, "t-none") == absent.json()["detail"]
    assert get(url, f"/status/{task_id}", admin).json()["user_id"] == "ada"
    with event_stream(f"{url}/tasks/{task_id}/events", admin) as stream:
        assert upto(stream, 1)
    wrong = get(url, f"/tasks/{task_id}/events", api_key, **{"Last-Event-ID": "x"})
    assert (wrong.status_code, wrong.json()["type"]) == (400, "urn:actverse:problem:BadInput")


def test_stream_of_a_revoked_key_ends(
    settings: Settings,
    sessions: Sessions,
    url: str,
    task_id: str,
    change: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status_module, "_KEY_SECONDS", 0.0)
    monkeypatch.setattr(Callers, "SECONDS", 0.0)
    with sessions.begin() as session:
        key, row = add_key(session, settings, "ada")
    with (
        event_stream(f"{url}/tasks/{task_id}/events", key) as stream,
        _websocket(url, task_id, key) as websocket,
    ):
        revision = change("a")
        upto(stream, revision)
        upto(_received(websocket), revision)
        with sessions.begin() as session:
            revoke_key(session, row.id, None)
        change("b")
        assert told(stream) == []
        assert list(_received(websocket)) == []
        assert websocket.protocol.close_code == 1008


def test_gateway_sees_its_own_changes_at_once(
    app: FastAPI, url: str, api_key: str, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "FRESH_SECONDS", 3600.0)
    assert get(url, f"/status/{task_id}", api_key).json()["process_status"]["state"] == "queued"
    with app.state.sessions.begin() as session:
        cancel_task(session, read_task(session, task_id))
    assert get(url, f"/status/{task_id}", api_key).json()["process_status"]["state"] == "cancelled"


def test_status_is_read_once_for_all_who_ask_together(
    settings: Settings, sessions: Sessions, task_id: str
) -> None:
    live = Live(settings, sessions)
    queries = []
    event.listen(
        sessions.kw["bind"],
        "before_cursor_execute",
        lambda *arguments: queries.append(arguments[2]) if "tasks" in arguments[2] else None,
    )

    async def ask() -> int:
        answers = await asyncio.gather(*(live.status(task_id, "ada") for _ in range(200)))
        return len({answer.body for answer in answers})

    assert asyncio.run(ask()) == 1
    assert len(queries) == 1


def test_a_look_at_many_watched_tasks_is_one_query(
    settings: Settings, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sessions.begin() as session:
        ids = [create_task(session, "ada", "upload", Work(file_path="a")).id for _ in range(20)]
    live = Live(settings, open_database(settings.database_url))
    queries: list[str] = []

    async def first(task_id: str) -> None:
        watch = await live.watch(task_id, "ada")
        async for messages in watch.messages():
            if messages:
                seen.add(task_id)
            if len(seen) == len(ids) and not queries:
                event.listen(
                    live._sessions.kw["bind"],
                    "before_cursor_execute",
                    lambda *arguments: queries.append(arguments[2]),
                )
            if len(queries) >= 3:
                return

    async def watch_all() -> None:
        await asyncio.gather(*(first(task_id) for task_id in ids))

    seen: set[str] = set()
    live.keep_alive = 0.05
    asyncio.run(watch_all())
    # Later looks are at fewer tasks, as the watchers leave.
    [query] = set(queries[:3])
    assert query.count("?") == len(ids)


def test_database_that_fails_for_a_moment_ends_no_stream(
    settings: Settings, url: str, api_key: str, task_id: str, change: Callable[..., int]
) -> None:
    with event_stream(f"{url}/tasks/{task_id}/events", api_key) as stream:
        upto(stream, 1)
        with open_database(settings.database_url)() as session:
            # Somebody writes for long: readers do not wait.
            session.execute(text("BEGIN IMMEDIATE"))
            assert get(url, f"/status/{task_id}", api_key).status_code == 200
            session.rollback()
            session.execute(text("ALTER TABLE steps RENAME TO steps_away"))
            session.execute(text("UPDATE tasks SET revision = revision + 1"))
            session.commit()
            wait_until(lambda: get(url, f"/status/{task_id}", api_key).status_code == 503)
            session.execute(text("ALTER TABLE steps_away RENAME TO steps"))
            session.commit()
        revision = change("a")
        assert happened(upto(stream, revision)) == ["a"]


def test_one_task_that_cannot_be_told_silences_no_other(
    url: str, api_key: str, task_id: str, sessions: Sessions, change: Callable[..., int]
) -> None:
    with sessions.begin() as session:
        broken = create_task(session, "ada", "upload", Work(file_path="a.mp4")).id
    with (
        event_stream(f"{url}/tasks/{broken}/events", api_key) as silent,
        event_stream(f"{url}/tasks/{task_id}/events", api_key) as stream,
    ):
        upto(silent, 1)
        upto(stream, 1)
        with sessions.begin() as session:
            task = session.get_one(Task, broken)
            task.steps[0].name = "a step of another release"
            touch(task)
        assert happened(upto(stream, change("a"))) == ["a"]


def test_task_that_is_deleted_ends_its_streams(
    url: str, api_key: str, task_id: str, sessions: Sessions
) -> None:
    with (
        event_stream(f"{url}/tasks/{task_id}/events", api_key) as stream,
        _websocket(url, task_id, api_key) as websocket,
    ):
        upto(stream, 1)
        with sessions.begin() as session:
            session.delete(session.get_one(Task, task_id))
        assert told(stream) == []
        assert len(list(_received(websocket))) <= 1


def test_websocket_tells_the_same_messages_and_goes_on_after_a_cut(
    url: str, api_key: str, task_id: str, change: Callable[..., int]
) -> None:
    change("a")
    with _websocket(url, task_id, api_key) as websocket:
        whole = upto(_received(websocket), change("b"))
        change("c", state="succeeded")
        whole += list(_received(websocket))
        assert websocket.protocol.close_code == 1000
    assert happened(whole) == ["a", "b", "c"]
    for cut, last in enumerate(whole[:-1], start=1):
        with _websocket(url, task_id) as websocket:
            websocket.send(json.dumps({"api_key": api_key, "last_event_id": last.id}))
            rest = list(_received(websocket))
        assert happened(whole[:cut]) + happened(rest) == happened(whole)
        assert rest[-1] == whole[-1]
    with event_stream(f"{url}/tasks/{task_id}/events", api_key) as stream:
        messages = told(stream)
    assert messages[-1] == whole[-1]
    assert happened(messages) == happened(whole)


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ({"api_key": "av_wrong"}, "Unauthorized"),
        ({"api_key": ""}, "Unauthorized"),
        ({"api_key": "KEY", "last_event_id": -1}, "BadInput"),
        ({"key": "KEY"}, "BadInput"),
        ("hello", "BadInput"),
        (b"\xff", "BadInput"),
    ],
)
def test_websocket_without_a_good_first_message_is_closed(
    url: str, api_key: str, task_id: str, hello: object, reason: str
) -> None:
    if isinstance(hello, dict):
        hello = json.dumps(hello).replace("KEY", api_key)
    assert isinstance(hello, str | bytes)
    with _websocket(url, task_id) as websocket:
        websocket.send(hello)
        assert _refusal(websocket).startswith(reason)


def test_websocket_of_a_stranger_is_closed(
    settings: Settings,
    sessions: Sessions,
    url: str,
    task_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sessions.begin() as session:
        bob = create_key(session, settings, "bob")
    with _websocket(url, task_id, bob) as websocket:
        assert _refusal(websocket).startswith("NotFound")
    with _websocket(url, task_id, "av_wrong") as websocket:
        assert _refusal(websocket).startswith("Unauthorized")
    monkeypatch.setattr(status_module, "_HELLO_SECONDS", 0.05)
    with _websocket(url, task_id) as websocket:
        assert _refusal(websocket).startswith("Unauthorized")


def test_redis_tells_every_gateway_at_once(
    settings: Settings,
    redis_url: str,
    sessions: Sessions,
    api_key: str,
    task_id: str,
    change: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Only an announcement, or the connection's first sign, makes it look again.
    monkeypatch.setattr(live_module, "_HINTED_SECONDS", 3600.0)
    monkeypatch.setattr(live_module, "FRESH_SECONDS", 3600.0)
    settings = settings.model_copy(update={"redis_url": redis_url, "rate_limit": ""})
    apps = [create_app(settings) for _ in range(2)]
    with running_gateway(apps[0]) as one, running_gateway(apps[1]) as two:
        addresses = [f"{url}/tasks/{task_id}/events" for url in (one, two)]
        with (
            event_stream(addresses[0], api_key) as first,
            event_stream(addresses[1], api_key) as second,
        ):
            upto(first, 1)
            upto(second, 1)
            wait_until(lambda: all(app.state.live.hinted for app in apps))
            for name in ("a", "b", "c"):
                revision = change(name)
                _announce_until_heard(settings, task_id, apps, revision)
                assert happened(upto(first, revision)) == [name]
                assert happened(upto(second, revision)) == [name]


@pytest.mark.skipif(bool(missing_redis()), reason=missing_redis())
def test_redis_that_is_away_costs_only_time(
    settings: Settings,
    api_key: str,
    task_id: str,
    change: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_module, "_HINTED_SECONDS", 3600.0)
    redis = RedisServer(tmp_path / "redis")
    settings = settings.model_copy(update={"redis_url": redis.url, "rate_limit": ""})
    app = create_app(settings)
    try:
        with (
            running_gateway(app) as url,
            event_stream(f"{url}/tasks/{task_id}/events", api_key) as stream,
        ):
            assert happened(upto(stream, change("never there"))) == ["never there"]
            redis.start()
            wait_until(lambda: app.state.live.hinted)
            revision = change("there")
            _announce_until_heard(settings, task_id, [app], revision)
            assert happened(upto(stream, revision)) == ["there"]
            redis.kill()
            # The first may still be found by a look that an announcement caused.
            for name in ("gone", "still gone", "gone for long"):
                assert happened(upto(stream, change(name))) == [name]
            redis.start()
            wait_until(lambda: app.state.live.hinted)
            revision = change("back")
            _announce_until_heard(settings, task_id, [app], revision)
            assert happened(upto(stream, revision)) == ["back"]
    finally:
        redis.stop()


def _announce_until_heard(
    settings: Settings, task_id: str, apps: list[FastAPI], revision: int
) -> None:
    def heard() -> bool:
        announce(settings, task_id)
        watched = [app.state.live._watched[task_id].view for app in apps]
        return all(view.status.revision >= revision for view in watched)

    wait_until(heard, what="the announcement")


def _websocket(url: str, task_id: str, key: str = "") -> ClientConnection:
    address = f"{url.replace('http', 'ws', 1)}/ws/tasks/{task_id}"
    return connect(
        address, additional_headers={"X-API-Key": key} if key else {}, ping_interval=None
    )


def _received(websocket: ClientConnection) -> Iterator[Told]:
    while True:
        try:
            message = json.loads(websocket.recv(timeout=30))
        except ConnectionClosed:
            return
        yield Told(message["event"], message["id"], message["data"])


def _refusal(websocket: ClientConnection) -> str:
    with pytest.raises(ConnectionClosed):
        websocket.recv(timeout=30)
    assert websocket.protocol.close_code == 1008
    return websocket.protocol.close_reason or ""
