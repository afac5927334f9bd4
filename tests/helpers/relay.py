"""A TCP relay for tests: a server behind it can be cut off, and hang, without being ended."""

import socket
import threading
from contextlib import suppress


class Relay:
    """Passes on to a port of the loopback what comes to ``port``, as long as it may."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener: socket.socket | None = None
        self._ends: list[socket.socket] = []
        self._flows = threading.Event()
        self._flows.set()
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            self.port: int = holder.getsockname()[1]

    def open(self) -> None:
        """Take connections."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Take no connections any more, and cut those that are."""
        if self._listener is not None:
            _end(self._listener)
            self._listener = None
        self.cut()

    def cut(self) -> None:
        """Cut the connections that are; new ones are taken."""
        ends, self._ends = self._ends, []
        for end in ends:
            _end(end)

    def hang(self) -> None:
        """Keep connections, and pass nothing on."""
        self._flows.clear()

    def flow(self) -> None:
        """Pass everything on again."""
        self._flows.set()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                self._flows.wait()
                sink.sendall(content)
        _end(source)
        _end(sink)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
