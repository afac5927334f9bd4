"""Functions in child processes that begin at once: forked from a server that has all modules.

A fresh interpreter takes seconds to import what a step needs, a fork some milliseconds. The
server has one thread, so that a fork takes no lock with it; it keeps each child's limits, and
ends what a child has started. It ends when who has started it does, however that ends. Is it
ended itself, its children end with it, and the next call starts another.

python -m components.fork_server
"""

import contextlib
import gc
import importlib
import json
import logging
import math
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from components.child_process import (
    LOOK_SECONDS,
    UNLIMITED,
    ChildEnded,
    End,
    Family,
    Limit,
    Limits,
    adopt_strays,
    answer_of,
    die_with_parent,
    name_of,
    take_answer,
)
from components.errors import Unavailable

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""What a child that is told to end may take for it."""
_START_SECONDS = 120.0
"""What the server may take for its imports."""
_IDLE_SECONDS = 1.0
"""How long it has had nothing to do before it imports what may be needed later."""
_TRIES = 3
"""How often a child is asked for while the server is ended each time."""
_MAX_MESSAGE = 64 * 1024
_MAX_ANSWER = 16 * 2**20
_END, _KILL = b"T", b"K"


class ForkServer:
    """Runs functions in children of a server process; its calls may come from many threads.

    Args:
        modules: what the server imports before its first fork.
        later: what it imports while it has nothing else to do.
        begin: a module's function that the server calls after that, once.
        environment: the whole of the server's; this process's by default.
        patience: seconds that it may take to fork, also while it imports, and to end a child
            after its grace; one that takes longer hangs, and is replaced.
    """

    def __init__(
        self,
        modules: Sequence[str],
        later: Sequence[str] = (),
        begin: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
        patience: float = 60.0,
    ) -> None:
        self._patience = patience
        named = (modules, later, [name_of(begin)] if begin is not None else [])
        self._begins_with = [",".join(names) for names in named]
        self._environment = None if environment is None else dict(environment)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int:
        """The server's process id; 0 while there is none."""
        process = self._process
        return process.pid if process is not None else 0

    def start(self) -> None:
        """Start the server now rather than at the first call; one that runs is left alone.

        Raises:
            Unavailable: if it ends at its start, or does not come to its end.
        """
        with self._lock:
            self._running()

    def stop(self) -> None:
        """End the server with all of its children; a later call starts another."""
        with self._lock:
            self._stop()

    def call(
        self,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        limits: Limits = UNLIMITED,
        look: Callable[[], None] = lambda: None,
    ) -> Any:
        """Return what a function returns that runs in a child, as ``call_apart`` does.

        A child whose time is over, or that is not wanted any longer, gets SIGTERM first, which
        ends its function by SystemExit; after a grace it is killed.

        Raises:
            ActverseError: what the function raised, if it is one of ours.
            ChildEnded: if it gave no answer.
            Unavailable: if the server does not start.
        """
        for _ in range(_TRIES):
            child = self._begin(function, arguments, limits)
            try:
                end = self._follow(child, look)
            finally:
                child.close()
            if end.code == 0 and child.answer:
                return take_answer(json.loads(child.answer), end)
            # Where no word came of it, it was the server that was ended, as it took the request.
            if child.begun:
                break
        raise ChildEnded(f"{function.__name__} gave no answer: {end}.", end)

    def _begin(
        self, function: Callable[..., Any], arguments: Mapping[str, Any], limits: Limits
    ) -> "_Called":
        request = {
            "function": name_of(function),
            "arguments": dict(arguments),
            "limits": {k: v for k, v in vars(limits).items() if v != math.inf},
        }
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        with theirs, os.fdopen(writing, "wb"), self._lock:
            try:
                control, process = self._running()
            except BaseException:
                ours.close()
                os.close(reading)
                raise
            child = _Called(process, ours, reading)
            try:
                socket.send_fds(control, [json.dumps(request).encode()], [theirs.fileno(), writing])
            except OSError:
                # It is about to end, or hangs: the next try is another one's.
                logger.warning("the fork server %d takes no request; it is ended", process.pid)
                self._stop()
        return child

    def _follow(self, child: "_Called", look: Callable[[], None]) -> End:
        """Wait for a child's end."""
        try:
            if not child.wait(self._patience, lambda: child.begun):
                self._give_up(child)
            while not child.over:
                child.wait(LOOK_SECONDS)
                look()
        except BaseException:
            if not child.over:
                child.tell(_END)
                if not child.wait(GRACE_SECONDS + self._patience):
                    self._give_up(child)
            raise
        return child.end

    def _give_up(self, child: "_Called") -> None:
        """End a server that does not do as it is told: it keeps no other child's limits either."""
        logger.error("the fork server %d does not answer; it is ended", child.server.pid)
        with self._lock:
            if self._process is child.server:
                self._stop()
        child.over = True

    def _running(self) -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
        if self._process is not None and _has_ended(self._process):
            logger.warning("the fork server %d is gone; another one is started", self._process.pid)
            self._stop()
        if self._process is None or self._control is None:
            self._process, self._control = self._launch()
        return self._control, self._process

    def _launch(self) -> tuple["subprocess.Popen[bytes]", socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-X", "faulthandler", "-m", __name__),
                    *(str(theirs.fileno()), *self._begins_with),
                ],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Its children are its group: so they can be ended when it is gone itself.
                start_new_session=True,
            )
        ours.settimeout(_START_SECONDS)
        try:
            ready = ours.recv(_MAX_MESSAGE)
        except TimeoutError:
            ready = b""
        ours.settimeout(self._patience)
        if not ready:
            _end(process)
            ours.close()
            raise Unavailable(
                f"The server of child processes did not start (code {process.returncode}): read "
                "the worker's log."
            )
        return process, ours

    def _stop(self) -> None:
        if self._process is not None:
            _end(self._process)
        if self._control is not None:
            self._control.close()
        self._process = self._control = None


