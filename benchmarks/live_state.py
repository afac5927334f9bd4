"""200 watchers of one task and 500 GET /status a second: what a gateway makes of them.

A real gateway process on a SQLite database of its own; this process writes the progress of a
task, five times a second; a third process holds the watchers' connections and asks at a fixed
rate, whatever the answers take. A request's latency counts from when it was due, so that a
stall is counted for every request that it delays.

    .venv/bin/python benchmarks/live_state.py --seconds 20
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from datetime import timedelta
from pathlib import Path

TARGET_MS = 100.0
KEYS = 10
CONNECTIONS = 64
USER = "ada"


class Asker(asyncio.Protocol):
    """A kept connection on which one GET at a time is asked."""

    def __init__(self, load: "Load") -> None:
        self.load, self.buffer, self.due = load, b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes, due: float) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, gap, body = self.buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self.buffer = b""
            self.load.answered(self, head.startswith(b"HTTP/1.1 200"))


class Watcher(asyncio.Protocol):
    """A connection on which a task's events come; notes how old each status was."""

    def __init__(self, load: "Load", request: bytes) -> None:
        self.load, self.request, self.buffer = load, request, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        *messages, self.buffer = self.buffer.split(b"\n\n")
        for message in messages:
            _, found, rest = message.partition(b'"written":')
            if found:
                written = float(rest[: rest.index(b"}")].partition(b",")[0])
                self.load.delays.append(time.time() - written)

    def connection_lost(self, error: Exception | None) -> None:
        self.load.watchers_lost += 1


class Load:
    """What the clients do, and what they saw."""

    def __init__(self, port: int, task_id: str, keys: list[str], watchers: int, rate: int) -> None:
        self.port, self.watchers, self.rate = port, watchers, rate
        self.requests = [
            f"GET /status/{task_id} HTTP/1.1\r\nHost: g\r\nX-API-Key: {key}\r\n\r\n".encode()
            for key in keys
        ]
        self.watches = [
            f"GET /tasks/{task_id}/events HTTP/1.1\r\nHost: g\r\nX-API-Key: {key}\r\n\r\n".encode()
            for key in keys
        ]
        self.idle: deque[Asker] = deque()
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.latencies: list[float] = []
        self.delays: list[float] = []
        self.errors = self.watchers_lost = 0

    def answered(self, asker: Asker, good: bool) -> None:
        self.latencies.append(time.perf_counter() - asker.due)
        self.errors += not good
        if self.waiting:
            asker.ask(*self.waiting.popleft())
        else:
            self.idle.append(asker)

    async def run(self, seconds: float) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        for number in range(self.watchers):
            request = self.watches[number % len(self.watches)]
            await loop.create_connection(
                lambda request=request: Watcher(self, request), "127.0.0.1", self.port
            )
        for _ in range(CONNECTIONS):
            _, asker = await loop.create_connection(lambda: Asker(self), "127.0.0.1", self.port)
            self.idle.append(asker)
        # The watchers have spent some of their keys' requests.
        await asyncio.sleep(1.5)
        self.delays.clear()
        cpu, begun, sent = time.process_time(), time.perf_counter(), 0
        total = int(seconds * self.rate)
        while sent < total:
            due = begun + sent / self.rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
                continue
            request = self.requests[sent % len(self.requests)]
            if self.idle:
                self.idle.popleft().ask(request, due)
            else:
                self.waiting.append((request, due))
            sent += 1
        deadline = time.perf_counter() + 10
        while len(self.latencies) < total and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        return {
            "asked": total,
            "seconds": time.perf_counter() - begun,
            "errors": self.errors + total - len(self.latencies),
            "latencies": self.latencies,
            "delays": self.delays,
            "watchers_lost": self.watchers_lost,
            "cpu": time.process_time() - cpu,
        }


def load(plan: str) -> None:
    """The clients' process: runs a plan, prints what it saw as JSON."""
    import uvloop

    settings = json.loads(plan)
    seconds = settings.pop("seconds")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(Load(**settings).run(seconds))))


