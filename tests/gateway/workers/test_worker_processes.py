"""Steps that do not end, take too much or are killed, and a worker that no longer works."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import delete, select

from components.settings import Settings
from components.storage import open_storage
from gateway import readiness
from gateway.alive import is_alive, worker_sign
from gateway.celery_app import create_celery
from gateway.flows import Queue
from gateway.models import Attempt, Heartbeat
from gateway.readiness import Readiness
from gateway.tasks import cancel_task, read_task
from gateway.work import Work
from tests.components.test_child_process import alive
from tests.helpers.rogue import HANG, obey, order
from tests.helpers.servers import wait_until
from tests.helpers.workers import Workers, new_workers

pytestmark = pytest.mark.slow

SLOTS = 2
WORK = Work(file_path="clip.mp4", upload_path="a.mp4")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rogue")


@pytest.fixture(scope="module")
def rogue(home: Path, clip: Path) -> Iterator[Workers]:
    """One worker with its processes, for all of the tests."""
    settings = Settings(
        home=home,
        api_key_secret="keys-secret",
        webhook_secret="webhook-secret",
        lease_seconds=120,
        step_memory=600 * 2**20,
        step_timeout=600,
        worker_silence=20,
        log_format="text",
    )
    workers = new_workers(
        settings,
        slots=SLOTS,
        app="tests.helpers.rogue:app",
        environment={"ROGUE": str(home)},
    )
    mine = settings.layout.user_file("ada", "clip.mp4")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(clip.read_bytes())
    workers.start()
    yield workers
    workers.kill()


@pytest.fixture(autouse=True)
def orders(home: Path) -> Iterator[None]:
    yield
    if (home / "order").exists():
        obey(home)


def error(workers: Workers, task_id: str) -> str:
    with workers.sessions() as session:
        return read_task(session, task_id).error


def outcomes(workers: Workers, task_id: str, step: str) -> list[str]:
    with workers.sessions() as session:
        query = select(Attempt.outcome).where(Attempt.task_id == task_id, Attempt.step == step)
        return list(session.scalars(query.order_by(Attempt.id)))


def test_any_idle_process_of_a_worker_may_be_killed(rogue: Workers):
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        idle = psutil.Process(rogue.step_worker.pid).children(recursive=True)
        assert idle
        for one in idle:
            with suppress(psutil.NoSuchProcess):  # an errand's, or one that ended with another
                one.send_signal(number)
            # As many as there are threads, so that none of them is deaf.
            tasks = [rogue.submit("upload", WORK) for _ in range(SLOTS)]
            for task_id in tasks:
                rogue.wait_for(task_id)
                assert outcomes(rogue, task_id, "deliver_video")[-1] == "succeeded"


@pytest.mark.parametrize("function", ["spin", "wait"], ids=["deaf", "listens"])
def test_a_step_of_a_cancelled_task_ends(rogue: Workers, home: Path, function: str):
    order(home, function)
    tasks = [rogue.submit("upload", WORK) for _ in range(SLOTS)]
    wait_until(lambda: len(rogue.children()) == SLOTS, 60, "the steps")
    wait_until(lambda: all(rogue.progress(t, "deliver_video") for t in tasks), 60)
    for task_id in tasks:
        with rogue.sessions.begin() as session:
            cancel_task(session, read_task(session, task_id))
    wait_until(lambda: not rogue.children(), 30, "their end")
    obey(home)
    # All of the slots are free again.
    rogue.wait_for(rogue.submit("upload", WORK))
    for task_id in tasks:
        assert rogue.state(task_id) == "cancelled"
        assert outcomes(rogue, task_id, "deliver_video") == ["cancelled"]


@pytest.mark.parametrize(
    ("function", "arguments", "told"),
    [
        ("take", {"mebibytes": 3000}, r"more memory than the 600 MiB .*ACTVERSE_STEP_MEMORY"),
        ("multiply", {"processes": 70}, r"more than 64 processes"),
        ("spin", {}, r"longer than 10 s: give a shorter video, or raise ACTVERSE_STEP_TIMEOUT"),
    ],
    ids=["memory", "processes", "time"],
)
def test_a_step_is_ended_at_its_limits(
    rogue: Workers, home: Path, function: str, arguments: dict, told: str
):
    order(home, function, **arguments)
    seconds = rogue.settings.step_timeout
    # Who sends a step says how long it may take.
    rogue.settings.step_timeout = 10 if function == "spin" else seconds
    try:
        task_id = rogue.submit("upload", WORK)
    finally:
        rogue.settings.step_timeout = seconds
    rogue.wait_for(task_id, "failed", seconds=180)
    assert re.search(told, error(rogue, task_id))
    assert outcomes(rogue, task_id, "deliver_video") == ["failed"]
    # But for an errand's.
    wait_until(lambda: not rogue.children(), 30, "their end")


def test_a_step_that_ends_its_process_each_time_fails_in_the_end(rogue: Workers, home: Path):
    told = home / "left"
    order(home, "end_while_sending", number=signal.SIGSEGV, blocks=str(told))
    task_id = rogue.submit("upload", WORK)
    rogue.wait_for(task_id, "failed", seconds=240)
    assert "was lost 5 times" in error(rogue, task_id)
    assert outcomes(rogue, task_id, "deliver_video") == ["lost"] * 5
    left = told.read_text().splitlines()
    assert len(left) == 10
    assert not [path for path in left if Path(path).exists()]


def test_a_killed_worker_leaves_no_process(rogue: Workers, home: Path):
    pids = home / "pids"
    order(home, "have_children", pids=str(pids), stay=True)
    task_id = rogue.submit("upload", WORK)
    wait_until(pids.exists, 60, "the children")
    worker = rogue.step_worker
    family = [one.pid for one in psutil.Process(worker.pid).children(recursive=True)]
    family = [*family, *map(int, pids.read_text().split())]
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    wait_until(lambda: not any(map(alive, family)), 30, "their end")
    obey(home)
    rogue.revive()
    rogue.expire_leases()
    rogue.wait_for(task_id)
    assert outcomes(rogue, task_id, "deliver_video") == ["lost", "succeeded"]


def test_a_worker_that_is_told_to_stop_leaves_its_step_to_another_attempt(
    rogue: Workers, home: Path
):
    order(home, "spin")
    task_id = rogue.submit("upload", WORK)
    wait_until(lambda: rogue.progress(task_id, "deliver_video"), 60)
    worker = rogue.step_worker
    family = [one.pid for one in psutil.Process(worker.pid).children(recursive=True)]
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    assert not any(map(alive, family))
    obey(home)
    rogue.revive()
    # Without waiting for its lease.
    rogue.wait_for(task_id)
    assert outcomes(rogue, task_id, "deliver_video") == ["retried", "succeeded"]


@pytest.mark.parametrize("how", ["its pool hangs", "its processes hang"])
def test_a_worker_that_does_no_work_shows_no_sign_of_life(
    rogue: Workers, home: Path, monkeypatch: pytest.MonkeyPatch, how: str
):
    parts = Readiness(rogue.settings, rogue.sessions, open_storage(rogue.settings))
    monkeypatch.setattr(readiness, "_KEPT_SECONDS", 0.0)
    sign = worker_sign(rogue.settings.home, f"steps-{home.name}")

    def well() -> bool:
        return is_alive(sign, 30) and not parts.parts()["worker:video"]

    wait_until(well, 60, "the worker")
    if how == "its pool hangs":
        celery = create_celery(rogue.settings)
        for _ in range(SLOTS):
            celery.send_task(HANG, queue=Queue.VIDEO.value, ignore_result=True)
    else:
        (server,) = rogue.fork_servers()
        os.kill(server.pid, signal.SIGSTOP)
    if how == "its pool hangs":
        wait_until(lambda: "nothing was done here" in rogue.log.read_text(), 60, "its word")
        with rogue.sessions.begin() as session:
            session.execute(delete(Heartbeat).where(Heartbeat.name == "queue:video"))
        os.utime(sign, (0, 0))
        told = [parts.parts()["worker:video"], parts.parts()["worker:video"]]
        assert all("Nothing was heard of it" in one for one in told)
        assert not is_alive(sign)
        # As its supervisor does.
        rogue.step_worker.kill()
        rogue.step_worker.wait()
        rogue.revive()
    # A worker whose processes hang replaces them by itself.
    rogue.wait_for(rogue.submit("upload", WORK))
    wait_until(well, 90, "the worker to be well again")


def test_progress_and_facts_come_through(rogue: Workers):
    task_id = rogue.submit("upload", WORK)
    rogue.wait_for(task_id)
    assert rogue.facts(task_id, "download")["file"] == "source.mp4"
    assert json.dumps(rogue.facts(task_id, "deliver_video"))
    assert rogue.progress(task_id, "deliver_video") == 100.0