class _Called:
    """A child as its caller sees it: the server's words of it, and its answer."""

    def __init__(
        self, server: "subprocess.Popen[bytes]", channel: socket.socket, reading: int
    ) -> None:
        self.server = server
        self.begun = self.over = False
        self.end = End(-signal.SIGKILL)
        self._channel, self._reading = channel, reading
        self._said, self._answer = b"", bytearray()
        self._open = {channel.fileno(), reading}
        os.set_blocking(reading, False)

    @property
    def answer(self) -> bytes:
        return bytes(self._answer)

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Take in what comes until its end, or ``until``; False if neither is there in time."""
        deadline = time.monotonic() + seconds
        while not (self.over or until()):
            left = deadline - time.monotonic()
            if left < 0:
                return False
            with selectors.DefaultSelector() as selector:
                for number in self._open:
                    selector.register(number, selectors.EVENT_READ)
                for key, _ in selector.select(left):
                    self._take(key.fd)
        while self.over and self._reading in self._open and self._take(self._reading):
            pass
        return True

    def tell(self, what: bytes) -> None:
        """Say something to the server, which may be gone."""
        with contextlib.suppress(OSError):
            self._channel.send(what)

    def close(self) -> None:
        """Let go of it; the server ends it if it still runs."""
        self._channel.close()
        os.close(self._reading)

    def _take(self, number: int) -> bool:
        try:
            data = os.read(number, _MAX_MESSAGE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._open.discard(number)
            # The server's own end is the end of its children.
            self.over = self.over or number != self._reading
        elif number == self._reading:
            if len(self._answer) <= _MAX_ANSWER:
                self._answer += data
        else:
            self._hear(data)
        return bool(data)

    def _hear(self, data: bytes) -> None:
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "code" in told:
                limit = Limit(told["limit"]) if told["limit"] else None
                self.end, self.over = End(told["code"], limit), True
            self.begun = True


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a child of ours has ended; it stays to be waited for."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return process.returncode is not None or os.waitid(os.P_PID, process.pid, flags) is not None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a server and its group, while its number is its own."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


@dataclass
class _Child:
    """A child as the server sees it."""

    pid: int
    pidfd: int
    channel: socket.socket
    limits: Limits
    family: Family
    begun: float
    limit: Limit | None = None
    told_to_end: float = math.inf

    def end(self) -> None:
        """Ask it to end, once."""
        if self.told_to_end == math.inf:
            self.told_to_end = time.monotonic()
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and what it has started."""
        self.family.end()

    def keep_limits(self) -> None:
        """Look whether it has to end, and end it."""
        if time.monotonic() - self.told_to_end > GRACE_SECONDS:
            self.kill()
        elif self.limit is None:
            self.limit = self.family.reached(self.limits, self.begun)
            if self.limit is Limit.SECONDS:
                self.end()
            elif self.limit is not None:
                self.kill()