def write_progress(
    settings: object, sessions: object, task_id: str, rate: float, stop: threading.Event
) -> list:
    """Have the task run, and write its progress until ``stop``; return what was written when."""
    from gateway.announce import announce
    from gateway.leases import claim_step, finish_step, note_progress

    with sessions.begin() as session:  # type: ignore[attr-defined]
        step = claim_step(session, task_id, "download", "benchmark", timedelta(hours=1))
    with sessions.begin() as session:  # type: ignore[attr-defined]
        finish_step(session, step.id, "benchmark", {"file": "source.mp4", "bytes": 2**30})
    with sessions.begin() as session:  # type: ignore[attr-defined]
        step = claim_step(session, task_id, "validate", "benchmark", timedelta(hours=1))
    writes, begun = [], time.monotonic()
    while not stop.wait(max(0.0, begun + len(writes) / rate - time.monotonic())):
        with sessions.begin() as session:  # type: ignore[attr-defined]
            facts = {"written": time.time()}
            note_progress(session, step.id, "benchmark", len(writes) % 1000, 1000, facts)
        announce(settings, task_id)  # type: ignore[arg-type]
        writes.append(time.monotonic())
    return writes


def wait_for(port: int) -> None:
    """Until the gateway listens."""
    for _ in range(300):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the gateway did not start")


def cpu_seconds(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def shown(name: str, seconds: list[float]) -> float:
    """Print quantiles in milliseconds; return the 99th of 100."""
    if len(seconds) < 2:
        print(f"{name}: nothing came")
        return float("inf")
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    print(
        f"{name}: p50 {cuts[49] * 1000:.1f} ms, p95 {cuts[94] * 1000:.1f} ms, "
        f"p99 {cuts[98] * 1000:.1f} ms, max {max(seconds) * 1000:.1f} ms"
    )
    return cuts[98] * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--rate", type=int, default=500, help="GET /status a second")
    parser.add_argument("--writes", type=float, default=5.0, help="changes a second")
    parser.add_argument("--redis-url", default="")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        load(arguments.load)
        return 0

    from components.settings import Settings
    from gateway.database import open_database, upgrade_database
    from gateway.keys import create_key
    from gateway.tasks import create_task
    from gateway.work import Work

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            home=Path(folder),
            api_key_secret="benchmark-" * 5,
            webhook_secret="benchmark-" * 5,
            redis_url=arguments.redis_url,
        )
        upgrade_database(settings.database_url)
        sessions = open_database(settings.database_url)
        with sessions.begin() as session:
            keys = [create_key(session, settings, USER) for _ in range(KEYS)]
            task_id = create_task(session, USER, "loop", Work(file_path="film.mp4")).id
        with (Path(folder) / "gateway.log").open("wb") as log:
            gateway = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "--factory", "gateway.server:create_server"),
                    *("--port", str(port), "--no-access-log", "--no-server-header"),
                ],
                env=settings.environment(secrets=True),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        stop, writes = threading.Event(), []
        writer = threading.Thread(
            target=lambda: writes.extend(
                write_progress(settings, sessions, task_id, arguments.writes, stop)
            )
        )
        try:
            writer.start()
            wait_for(port)
            plan = {
                "port": port,
                "task_id": task_id,
                "keys": keys,
                "watchers": arguments.watchers,
                "rate": arguments.rate,
                "seconds": arguments.seconds,
            }
            before, began = cpu_seconds(gateway.pid), os.times().elapsed
            clients = subprocess.run(
                [sys.executable, __file__, "--load", json.dumps(plan)],
                stdout=subprocess.PIPE,
                check=True,
            )
            used, took = cpu_seconds(gateway.pid) - before, os.times().elapsed - began
        finally:
            stop.set()
            writer.join()
            gateway.kill()
            gateway.wait()
        if "Traceback" in (text := (Path(folder) / "gateway.log").read_text()):
            print(text[-3000:])
    seen = json.loads(clients.stdout)
    print(
        f"{os.cpu_count()} cores; {arguments.watchers} watchers; {len(writes)} changes written; "
        f"{seen['asked'] / seen['seconds']:.0f} GET /status a second for {seen['seconds']:.1f} s"
    )
    status = shown("GET /status, from when it was due", seen["latencies"])
    delay = shown("watchers, from write to receipt", seen["delays"])
    print(
        f"statuses told: {len(seen['delays'])}; errors: {seen['errors']}; "
        f"watchers lost: {seen['watchers_lost']}"
    )
    print(f"CPU seconds: gateway {used:.1f} in {took:.1f} s, clients {seen['cpu']:.1f}")
    met = status <= TARGET_MS and not seen["errors"] and not seen["watchers_lost"]
    print(
        f"target (GET /status p99 within {TARGET_MS:.0f} ms, no error): "
        f"{'met' if met else 'MISSED'}; p99 of watchers' delay {delay:.0f} ms"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
