"""A web server whose answers a test scripts, and which remembers what came."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.helpers.web import Answer, body, serving


class ScriptedWeb:
    """Answers by path; what was not scripted is answered with 200 and nothing.

    Attributes:
        scripts: for each path the answers in their order; the last one is repeated.
        requests: what came, by path: the bodies of POSTs, nothing for a GET.
    """

    def __init__(self) -> None:
        self.port = 0
        self.scripts: dict[str, list[Answer]] = {}
        self.requests: dict[str, list[bytes]] = defaultdict(list)
        self.closing = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.partition("?")[0]
        self.requests[path].append(handler.content)  # type: ignore[attr-defined]
        script = self.scripts.get(path, [body(b"")])
        (script.pop(0) if len(script) > 1 else script[0])(handler)

    def endless(self, chunk: bytes, seconds: float) -> Answer:
        """An answer that sends ``chunk`` every so many seconds until the server is closed."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            try:
                handler.wfile.write(chunk)
                while not self.closing.wait(seconds):
                    handler.wfile.write(chunk)
            except OSError:
                return

        return answer


@contextmanager
def scripted_web() -> Iterator[ScriptedWeb]:
    """A server while the block runs."""
    web = ScriptedWeb()
    with serving(web.answer) as server:
        web.port = server.server_port
        try:
            yield web
        finally:
            web.closing.set()