class _Server:
    """The server's own side."""

    def __init__(self, control: socket.socket, later: list[str]) -> None:
        self._control = control
        self._later = later
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._children: dict[int, _Child] = {}

    def run(self) -> None:
        """Serve until who has started this is gone; then end everything."""
        try:
            while True:
                timeout = LOOK_SECONDS if self._children else _IDLE_SECONDS
                told = self._selector.select(timeout if self._children or self._later else None)
                if not told and not self._children:
                    importlib.import_module(self._later.pop(0))
                    _freeze()
                for key, _ in told:
                    if key.fileobj is self._control:
                        if not self._fork():
                            return
                    elif key.data is not None and key.data.pid in self._children:
                        self._hear(key.data, key.fd)
                for child in list(self._children.values()):
                    child.keep_limits()
        finally:
            for child in self._children.values():
                child.kill()
            self._end_strays()

    def _fork(self) -> bool:
        request, numbers, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE, 2)
        if not request:
            return False
        channel, writing = socket.socket(fileno=numbers[0]), numbers[1]
        work = json.loads(request)
        sys.stdout.flush()
        sys.stderr.flush()
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._forget()
            channel.close()
            _work(work, writing, server)
        os.close(writing)
        child = _Child(
            pid,
            os.pidfd_open(pid),
            channel,
            Limits(**work["limits"]),
            Family(pid),
            time.monotonic(),
        )
        self._children[pid] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)
        self._selector.register(channel, selectors.EVENT_READ, child)
        self._say(child, {"pid": pid})
        return True

    def _forget(self) -> None:
        """Close in a child what is the server's."""
        self._selector.close()
        self._control.close()
        for child in self._children.values():
            child.channel.close()
            os.close(child.pidfd)

    def _hear(self, child: _Child, number: int) -> None:
        if number == child.pidfd:
            self._ended(child)
            return
        try:
            told = child.channel.recv(1)
        except OSError:
            told = b""
        if told == _END:
            child.end()
        elif told == _KILL or not told:
            child.kill()
        if not told:
            self._selector.unregister(child.channel)

    def _ended(self, child: _Child) -> None:
        # Until it is waited for, its number is nobody else's.
        child.kill()
        _, status = os.waitpid(child.pid, 0)
        del self._children[child.pid]
        self._end_strays()
        code = os.waitstatus_to_exitcode(status)
        self._say(child, {"code": code, "limit": child.limit})
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.channel)
        child.channel.close()

    def _end_strays(self) -> None:
        """End what an ended child has left: the kernel has given it to this process."""
        for _ in range(10):
            strays = [one for one in psutil.Process().children() if one.pid not in self._children]
            if not strays:
                return
            for stray in strays:
                Family(stray.pid).end()
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(stray.pid, os.WNOHANG)

    @staticmethod
    def _say(child: _Child, what: dict[str, Any]) -> None:
        # Who does not listen any longer has let go of it.
        with contextlib.suppress(OSError):
            child.channel.send(json.dumps(what).encode() + b"\n")


def _work(work: dict[str, Any], writing: int, server: int) -> None:
    """Be a child: answer and end."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        die_with_parent(server)
        if "numpy" in sys.modules:
            # Python's own random numbers are others after a fork, these would be the same.
            sys.modules["numpy"].random.seed()
        function = pkgutil.resolve_name(work["function"])
        answer = json.dumps(answer_of(lambda: function(**work["arguments"]))).encode()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        logger.exception("a child process broke")
    finally:
        # What is left of the server in it must not be cleaned up twice.
        os._exit(code)


def do_nothing() -> None:
    """Do nothing: a child that has done it shows that children can be had."""


def _freeze() -> None:
    """Let the collector leave alone what is here: it would copy its pages in each child."""
    gc.collect()
    gc.freeze()


def _main(number: int, modules: str, later: str, begin: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for module in modules.split(",") if modules else ():
        importlib.import_module(module)
    if begin:
        pkgutil.resolve_name(begin)()
    # The kernel gives to this process what its children leave.
    adopt_strays()
    _freeze()
    with socket.socket(fileno=number) as control:
        control.send(b"ready")
        _Server(control, later.split(",") if later else []).run()


if __name__ == "__main__":
    _main(int(sys.argv[1]), *sys.argv[2:])
