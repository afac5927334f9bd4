"""Arguments and shared memory that are their owner's alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.serving import private_start

SCRIPT = private_start.__file__
# Says what it was given, and when it is told to: it stays for the look at its command line.
PROGRAM = """
import json, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(json.dumps({"pid": os.getpid(), "argv": sys.argv[1:]}), flush=True)
while True:
    signal.pause()
"""


def _start(arguments: list[str], hidden: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", SCRIPT, sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, **hidden},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("arguments", "hidden", "given"),
    [
        (["@hidden:ONE"], {"ONE": "kept-secret"}, ["kept-secret"]),
        (["a", "@hidden:ONE", "b"], {"ONE": "kept-secret" * 500}, ["a", "kept-secret" * 500, "b"]),
        # A name that another one begins or ends with, and one whose value looks like an entry.
        (
            ["@hidden:ONE", "@hidden:ONE_MORE", "@hidden:NONE"],
            {"NONE": "ONE=kept-secret-0", "ONE": "kept-secret-1", "ONE_MORE": "kept-secret-2"},
            ["kept-secret-1", "kept-secret-2", "ONE=kept-secret-0"],
        ),
        (["@hidden:ONE"], {"ONE": ""}, [""]),
        (["nothing"], {"ONE": "kept-secret"}, ["nothing"]),
    ],
)
def test_program_gets_what_its_command_line_never_shows(
    arguments: list[str], hidden: dict[str, str], given: list[str]
):
    with _start(arguments, hidden) as process:
        # From its first moment on: the launcher, the moment of the exec, the program.
        seen = {_command_line(process.pid)}
        deadline = time.monotonic() + 30
        while not any(
            line.endswith(b"\0".join(a.encode() for a in arguments) + b"\0")
            for line in seen
            if SCRIPT.encode() not in line
        ):
            assert time.monotonic() < deadline
            seen.add(_command_line(process.pid))
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        seen.add(_command_line(process.pid))
        assert said == {"pid": process.pid, "argv": given}
        assert len(seen) >= 2
        assert not [line for line in seen if b"kept-secret" in line]
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "TracerPid:\t0\n" in status
        # Its signals reach it, and it has no child that it does not know of.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        assert children == ""
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 7


def test_a_system_that_forbids_tracing_is_told_of_and_nothing_is_started(tmp_path: Path):
    """A process may not be traced by two: the one that traces the launcher stands for the ban."""
    code = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
child = os.fork()
if child == 0:
    libc.ptrace(0, 0, 0, 0)  # PTRACE_TRACEME
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
    number = os.WSTOPSIG(status)
    libc.ptrace(7, child, 0, 0 if number == 5 else number)  # PTRACE_CONT
"""
    started = tmp_path / "started"
    program = f"open({str(started)!r}, 'w')"
    argv = [sys.executable, "-I", "-S", SCRIPT, sys.executable, "-c", program, "@hidden:ONE"]
    ended = subprocess.run(
        [sys.executable, "-c", code, *argv],
        env={**os.environ, "ONE": "kept-secret"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1
    assert "kernel.yama.ptrace_scope" in ended.stderr
    assert "kept-secret" not in ended.stderr
    assert not started.exists()


def test_what_the_program_makes_is_its_owners_also_where_it_opens_it(tmp_path: Path):
    code = """
import os, subprocess, sys
made = [sys.argv[1], sys.argv[1] + "_by_a_child"]
make = "import os, sys; os.fchmod(os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o644), 0o644)"
sys.argv[1:] = made[:1]
exec(make)
subprocess.run([sys.executable, "-c", make, made[1]], check=True)
"""
    path = tmp_path / "region"
    subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, sys.executable, "-c", code, str(path)],
        check=True,
        timeout=30,
    )
    for made in (path, tmp_path / "region_by_a_child"):
        assert made.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["/bin/true", "@hidden:NOT_THERE"], "NOT_THERE"),
        (["/nowhere/program", "@hidden:HOME"], "/nowhere/program cannot be started"),
    ],
)
def test_what_cannot_be_started_is_named(argv: list[str], said: str):
    ended = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, *argv], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 1
    assert said in ended.stderr
