"""The chain, the chord, retries, time limits and cancelling, by real workers on real brokers."""

import json
import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from components.frame_results import read_metadata
from gateway.models import Attempt, Event, now
from gateway.tasks import cancel_task, read_task
from gateway.work import Work
from tests.gateway.workers.conftest import MODEL
from tests.helpers.scripted_web import ScriptedWeb
from tests.helpers.servers import TritonServer, wait_until
from tests.helpers.web import body
from tests.helpers.workers import Workers

pytestmark = pytest.mark.slow

embedded = pytest.mark.parametrize("broker", [{}], ids=["embedded"])


def events(workers: Workers, task_id: str) -> list[str]:
    with workers.sessions() as session:
        query = select(Event.name).where(Event.task_id == task_id).order_by(Event.id)
        return list(session.scalars(query))


def attempts(workers: Workers, task_id: str) -> list[tuple[str, int, str]]:
    with workers.sessions() as session:
        query = select(Attempt).where(Attempt.task_id == task_id).order_by(Attempt.id)
        return [(row.step, row.attempt, row.outcome) for row in session.scalars(query)]


def step_error(workers: Workers, task_id: str, name: str) -> str:
    with workers.sessions() as session:
        return next(s.error for s in read_task(session, task_id).steps if s.name == name)


def error(workers: Workers, task_id: str) -> str:
    with workers.sessions() as session:
        return read_task(session, task_id).error


