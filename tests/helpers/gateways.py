"""A real gateway on the loopback, in a thread of the test's own process."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from gateway.http_limits import LimitedProtocol
from tests.helpers.servers import wait_until


@dataclass(frozen=True)
class Told:
    """A message of a task's stream; ``data`` is what its JSON says."""

    event: str
    id: int
    data: dict[str, Any]


@contextmanager
def running_gateway(
    app: FastAPI, port: int = 0, http: type[LimitedProtocol] = LimitedProtocol
) -> Iterator[str]:
    """The base URL of ``app`` behind a real server, on a free port if none is given."""
    listener = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=http,
            log_level="warning",
            timeout_graceful_shutdown=1,
            ws_ping_interval=None,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), what="the gateway")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def event_stream(url: str, key: str, after: int | None = None) -> Iterator[Iterator[Told | str]]:
    """The messages of a stream of server-sent events, as they come; comments as text."""
    headers = {"X-API-Key": key}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    with httpx.stream("GET", url, headers=headers, timeout=30) as answer:
        answer.read() if answer.status_code != 200 else None
        answer.raise_for_status()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield parsed_events(answer.iter_lines())


def parsed_events(lines: Iterator[str]) -> Iterator[Told | str]:
    """Server-sent events from their lines."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield line
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "data" in fields:
                yield Told(fields["event"], int(fields["id"]), json.loads(fields["data"]))
            fields = {}
