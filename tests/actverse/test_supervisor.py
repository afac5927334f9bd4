"""The supervisor with real processes: started, restarted, ended, none left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from actverse.supervisor import Service, Supervisor
from components.errors import Unavailable
from components.serving.leftovers import SHARED_MEMORY

pytestmark = pytest.mark.slow

# What each sample begins with; it is ready once it has told who it is.
BEGIN = """
import os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
def tell(*pids):
    (folder / "pids.tmp").write_text(" ".join(map(str, pids)))
    (folder / "pids.tmp").rename(folder / "pids")
"""
# A server that starts a child of its own, as Triton and MLflow do.
SERVER = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
tell(os.getpid(), child.pid)
time.sleep(600)
"""


def _service(folder: Path, code: str = SERVER, patience: float = 30.0) -> Service:
    return Service(
        name="sample",
        argv=[sys.executable, "-c", BEGIN + code, str(folder)],
        environment=dict(os.environ),
        log=folder / "sample.log",
        ready=(folder / "pids").exists,
        patience=patience,
    )


def _pids(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)


@pytest.fixture
def supervisor():
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


def test_stopping_ends_a_service_and_what_it_started(supervisor: Supervisor, tmp_path: Path):
    supervisor.start([_service(tmp_path)])
    pids = _pids(tmp_path)
    assert all(_alive(pid) for pid in pids)
    supervisor.stop()
    assert not any(_alive(pid) for pid in pids)


def test_stopping_ends_also_what_does_not_listen(supervisor: Supervisor, tmp_path: Path):
    code = """
child = os.fork()
if child == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(os.getppid(), os.getpid())
time.sleep(600)
"""
    supervisor.start([_service(tmp_path, code)])
    pids = _pids(tmp_path)
    supervisor.stop()
    assert not any(_alive(pid) for pid in pids)


def test_what_a_service_started_is_ended_by_that_service(supervisor: Supervisor, tmp_path: Path):
    """A pool's child that is killed beside its parent may keep the parent from ending."""
    code = """
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    os.write(writing, b"1")
    signal.sigwait({signal.SIGUSR1})
    if signal.SIGTERM in signal.sigpending():
        (folder / "told").touch()
    os.write(writing, b"2")
    time.sleep(600)
    os._exit(0)
def end(*_):
    os.kill(child, signal.SIGUSR1)
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
os.read(reading, 1)
tell(os.getpid(), child)
time.sleep(600)
"""
    supervisor.start([_service(tmp_path, code)])
    pids = _pids(tmp_path)
    supervisor.stop()
    assert not any(_alive(pid) for pid in pids)
    assert not (tmp_path / "told").exists()


def test_what_others_rely_on_is_there_until_they_have_ended(supervisor: Supervisor, tmp_path: Path):
    """One that asks a server which is gone may wait for it longer than its stop may take."""
    server, client = tmp_path / "server", tmp_path / "client"
    server.mkdir()
    client.mkdir()
    ask = """
server = int((folder.parent / "server" / "pids").read_text())
def end(*_):
    os.kill(server, signal.SIGUSR1)
    while not (folder.parent / "server" / "asked").exists():
        time.sleep(0.01)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
tell(os.getpid())
time.sleep(600)
"""
    answer = """
signal.signal(signal.SIGUSR1, lambda *_: (folder / "asked").touch())
tell(os.getpid())
while True:
    time.sleep(600)
"""
    supervisor.start([replace(_service(server, answer), name="server", relied_on=True)])
    supervisor.start([_service(client, ask)])
    supervisor.stop()
    assert (server / "asked").exists()


def test_a_service_that_dies_is_started_again_and_its_child_ended(
    supervisor: Supervisor, tmp_path: Path
):
    supervisor.start([_service(tmp_path)])
    server, child = _pids(tmp_path)
    (tmp_path / "pids").unlink()
    os.kill(server, signal.SIGKILL)
    _until((tmp_path / "pids").exists)
    assert server not in _pids(tmp_path)
    assert not _alive(child)
    assert supervisor.failure == ""