def test_the_chain_runs_to_the_labels_and_waits_there(workers: Workers):
    workers.start()
    task_id = workers.submit("loop", Work(file_path="clip.mp4", num_frames=4, names=("blob",)))
    workers.wait_for(task_id, "waiting")
    assert events(workers, task_id) == [
        "VIDEO_DOWNLOADED",
        "FRAMES_EXTRACTED",
        "LABELING_REQUESTED",
    ]
    assert all(outcome == "succeeded" for *_, outcome in attempts(workers, task_id))
    # Somebody labels; nobody tells.
    project = workers.facts(task_id, "labeling")["project"]
    folder = workers.settings.layout.user_file("ada", project)
    images = sorted((folder / "images").iterdir())
    assert len(images) == 4
    # A typo is told and waited for; it costs nobody the other labels.
    typo = folder / "labels" / f"{images[0].stem}.txt"
    typo.write_text("0 0.5 0.5\n")
    for image in images[1:]:
        (folder / "labels" / f"{image.stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    wait_until(lambda: typo.name in step_error(workers, task_id, "labels"), 30)
    assert workers.state(task_id) == "waiting"
    typo.write_text("0 0.5 0.5 0.2 0.2\n")
    wait_until(lambda: "LABELING_COMPLETED" in events(workers, task_id), 30)
    assert workers.facts(task_id, "labels")["counts"] == {"images": 4, "objects": 4, "blob": 4}
    assert workers.state(task_id) == "running", "the training is the watcher's"


def test_the_chord_writes_all_results_side_by_side(workers: Workers, served: TritonServer):
    workers.settings.triton_url = served.url
    workers.start()
    task_id = workers.submit("inference", Work(file_path="clip.mp4", model_name=MODEL))
    workers.wait_for(task_id)
    results = workers.settings.layout.results(task_id)
    assert sorted(path.name for path in results.iterdir()) == [
        "chunks",
        "overlaid_results.mp4",
        "report.ipynb",
        "results.csv",
        "results.json",
    ]
    assert len(json.loads((results / "results.json").read_text())["results"]) == 24
    assert read_metadata(results).model_name == MODEL
    assert events(workers, task_id) == [
        "VIDEO_DOWNLOADED",
        "INFERENCE_REQUESTED",
        "INFERENCE_COMPLETED",
        "RESULTS_UPLOADED",
    ]
    with workers.sessions() as session:
        parts = {
            row.step: row
            for row in session.scalars(select(Attempt).where(Attempt.task_id == task_id))
        }
    assert parts["results"].started >= max(
        parts[name].ended for name in ("csv", "json", "chunks", "overlay", "notebook")
    )
    assert len({parts[name].holder for name in ("csv", "json", "chunks", "overlay")}) > 1


def test_what_may_pass_is_tried_again(workers: Workers, web: ScriptedWeb, clip: Path):
    web.scripts["/clip.mp4"] = [body(b"", 503), body(b"", 500), body(clip.read_bytes())]
    workers.start()
    task_id = workers.submit("upload", Work(file_path=web.url("/clip.mp4"), upload_path="a.mp4"))
    workers.wait_for(task_id)
    assert attempts(workers, task_id) == [
        ("download", 1, "retried"),
        ("download", 2, "retried"),
        ("download", 3, "succeeded"),
        ("deliver_video", 1, "succeeded"),
    ]
    delivered = workers.settings.layout.user_file("ada", "a.mp4")
    assert delivered.read_bytes() == clip.read_bytes()
    assert events(workers, task_id) == ["VIDEO_DOWNLOADED"]


@embedded
def test_labels_that_were_given_are_not_asked_for(workers: Workers):
    labels = workers.settings.layout.user_file("ada", "labels")
    labels.mkdir()
    (labels / "frame_000003.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    workers.start()
    work = Work(file_path="clip.mp4", labels_path="labels", names=("blob",))
    task_id = workers.submit("loop", work)
    wait_until(lambda: workers.facts(task_id, "labels").get("counts"), 30)
    assert workers.facts(task_id, "extract")["frames"] == 1
    assert events(workers, task_id) == [
        "VIDEO_DOWNLOADED",
        "FRAMES_EXTRACTED",
        "LABELING_COMPLETED",
    ]


@embedded
def test_a_step_waits_for_a_database_that_is_locked(workers: Workers, web: ScriptedWeb):
    if not workers.settings.database_url.startswith("sqlite"):
        pytest.skip("only SQLite locks the whole database")
    web.scripts["/clip.mp4"] = [web.endless(b"x" * 1000, 0.05)]
    workers.settings.lease_seconds = 4
    workers.start()
    task_id = workers.submit("upload", Work(file_path=web.url("/clip.mp4"), upload_path="a.mp4"))
    wait_until(lambda: web.requests["/clip.mp4"])
    with workers.sessions() as session:
        until = read_task(session, task_id).steps[0].lease_until
    assert until is not None
    with closing(sqlite3.connect(workers.settings.home / "actverse.db")) as other:
        wait_until(lambda: _locked(other), 30, "the lock")
        web.closing.set()
        wait_until(lambda: now() > until + timedelta(seconds=workers.settings.lease_seconds))
        assert workers.state(task_id) == "running"
        other.execute("COMMIT")
    workers.wait_for(task_id)
    ended = Counter((step, outcome) for step, _, outcome in attempts(workers, task_id))
    assert ended["download", "succeeded"] == ended["deliver_video", "succeeded"] == 1


def _locked(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


@embedded
@pytest.mark.parametrize("answer", [body(b"", 404), body(b"<html>", Content_Type="text/html")])
def test_what_will_not_pass_is_not_tried_again(workers: Workers, web: ScriptedWeb, answer):
    web.scripts["/a.mp4"] = [answer]
    workers.start()
    task_id = workers.submit("download", Work(file_path=web.url("/a.mp4"), download_path="a.mp4"))
    workers.wait_for(task_id, "failed")
    assert attempts(workers, task_id) == [("download", 1, "failed")]
    assert events(workers, task_id) == ["STEP_FAILED"]
    assert web.url("/a.mp4") in error(workers, task_id)


@embedded
def test_a_step_that_takes_too_long_is_ended(workers: Workers, web: ScriptedWeb):
    web.scripts["/endless.mp4"] = [web.endless(b"x" * 1000, 0.05)]
    workers.settings.step_timeout = 2.0
    workers.start()
    work = Work(file_path=web.url("/endless.mp4"), upload_path="a.mp4")
    task_id = workers.submit("upload", work)
    workers.wait_for(task_id, "failed")
    assert "longer than 2 s" in error(workers, task_id)
    # The worker itself has come to no harm.
    workers.settings.step_timeout = 600.0
    workers.wait_for(workers.submit("upload", Work(file_path="clip.mp4", upload_path="b.mp4")))


@embedded
def test_a_cancelled_task_is_left_by_whoever_works_on_it(workers: Workers, web: ScriptedWeb):
    web.scripts["/endless.mp4"] = [web.endless(b"x" * 2**20, 0.05)]
    workers.slots = 1
    workers.start()
    work = Work(file_path=web.url("/endless.mp4"), upload_path="a.mp4")
    task_id = workers.submit("upload", work)
    wait_until(lambda: web.requests["/endless.mp4"])
    with workers.sessions.begin() as session:
        cancel_task(session, read_task(session, task_id))
    # The one slot is free again.
    workers.wait_for(workers.submit("upload", Work(file_path="clip.mp4", upload_path="b.mp4")))
    assert workers.state(task_id) == "cancelled"
    assert attempts(workers, task_id) == [("download", 1, "cancelled")]
    wait_until(lambda: not list(workers.settings.layout.video(task_id).iterdir()))


def test_a_killed_process_of_a_step_costs_one_attempt(
    workers: Workers, web: ScriptedWeb, clip: Path
):
    slow = web.endless(b"x" * 2**20, 0.05)
    web.scripts["/clip.mp4"] = [slow, body(clip.read_bytes())]
    workers.settings.lease_seconds = 120
    workers.start()
    task_id = workers.submit("upload", Work(file_path=web.url("/clip.mp4"), upload_path="a.mp4"))
    wait_until(lambda: web.requests["/clip.mp4"])
    (child,) = workers.children()
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(child))
    assert workers.state(task_id) == "running"
    # Its worker saw it end: nobody waits for the lease.
    workers.wait_for(task_id)
    assert attempts(workers, task_id) == [
        ("download", 1, "lost"),
        ("download", 2, "succeeded"),
        ("deliver_video", 1, "succeeded"),
    ]
    video = workers.settings.layout.video(task_id)
    assert [path.name for path in video.iterdir()] == ["source.mp4"], "no half file is left"


@embedded
def test_a_message_that_never_came_is_made_up_for(workers: Workers):
    task_id = workers.add("upload", Work(file_path="clip.mp4", upload_path="a.mp4"))
    workers.start()
    workers.wait_for(task_id)
    assert [outcome for *_, outcome in attempts(workers, task_id)] == ["succeeded"] * 2
