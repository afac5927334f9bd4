"""What runs in a child process of its own is ended at its limits, with all that it has started."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from components import errors
from components.child_process import ChildEnded, Limit, Limits, call_apart, watch
from components.errors import BadInput, StepFailed
from tests.helpers import unruly
from tests.helpers.servers import wait_until


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_it_returns_what_the_function_returns():
    assert call_apart(unruly.double, {"number": 21}) == 42


def test_it_is_watched_by_a_process_with_many_files_open(many_open_files: None):
    assert call_apart(unruly.double, {"number": 21}) == 42


@pytest.fixture
def many_open_files():
    """More than ``select`` can take, as a server with many connections has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for number in opened:
        os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind", ["BadInput", "Unavailable", "StorageFull", "ParityFailed"])
def test_an_error_of_ours_comes_through_as_itself(kind: str):
    with pytest.raises(getattr(errors, kind), match=r"It is so\.") as caught:
        call_apart(unruly.raise_error, {"kind": kind, "sentence": "It is so."})
    assert type(caught.value).__name__ == kind


@pytest.mark.parametrize(
    ("function", "arguments", "limits", "limit"),
    [
        (unruly.spin, {}, Limits(seconds=1), Limit.SECONDS),
        (unruly.take, {"mebibytes": 2000}, Limits(memory=200 * 2**20), Limit.MEMORY),
        (unruly.multiply, {"processes": 8}, Limits(processes=5), Limit.PROCESSES),
    ],
    ids=["seconds", "memory", "processes"],
)
def test_it_is_ended_at_a_limit(function, arguments, limits: Limits, limit: Limit):
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(ChildEnded) as caught:
        call_apart(function, arguments, limits=limits)
    assert caught.value.end.limit is limit
    assert set(psutil.Process().children(recursive=True)) == before


@pytest.mark.parametrize(
    ("function", "arguments", "code"),
    [
        (unruly.end_by, {"number": signal.SIGSEGV}, -signal.SIGSEGV),
        (unruly.end_by, {"number": signal.SIGKILL}, -signal.SIGKILL),
        (unruly.leave, {"code": 0}, 0),
        (unruly.leave, {"code": 7}, 7),
        (unruly.raise_error, {"kind": "none of ours", "sentence": "Broken."}, 0),
    ],
    ids=["crash", "killed", "no word", "code", "broken"],
)
def test_one_that_gives_no_answer_says_how_it_ended(function, arguments, code: int):
    with pytest.raises(StepFailed) as caught:
        call_apart(function, arguments)
    assert isinstance(caught.value, ChildEnded)
    assert (caught.value.end.code, caught.value.end.limit) == (code, None)


@pytest.mark.parametrize("stay", [True, False], ids=["it stays", "it ends"])
def test_what_it_has_started_ends_with_it(tmp_path: Path, stay: bool):
    pids = tmp_path / "pids"

    def look() -> None:
        if stay and pids.exists():
            raise BadInput("It is wanted no longer.")

    arguments = {"pids": str(pids), "stay": stay}
    if stay:
        with pytest.raises(BadInput, match="wanted no longer"):
            call_apart(unruly.have_children, arguments, look=look)
    else:
        call_apart(unruly.have_children, arguments, look=look)
    family = [int(pid) for pid in pids.read_text().split()]
    assert len(family) == 4
    assert not any(map(alive, family))


def test_it_ends_when_who_asked_for_it_is_killed(tmp_path: Path):
    pid = tmp_path / "pid"
    code = (
        "from pathlib import Path; import sys\n"
        "from components.child_process import call_apart\n"
        "from tests.helpers import unruly\n"
        "call_apart(unruly.have_children, {'pids': sys.argv[1], 'stay': True})\n"
    )
    # Who is killed cannot remove the folder in which the answer would have lain.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code, str(pid)], env=environment) as asking:
        wait_until(pid.exists, 30)
        child = int(pid.read_text().split()[0])
        asking.kill()
    try:
        wait_until(lambda: not alive(child))
    finally:
        for left in map(int, pid.read_text().split()):
            if alive(left):
                os.kill(left, signal.SIGKILL)


def test_a_command_of_ones_own_is_watched_alike():
    process = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run(['sleep', '600'])"]
    )
    begun = time.monotonic()
    assert watch(process, Limits(seconds=0.5)).limit is Limit.SECONDS
    assert time.monotonic() - begun < 30
    assert not alive(process.pid)