@pytest.mark.parametrize("how", ["stopped", "silent"])
def test_a_service_that_lives_and_does_not_work_is_started_again(
    supervisor: Supervisor, tmp_path: Path, how: str
):
    code = SERVER.replace("time.sleep(600)\n", "time.sleep(600)\n", 1).replace(
        "\ntime.sleep(600)\n",
        "\nwhile not (folder / 'silent').exists():\n"
        "    (folder / 'sign').touch()\n"
        "    time.sleep(0.05)\n"
        "time.sleep(600)\n",
    )

    def works() -> bool:
        return time.time() - (tmp_path / "sign").stat().st_mtime < 5

    service = replace(_service(tmp_path, code), works=works)
    supervisor.start([service])
    server, child = _pids(tmp_path)
    (tmp_path / "pids").unlink()
    # Its patience has to be over before it is judged; nobody waits for it here.
    running = supervisor._running["sample"]
    running.launched -= service.patience
    if how == "stopped":
        os.kill(server, signal.SIGSTOP)
    else:
        (tmp_path / "silent").touch()
        _until(lambda: not works())
        (tmp_path / "silent").unlink()
    _until((tmp_path / "pids").exists, 60.0)
    assert server not in _pids(tmp_path)
    assert not _alive(server)
    assert not _alive(child)
    assert supervisor.failure == ""


def test_a_service_that_ends_at_once_is_named_with_its_last_words(
    supervisor: Supervisor, tmp_path: Path
):
    code = "raise SystemExit('the port is taken')"
    with pytest.raises(Unavailable, match=r"sample ended at its start.*the port is taken"):
        supervisor.start([_service(tmp_path, code)])


def test_a_service_that_never_gets_ready_is_given_up(supervisor: Supervisor, tmp_path: Path):
    code = "import time; time.sleep(600)"
    with pytest.raises(Unavailable, match="not ready"):
        supervisor.start([_service(tmp_path, code, patience=0.3)])


def test_a_service_that_keeps_dying_is_a_failure(supervisor: Supervisor, tmp_path: Path):
    code = SERVER.replace("time.sleep(600)\n", "time.sleep(600)\n", 1).replace(
        "\ntime.sleep(600)\n", "\nchild.kill()\n"
    )
    supervisor.start([_service(tmp_path, code)])
    _until(lambda: supervisor.failure != "", 60.0)
    assert "sample died" in supervisor.failure


KEEP = """
import os, sys, time, pathlib
from actverse.supervisor import Service, Supervisor
folder, code, mark = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
service = Service("sample", [sys.executable, "-c", code, str(folder)],
                  dict(os.environ), folder / "log", (folder / "pids").exists)
supervisor = Supervisor(mark)
supervisor.start([service])
(folder / "reaper.tmp").write_text(str(supervisor._reaper.pid))
(folder / "reaper.tmp").rename(folder / "reaper")
before = supervisor._reaper.pid
while supervisor._reaper.pid == before:
    time.sleep(0.01)
(folder / "again").touch()
time.sleep(600)
"""


def test_a_killed_reaper_is_started_again_and_knows_all(tmp_path: Path):
    command = [sys.executable, "-c", KEEP, str(tmp_path), BEGIN + SERVER, ""]
    process = subprocess.Popen(command)
    try:
        _until((tmp_path / "reaper").exists)
        pids = _pids(tmp_path)
        os.kill(int((tmp_path / "reaper").read_text()), signal.SIGKILL)
        _until((tmp_path / "again").exists)
    finally:
        process.kill()
        process.wait()
    _until(lambda: not any(_alive(pid) for pid in pids))


@pytest.mark.parametrize("leader", ["lives", "is gone"])
@pytest.mark.parametrize("child", ["beside it", "in a session of its own"])
def test_what_outlived_supervisor_and_reaper_is_ended_by_the_next_one(
    tmp_path: Path, leader: str, child: str
):
    own = SERVER.replace('time.sleep(600)"])', 'time.sleep(600)"], start_new_session=True)')
    code = BEGIN + (own if child != "beside it" else SERVER)
    mine, another = tmp_path / "mine", tmp_path / "another"
    mine.mkdir()
    another.mkdir()
    supervisor = Supervisor(str(mine))
    processes = [
        subprocess.Popen([sys.executable, "-c", KEEP, str(folder), code, str(folder)])
        for folder in (mine, another)
    ]
    try:
        _until(lambda: (mine / "reaper").exists() and (another / "reaper").exists())
        # So that it has no moment to start another one.
        processes[0].send_signal(signal.SIGSTOP)
        os.kill(int((mine / "reaper").read_text()), signal.SIGKILL)
        processes[0].kill()
        processes[0].wait()
        pids = _pids(mine)
        if leader == "is gone":
            os.kill(pids[0], signal.SIGKILL)
            _until(lambda: not _alive(pids[0]))
        assert _alive(pids[1]), "nobody is left to end it"
        (mine / "pids").unlink()
        supervisor.start([_service(mine)])
        assert not any(_alive(pid) for pid in pids)
        assert all(_alive(pid) for pid in (*_pids(mine), *_pids(another))), "only what it left"
    finally:
        supervisor.stop()
        for process in processes:
            process.kill()
            process.wait()
    _until(lambda: not any(_alive(pid) for pid in _pids(another)))


