"""What beat does by itself, and a worker with the tasks of two users."""

import json
from datetime import datetime

import pytest
from sqlalchemy import select

from gateway.events import EventName, record_event
from gateway.heartbeats import BEAT
from gateway.models import Attempt, Heartbeat, Notification, Task
from gateway.notifications.rules import add_rule
from gateway.work import Work
from tests.helpers.servers import wait_until
from tests.helpers.workers import Workers

pytestmark = pytest.mark.slow

embedded = pytest.mark.parametrize("broker", [{}], ids=["embedded"])


def _messages(workers: Workers) -> list[str]:
    folder = workers.settings.home / "broker" / "messages"
    return sorted(json.loads(path.read_text())["headers"]["task"] for path in folder.glob("*.msg"))


def _beat_seen(workers: Workers) -> datetime | None:
    with workers.sessions() as session:
        heart = session.get(Heartbeat, BEAT)
        return heart.seen if heart else None


@embedded
def test_beat_looks_after_all_while_no_worker_takes_anything(workers: Workers):
    """As when every place of every worker is held: nothing waits behind it, nothing piles up."""
    with workers.sessions.begin() as session:
        for n in range(3):
            add_rule(session, workers.settings, "ada", f"json://127.0.0.1:9/{n}")
    workers.settings.requeue_seconds = 1
    missing = Work(file_path="none.mp4", upload_path="a.mp4")
    lost = [workers.add("upload", missing) for _ in range(9)]
    workers.add("upload", missing, user="bob")
    with workers.sessions.begin() as session:
        for task_id in lost:
            record_event(session, session.get_one(Task, task_id), EventName.STEP_FAILED, {})
    workers.start_beat()
    share = workers.settings.user_steps
    wanted = ["actverse.notify"] * 2 + ["actverse.step"] * (share + 1)
    wait_until(lambda: _messages(workers) == wanted, 60, "the messages")
    for _ in range(6):  # what it has queued is overdue by now, and still lies there
        seen = _beat_seen(workers)
        wait_until(lambda seen=seen: _beat_seen(workers) != seen, 30, "the next look")
    assert _messages(workers) == wanted
    with workers.sessions() as session:
        assert len(session.scalars(select(Notification.id)).all()) == 27


@embedded
def test_a_users_flood_keeps_another_waiting_for_a_share_of_it(workers: Workers):
    workers.slots = 1
    work = Work(file_path="clip.mp4", upload_path="a.mp4")
    flood = [workers.submit("upload", work) for _ in range(15)]
    bobs = workers.settings.layout.user_file("bob", "clip.mp4")
    bobs.parent.mkdir(parents=True)
    mine = workers.settings.layout.user_file("ada", "clip.mp4")
    bobs.write_bytes(mine.read_bytes())
    other = workers.submit("upload", work, user="bob")
    workers.start()
    workers.wait_for(other)
    for task_id in flood:
        workers.wait_for(task_id)
    with workers.sessions() as session:
        begun = list(session.scalars(select(Attempt).order_by(Attempt.started, Attempt.id)))
    before = [one.task_id for one in begun[: [one.task_id for one in begun].index(other)]]
    assert len(set(before)) <= workers.settings.user_steps
    assert all(one.outcome == "succeeded" for one in begun), "each once"
    assert len(begun) == 2 * len([*flood, other])
