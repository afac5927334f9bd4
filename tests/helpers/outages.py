"""An MLflow server that is killed in the middle of a request, and started again."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from tests.helpers.servers import free_ports, running_mlflow


class MortalMlflow:
    """A real MLflow server behind a line that knows what is asked: ``uri`` is the line's.

    ``kill_at`` arms a moment: the server is killed when the words are on their way to it, before
    they reach it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._target, self.port = free_ports(2)
        self.uri = f"http://127.0.0.1:{self.port}"
        self.killed = threading.Event()
        self._words: bytes = b""
        self._server: ExitStack | None = None
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def start(self) -> None:
        """Start it, again or for the first time."""
        self._end()
        self._server = ExitStack()
        self._server.enter_context(running_mlflow(self._folder, self._target))

    def kill_at(self, words: str) -> None:
        """Kill it at the next request with these words in it."""
        self.killed.clear()
        self._words = words.encode()

    def kill(self) -> None:
        """Kill it and its workers."""
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or [])
            if str(self._folder / "mlflow.db") in words:
                with suppress(ProcessLookupError):
                    os.killpg(os.getpgid(process.pid), signal.SIGKILL)
        self.killed.set()

    def stop(self) -> None:
        """End it, and the line to it."""
        self._listener.close()
        self._end()

    def _end(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                for source, sink, look in ((near, far, self._look), (far, near, _pass_on)):
                    arguments = (source, sink, look)
                    threading.Thread(target=_pass, args=arguments, daemon=True).start()

    def _look(self, content: bytes) -> None:
        if self._words and self._words in content:
            self._words = b""
            self.kill()


def _pass_on(content: bytes) -> None:
    """An answer is not looked at."""


def _pass(source: socket.socket, sink: socket.socket, look: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while content := source.recv(1 << 20):
            look(content)
            sink.sendall(content)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