def test_a_log_that_is_full_is_put_aside_while_its_service_writes(tmp_path: Path):
    code = """
tell(os.getpid())
number = 0
while True:
    print(f"{number:09d} " + "x" * 90, flush=True)
    number += 1
    time.sleep(0.0002)
"""
    most, old = 20_000, 3
    supervisor = Supervisor(log_bytes=most, old_logs=old)
    log = tmp_path / "sample.log"
    oldest = tmp_path / "sample.log.3"
    supervisor.start([_service(tmp_path, code)])
    try:
        _until(oldest.exists)
        before = oldest.read_text()
        _until(lambda: oldest.read_text() != before)
    finally:
        supervisor.stop()
    assert sorted(path.name for path in tmp_path.glob("*.log*")) == [
        "sample.log", "sample.log.1", "sample.log.2", "sample.log.3",
    ]  # fmt: skip
    newest = (tmp_path / "sample.log.1").read_text().splitlines()[-2][:9]
    # The service's own file goes on where the copy has ended, at its new beginning.
    first = next(line for line in log.read_text().splitlines() if len(line) == 100)[:9]
    assert 0 < int(first) - int(newest) < 100


def test_a_killed_supervisor_leaves_no_process(tmp_path: Path):
    code = (
        "import os, sys, time, pathlib\n"
        "from actverse.supervisor import Service, Supervisor\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "service = Service('sample', [sys.executable, '-c', sys.argv[2], str(folder)],\n"
        "                  dict(os.environ), folder / 'log', (folder / 'pids').exists)\n"
        "Supervisor().start([service])\n"
        "(folder / 'started').touch()\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), BEGIN + SERVER])
    try:
        _until((tmp_path / "started").exists)
        pids = _pids(tmp_path)
    finally:
        process.kill()
        process.wait()
    _until(lambda: not any(_alive(pid) for pid in pids))


# A server that leaves shared memory behind, as Triton's stubs do when they are killed.
LEAVES = """
for number in range(3):
    pathlib.Path(f"/dev/shm/{sys.argv[2]}{number}").write_text("a frame")
tell(os.getpid())
time.sleep(600)
"""


def _leaving(folder: Path, prefix: str) -> Service:
    service = _service(folder, LEAVES)
    return replace(service, argv=[*service.argv, prefix], shared_memory=prefix)


def _left(prefix: str) -> list[Path]:
    return list(SHARED_MEMORY.glob(f"{prefix}*"))


def test_shared_memory_of_a_killed_service_is_removed_before_it_is_started_again(
    supervisor: Supervisor, tmp_path: Path
):
    prefix = f"actverse_test_{os.getpid()}_{tmp_path.name}_"
    supervisor.start([_leaving(tmp_path, prefix)])
    first = _left(prefix)[0].stat().st_ino
    (pid,) = _pids(tmp_path)
    (tmp_path / "pids").unlink()
    os.kill(pid, signal.SIGKILL)
    _until((tmp_path / "pids").exists)
    assert len(_left(prefix)) == 3
    assert first not in {path.stat().st_ino for path in _left(prefix)}
    supervisor.stop()
    assert _left(prefix) == []


def test_a_killed_supervisor_leaves_no_shared_memory_of_its_own(tmp_path: Path):
    """Its reaper removes it; that of others stays."""
    prefix = f"actverse_test_{os.getpid()}_killed_"
    other = SHARED_MEMORY / f"actverse_test_{os.getpid()}_other"
    other.write_text("of somebody else")
    code = (
        "import os, sys, time, pathlib\n"
        "from actverse.supervisor import Service, Supervisor\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "service = Service('sample', [sys.executable, '-c', *sys.argv[2:]], dict(os.environ),\n"
        "                  folder / 'log', (folder / 'pids').exists, shared_memory=sys.argv[4])\n"
        "Supervisor().start([service])\n"
        "(folder / 'started').touch()\n"
        "time.sleep(600)\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path), BEGIN + LEAVES, str(tmp_path), prefix]
    process = subprocess.Popen(argv)
    try:
        _until((tmp_path / "started").exists)
        assert len(_left(prefix)) == 3
    finally:
        process.kill()
        process.wait()
    try:
        _until(lambda: not _left(prefix))
        assert other.exists()
    finally:
        other.unlink()
