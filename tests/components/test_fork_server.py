"""Children that are forked from a server: fast, limited, and gone with whoever asked for them."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from components import errors
from components.child_process import ChildEnded, Limit, Limits
from components.errors import BadInput, Unavailable
from components.fork_server import ForkServer
from tests.components.test_child_process import alive
from tests.helpers import unruly
from tests.helpers.servers import wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer(["tests.helpers.unruly"])
    yield server
    pid = server.pid
    server.stop()
    assert not alive(pid)


def children(server: ForkServer) -> list[psutil.Process]:
    return psutil.Process(server.pid).children(recursive=True)


def test_calls_from_many_threads_get_their_own_answers(server: ForkServer):
    answers: dict[int, int] = {}

    def call(number: int) -> None:
        answers[number] = server.call(unruly.double, {"number": number})

    threads = [threading.Thread(target=call, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {number: 2 * number for number in range(12)}


@pytest.mark.parametrize("kind", ["BadInput", "Unavailable", "StorageFull", "ParityFailed"])
def test_an_error_of_ours_comes_through_as_itself(server: ForkServer, kind: str):
    with pytest.raises(getattr(errors, kind), match=r"It is so\.") as caught:
        server.call(unruly.raise_error, {"kind": kind, "sentence": "It is so."})
    assert type(caught.value).__name__ == kind


@pytest.mark.parametrize(
    ("function", "arguments", "limits", "limit"),
    [
        (unruly.spin, {}, Limits(seconds=0.5), Limit.SECONDS),
        (unruly.wait, {}, Limits(seconds=0.5), Limit.SECONDS),
        (unruly.take, {"mebibytes": 2000}, Limits(memory=200 * 2**20), Limit.MEMORY),
        (unruly.multiply, {"processes": 8}, Limits(processes=5), Limit.PROCESSES),
    ],
    ids=["seconds", "seconds, politely", "memory", "processes"],
)
def test_it_is_ended_at_a_limit(
    server: ForkServer, monkeypatch: pytest.MonkeyPatch, function, arguments, limits, limit: Limit
):
    with pytest.raises(ChildEnded) as caught:
        server.call(function, arguments, limits=limits)
    assert caught.value.end.limit is limit
    assert caught.value.end.code == (143 if function is unruly.wait else -signal.SIGKILL)
    assert children(server) == []


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
def test_one_that_gives_no_answer_says_how_it_ended(server, function, arguments, code: int):
    with pytest.raises(ChildEnded) as caught:
        server.call(function, arguments)
    assert (caught.value.end.code, caught.value.end.limit) == (code, None)
    assert server.call(unruly.double, {"number": 1}) == 2


@pytest.mark.parametrize("stay", [True, False], ids=["it stays", "it ends"])
def test_what_a_child_has_started_ends_with_it(server: ForkServer, tmp_path: Path, stay: bool):
    pids = tmp_path / "pids"

    def look() -> None:
        if stay and pids.exists():
            raise BadInput("It is wanted no longer.")

    arguments = {"pids": str(pids), "stay": stay}
    if stay:
        with pytest.raises(BadInput, match="wanted no longer"):
            server.call(unruly.have_children, arguments, look=look)
    else:
        server.call(unruly.have_children, arguments, look=look)
    family = [int(pid) for pid in pids.read_text().split()]
    assert len(family) == 4
    assert not any(map(alive, family))
    assert children(server) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_server_that_is_killed_is_replaced(server: ForkServer, tmp_path: Path, number: int):
    server.start()
    idle = server.pid
    os.kill(idle, number)
    assert server.call(unruly.double, {"number": 2}) == 4
    assert server.pid != idle
    # Also in the midst of a call, which then has no answer, and whose child is gone.
    pids = tmp_path / "pids"

    def look() -> None:
        if pids.exists() and alive(server.pid):
            os.kill(server.pid, number)

    with pytest.raises(ChildEnded):
        server.call(unruly.have_children, {"pids": str(pids), "stay": True}, look=look)
    assert server.call(unruly.double, {"number": 3}) == 6
    child, first, second, apart = map(int, pids.read_text().split())
    wait_until(lambda: not any(map(alive, (child, first, second))))
    # It left its session, its parent and the server are gone: nobody knows whose it was.
    if alive(apart):
        os.kill(apart, signal.SIGKILL)


def test_a_server_that_hangs_is_replaced():
    server = ForkServer(["tests.helpers.unruly"], patience=3)
    server.start()
    hanging = server.pid
    os.kill(hanging, signal.SIGSTOP)
    assert server.call(unruly.double, {"number": 2}) == 4
    assert not alive(hanging)
    server.stop()


def test_what_is_imported_later_is_there_in_the_children(tmp_path: Path):
    told = tmp_path / "told"
    (tmp_path / "late_module.py").write_text(f"open({str(told)!r}, 'w').close()\n")
    server = ForkServer(
        ["tests.helpers.unruly"],
        ["late_module"],
        environment={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    server.start()
    try:
        wait_until(told.exists, 60, "its import")
        assert server.call(unruly.has_module, {"name": "late_module"})
    finally:
        server.stop()


def test_a_server_that_cannot_start_says_so():
    with pytest.raises(Unavailable, match="did not start"):
        ForkServer(["tests.helpers.there_is_none"]).call(unruly.double, {"number": 2})


def test_all_end_when_who_asked_is_killed(tmp_path: Path):
    pids = tmp_path / "pids"
    code = (
        "import sys\n"
        "from components.fork_server import ForkServer\n"
        "from tests.helpers import unruly\n"
        "server = ForkServer(['tests.helpers.unruly'])\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "server.call(unruly.have_children, {'pids': sys.argv[1], 'stay': True})\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(pids)], stdout=subprocess.PIPE
    ) as asking:
        assert asking.stdout is not None
        family = [int(asking.stdout.readline())]
        wait_until(pids.exists, 30)
        asking.kill()
    family += map(int, pids.read_text().split())
    assert len(family) == 5
    wait_until(lambda: not any(map(alive, family)))


def test_children_do_not_draw_the_same_random_numbers(server: ForkServer):
    drawn = {json.dumps(server.call(unruly.draw, {})) for _ in range(3)}
    assert len(drawn) == 3
