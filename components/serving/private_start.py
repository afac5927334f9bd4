"""Starts a program whose secret arguments and shared memory no other account can read.

``python private_start.py PROGRAM ARGUMENT…``, where an argument ``@hidden:NAME`` stands for
the value of the environment variable NAME. Standard library only: it runs by its file's path.

**Arguments.** A program's command line (``/proc/PID/cmdline``) is open to every account of a
machine, its environment to the account that runs it. A program that takes a secret as an
argument only, as tritonserver does, is therefore started with the placeholder. Before it runs
its first instruction, a helper that traces it points that argument at the value in the
environment. At no moment is the value in the command line. The process keeps its id, and nobody
stands between it and its signals; the helper ends before the program begins.

Where the system forbids tracing, the program is not started: an error says what to do.

**Shared memory.** The library by which Triton and its stubs share memory opens every region to
all accounts: it calls fchmod, so that a umask does not count. In it lie the frames of people's
videos. For the program and all that it starts, the system answers that call without doing
anything (seccomp), and the umask decides: the owner alone.
"""

import contextlib
import ctypes
import os
import struct
import sys
from typing import NoReturn

PLACEHOLDER = "@hidden:"
"""What an argument begins with that stands for an environment variable's value."""

_PR_SET_PTRACER = 0x59616D61
_PTRACE_CONT, _PTRACE_DETACH = 7, 17
_PTRACE_SEIZE, _PTRACE_LISTEN = 0x4206, 0x4208
_TRACE_EXEC, _EXITKILL = 0x10, 0x100000
_EVENT_EXEC, _EVENT_STOP = 4, 128
_ALL_CHILDREN = 0x40000000  # __WALL
_WORD = struct.calcsize("P")

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_ALLOW, _ANSWER_0 = 0x7FFF0000, 0x00050000
# By machine: the name of its calls, and the number of fchmod among them.
_FCHMOD = {"x86_64": (0xC000003E, 91), "aarch64": (0xC00000B7, 52)}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def launch(argv: list[str]) -> NoReturn:
    """Become the program ``argv[0]``, with the values that its placeholders name.

    It ends with a sentence where the system does not let the arguments be hidden.
    """
    hidden = {
        index: argument.removeprefix(PLACEHOLDER)
        for index, argument in enumerate(argv)
        if argument.startswith(PLACEHOLDER)
    }
    for name in hidden.values():
        if name not in os.environ:
            _give_up(f"The variable {name}, which an argument is to be taken from, is not set.")
    if hidden:
        _let_be_traced(hidden)
    os.umask(0o077)
    _ignore_fchmod()
    try:
        os.execv(argv[0], argv)  # noqa: S606 (a list, and no shell)
    except OSError as error:
        _give_up(f"{argv[0]} cannot be started: {error.strerror}.")


def _ignore_fchmod() -> None:
    """Let fchmod do nothing in this process and all that it becomes and starts."""
    machine = os.uname().machine
    if machine not in _FCHMOD:
        _give_up(f"Triton is for {' and '.join(_FCHMOD)}; this is a {machine}.")
    calls, fchmod = _FCHMOD[machine]
    load, equal, answer = 0x20, 0x15, 0x06
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (load, 0, 0, 4),  # whose calls
            (equal, 0, 3, calls),
            (load, 0, 0, 0),  # which call
            (equal, 0, 1, fchmod),
            (answer, 0, 0, _ANSWER_0),
            (answer, 0, 0, _ALLOW),
        )
    )
    held = ctypes.create_string_buffer(program)
    asked = struct.pack("HP", len(program) // 8, ctypes.addressof(held))
    asking = ctypes.create_string_buffer(asked)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if _libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.addressof(asking), 0, 0) < 0:
        _give_up(
            "Triton's shared memory cannot be kept from other accounts: the system refuses a "
            f"filter of its calls ({os.strerror(ctypes.get_errno())}). Use a kernel with seccomp."
        )


def _let_be_traced(hidden: dict[int, str]) -> None:
    """Return once a helper traces this process; it acts when this process becomes another."""
    program = os.getpid()
    named, name = os.pipe()
    permitted, permit = os.pipe()
    answered, answer = os.pipe()
    between = os.fork()
    if between == 0:
        # The helper is nobody's child, so that the program has none that it does not know of.
        if (helper := os.fork()) != 0:
            os.write(name, str(helper).encode())
            os._exit(0)
        for one in (named, name, permit, answered):
            os.close(one)
        os._exit(_help(program, hidden, permitted, answer))
    os.waitpid(between, 0)
    helper = int(os.read(named, 32))
    # Where a process may be traced by its parent alone (Yama), it may still name another.
    _libc.prctl(_PR_SET_PTRACER, helper, 0, 0, 0)
    os.close(answer)
    os.write(permit, b"1")
    said = os.read(answered, 4096).decode()
    if said != "ok":
        _give_up(
            f"Triton's key cannot be kept out of the process list: {said or 'the helper ended'}. "
            "The system must let a process trace its own kind: set the sysctl "
            "kernel.yama.ptrace_scope to 0 or 1, and in a container allow the system call ptrace."
        )
    for one in (named, name, permitted, permit, answered):
        os.close(one)


def _help(program: int, hidden: dict[int, str], permitted: int, answer: int) -> int:
    """The helper: waits until ``program`` executes the other one, and sets its arguments."""
    os.read(permitted, 1)
    # Should the helper die half-way, the program dies with it.
    if _ptrace(_PTRACE_SEIZE, program, 0, _TRACE_EXEC | _EXITKILL) < 0:
        os.write(answer, os.strerror(ctypes.get_errno()).encode())
        return 1
    os.write(answer, b"ok")
    os.close(answer)
    while True:
        _, status = os.waitpid(program, _ALL_CHILDREN)
        if not os.WIFSTOPPED(status):
            return 1  # it ended before it became another
        event, number = status >> 16, os.WSTOPSIG(status)
        if event == _EVENT_EXEC:
            set_arguments(program, hidden)
            _ptrace(_PTRACE_DETACH, program, 0, 0)
            return 0
        if event == _EVENT_STOP:
            _ptrace(_PTRACE_LISTEN, program, 0, 0)
        else:
            _ptrace(_PTRACE_CONT, program, 0, number)  # the signal that it was sent


def set_arguments(pid: int, hidden: dict[int, str]) -> None:
    """Let the arguments of a stopped process be the values in its own environment.

    Args:
        pid: one that this process traces, before its first instruction.
        hidden: the variable's name for the place of each argument.
    """
    with open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123
        # The name, the second field, may hold blanks and brackets.
        fields = stream.read().rpartition(b")")[2].split()
    start_stack, env_start, env_end = (int(fields[number - 3]) for number in (28, 50, 51))
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:  # noqa: PTH123
        memory.seek(env_start)
        environment = memory.read(env_end - env_start)
        for place, name in hidden.items():
            entry = b"\0" + name.encode() + b"="
            offset = (b"\0" + environment).index(entry) + len(entry) - 1
            # The stack begins with the number of arguments, then their addresses.
            memory.seek(start_stack + _WORD * (1 + place))
            memory.write(struct.pack("P", env_start + offset))


def _ptrace(request: int, pid: int, address: int, data: int) -> int:
    return int(_libc.ptrace(request, pid, address, data))


def _give_up(sentence: str) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"{sentence}\n".encode())
    sys.exit(1)


if __name__ == "__main__":
    launch(sys.argv[1:])
