"""Limits on connections, before any request of theirs is known: size and time of a head.

uvicorn's parser takes headers of any size and waits for them for ever, so one client without
a key could fill the gateway's memory, or its file descriptors. ``LimitedProtocol`` stands in
for uvicorn's own protocol (``SERVER_ARGUMENTS``) and ends such connections with a problem
document:

- 414 and 431 where a request's address or headers are too large, trailers included;
- 400 where a chunk's extension has no end, and where HTTP itself is broken;
- 408 where a head takes too long. A body whose answer is out has as long to end.

There may be so many connections and no more. When one more comes, the oldest *strangers* are
closed: connections between requests, or whose request comes from nobody known. So strangers
push out each other and never a client with a key, and it does not matter that all clients have
one address where a proxy stands in front. Who is slow and has a key is left alone.

What a body may be is for ``gateway.limits``, and for ``gateway.uploads``.
"""

import asyncio
import heapq
import resource
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.problems import problem

# What every server of the gateway is started with.
SERVER_ARGUMENTS = ("--http", "gateway.http_limits:LimitedProtocol")

_WANTED_CONNECTIONS = 1000
# An answer is to reach a client that is still sending: it is heard out for a moment.
_HEARD_SECONDS, _HEARD_BYTES = 2.0, 2**20


def most_connections() -> int:
    """So many that as many files can be open beside them."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _WANTED_CONNECTIONS if files < 0 else min(_WANTED_CONNECTIONS, files // 2)


class _Refusal(NamedTuple):
    status: int
    kind: str
    detail: str


_BROKEN = _Refusal(400, "BadInput", "The request is not valid HTTP: send HTTP/1.1.")
_LATE = _Refusal(408, "RequestTimeout", "The request did not come in time: send it at once.")
_LONG_URL = _Refusal(414, "UriTooLong", "The request's address is too long: shorten it.")
_LARGE_HEAD = _Refusal(
    431, "RequestHeaderFieldsTooLarge", "The request's headers are too large: send fewer."
)
_LARGE_FRAMES = _Refusal(
    400, "BadInput", "The body's chunks have extensions that are too long: leave them out."
)
_FULL = _Refusal(503, "Unavailable", "The gateway has too many connections: try again later.")


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits; see the module.

    Attributes:
        HEAD_BYTES: of a request's address and headers, and of its trailers.
        HEADER_LINES: the most headers and trailers of a request.
        URL_BYTES: of its address.
        HEAD_SECONDS: from the connection, or the head's first byte, to the head's end.
        QUEUED_REQUESTS: that wait for the answer to one before them (pipelining).
        CONNECTIONS: of all clients together.
    """

    HEAD_BYTES = 64 * 1024
    HEADER_LINES = 100
    URL_BYTES = 32 * 1024
    HEAD_SECONDS = 10.0
    QUEUED_REQUESTS = 16
    CONNECTIONS = most_connections()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Since when it has been a stranger's.
        self.since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = self._header_lines = 0
        self._head_begun = self._head_complete = False
        # Bytes since the parser last made something of them, apart from headers.
        self._pending, self._moved = 0, False
        self._fault: _Refusal | None = None
        self._refused, self._heard = False, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or close old ones for it."""
        super().connection_made(transport)
        self.since = self.loop.time()
        self._start_timer()
        if len(self.connections) > self.CONNECTIONS and not self._make_room():
            self._refuse(_FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless there is too much that leads to nothing."""
        if self._refused:
            self._heard += len(data)
            if self._heard > _HEARD_BYTES:
                self.transport.abort()
            return
        if self._timer is None and not self._answering():
            self._start_timer()
        self._moved = False
        super().data_received(data)
        self._pending = 0 if self._moved else self._pending + len(data)
        if self._pending > self.HEAD_BYTES:
            self._refuse(_LARGE_FRAMES if self._head_complete else _LARGE_HEAD)

    def on_message_begin(self) -> None:
        """Begin to count a request."""
        self._moved = self._head_begun = True
        self._head_complete = False
        self._head_bytes = self._header_lines = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        super().on_url(url)
        if len(self.url) > self.URL_BYTES:
            self._break_off(_LONG_URL)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._header_lines += 1
        self._head_bytes += len(name) + len(value) + len(b": \r\n")
        if self._header_lines > self.HEADER_LINES or self._head_bytes > self.HEAD_BYTES:
            self._break_off(_LARGE_HEAD)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._moved = self._head_complete = True
        self._stop_timer()
        super().on_headers_complete()
        if len(self.pipeline) > self.QUEUED_REQUESTS:
            self._break_off(_BROKEN)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the request's end."""
        self._moved, self._head_begun = True, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.since = self.loop.time()
        super().on_response_complete()
        if self._head_begun and not self._head_complete and self._timer is None:
            # It came while the one before it was answered.
            self._unset_keepalive_if_required()
            self._start_timer()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection on; it is as old as it was."""
        super().handle_websocket_upgrade()
        # Of another class of uvicorn's, which one depends on what is installed.
        vars(self.transport.get_protocol())["since"] = self.since

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, or was broken off."""
        self._refuse(self._fault or _BROKEN)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _break_off(self, fault: _Refusal) -> None:
        """End the parsing; whoever feeds the parser calls ``send_400_response`` then."""
        self._fault = fault
        raise ValueError(fault.detail)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.HEAD_SECONDS, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self._head_begun and not self._head_complete:
            self._refuse(_LATE)
        else:
            self.transport.close()

    def _refuse(self, refusal: _Refusal) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_timer()
        if self._answering():
            # What is on its way would be taken for a part of the answer.
            self.transport.abort()
            return
        answer = problem(*refusal, headers={"Connection": "close"})
        head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
        self.transport.write(STATUS_LINE[refusal.status] + head + b"\r\n" + bytes(answer.body))
        if self.transport.can_write_eof():
            # Closed at once, the system would tell the client of a broken connection instead.
            self.transport.write_eof()
            self._timer = self.loop.call_later(_HEARD_SECONDS, self.transport.abort)
        else:
            self.transport.close()

    def _make_room(self) -> bool:
        strangers = [one for one in self.connections if one is not self and _is_a_strangers(one)]
        # Several, so that a flood of connections does not have us look through all for each.
        several = max(1, self.CONNECTIONS // 16)
        for one in heapq.nsmallest(several, strangers, key=_stranger_since):
            one.transport.abort()
        return bool(strangers)


def _is_a_strangers(connection: Any) -> bool:
    if connection.transport.is_closing():
        return False
    if isinstance(connection, HttpToolsProtocol):
        cycle = connection.cycle
        if cycle is None or cycle.response_complete:
            return True
        scope: Any = cycle.scope
    else:
        scope = getattr(connection, "scope", {})
    # Put there by ``gateway.api.dependencies.admit``.
    return "caller" not in scope.get("state", {})


def _stranger_since(connection: Any) -> float:
    since: float = vars(connection).get("since", 0.0)
    return since
