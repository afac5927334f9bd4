"""The processes of a run are found, told apart and struck; those of others are left alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.chaos.plan import How, Target
from tests.chaos.processes import CHILD, HELPER, Family, Found, choose, role_of, strike
from tests.helpers.servers import wait_until

_PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the run in ``tmp_path``, whose child has lost its environment's mark."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PARENT],
        env={**os.environ, "ACTVERSE_HOME": str(tmp_path)},
        stdin=subprocess.PIPE,
    )
    yield process
    for child in psutil.Process(process.pid).children() if process.poll() is None else []:
        child.kill()
    process.kill()
    process.wait()


def test_a_run_finds_its_own_processes_and_their_children(
    tmp_path: Path, parent: subprocess.Popen[bytes]
):
    family = Family(tmp_path)
    wait_until(lambda: len(family.look()) == 2, what="the child to be there")
    found = {one.pid for one in family.look()}
    assert found == {parent.pid, *(p.pid for p in psutil.Process(parent.pid).children())}
    assert Family(tmp_path / "another").look() == []
    assert os.getpid() not in family.pids
    assert found <= family.pids


def test_a_child_that_reads_waits_for_work(tmp_path: Path, parent: subprocess.Popen[bytes]):
    family = Family(tmp_path)
    wait_until(lambda: any(one.waits_for_work() for one in family.look()), what="it to read")


def test_what_is_stopped_goes_on_and_what_is_killed_is_gone(
    tmp_path: Path, parent: subprocess.Popen[bytes]
):
    family = Family(tmp_path)
    wait_until(lambda: len(family.look()) == 2, what="the child to be there")
    victim = next(one for one in family.look() if one.pid == parent.pid)
    stopped = lambda: psutil.Process(parent.pid).status() == psutil.STATUS_STOPPED  # noqa: E731
    assert strike(victim, How.STOP, 0.5)
    wait_until(lambda: not stopped(), what="it to go on")
    assert strike(victim, How.KILL, 0)
    wait_until(lambda: not victim.there, what="it to be gone")
    assert not strike(victim, How.KILL, 0)


@pytest.mark.parametrize(
    ("command", "above", "role"),
    [
        ("python /x/bin/actverse up (python3.11)", "", Target.SUPERVISOR),
        ("python -m actverse.reaper (python3.11)", Target.SUPERVISOR, Target.REAPER),
        ("python -m mlflow server --host x (python3.11)", Target.SUPERVISOR, Target.MLFLOW),
        ("python -c from multiprocessing (python3.11)", Target.MLFLOW, Target.MLFLOW),
        ("anything (tritonserver)", Target.SUPERVISOR, Target.TRITON),
        ("anything (triton_python_backend_stub)", Target.TRITON, Target.STUB),
        ("python -m uvicorn --factory gateway.server:create_server (x)", "", Target.GATEWAY),
        (
            "python -m celery --app gateway.celery_app:app worker --hostname worker@%h (x)",
            Target.SUPERVISOR,
            Target.WORKER,
        ),
        (
            "python -m celery --app gateway.celery_app:app worker --hostname worker@%h (x)",
            Target.WORKER,
            CHILD,
        ),
        ("python -m components.fork_server (x)", Target.WORKER, CHILD),
        ("python -c from multiprocessing.resource_tracker (x)", Target.WORKER, HELPER),
        (
            "python -m celery --app gateway.celery_app:app worker --hostname notifier@%h (x)",
            Target.SUPERVISOR,
            Target.ERRANDS,
        ),
        (
            "python -m celery --app gateway.celery_app:app worker --hostname notifier@%h (x)",
            Target.ERRANDS,
            Target.BEAT,
        ),
        ("python -m celery --app gateway.celery_app:app beat --schedule s (x)", "", Target.BEAT),
        ("python -m gateway.watcher (x)", Target.SUPERVISOR, Target.WATCHER),
        ("python -m pipelines.local pipeline.yaml (x)", Target.WATCHER, Target.RUN),
        ("sh -c kfp (dash)", Target.RUN, Target.STEP),
        ("python -m kfp.dsl.executor_main (x)", Target.STEP, Target.STEP),
        ("beam.smp -W w (beam.smp)", HELPER, Target.RABBITMQ),
        ("redis-server 127.0.0.1:1 (redis-check-rdb)", "", Target.REDIS),
        ("postgres: checkpointer (postgres)", Target.POSTGRES, Target.POSTGRES),
    ],
)
def test_processes_are_told_apart(command: str, above: str, role: str):
    assert role_of(command, above) == role


def test_a_kill_takes_whom_it_is_for():
    first = 2**30  # beyond every process that there can be

    def one(number: int, role: str, root: bool = True) -> Found:
        return Found(first + number, 0.0, role, "", root)

    found = [
        *(one(1, Target.WORKER), one(2, CHILD, False), one(3, CHILD, False)),
        *(one(4, Target.POSTGRES), one(5, Target.POSTGRES, False), one(6, Target.REAPER)),
    ]

    def pid(target: Target, pick: float = 0.0, busy: tuple[int, ...] = (2,)) -> int | None:
        met = choose(found, target, pick, [first + number for number in busy])
        return met and met.pid - first

    assert pid(Target.BUSY_CHILD) == 2
    assert pid(Target.IDLE_CHILD) == 3
    assert pid(Target.BUSY_CHILD, busy=()) is None
    assert pid(Target.BUSY_CHILD, pick=0.999, busy=(1,)) == 3
    assert pid(Target.POSTGRES, pick=0.999) == 4
    assert pid(Target.BOTH) == 6
    assert pid(Target.TRITON) is None
