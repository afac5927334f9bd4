"""An S3 store for tests: moto's server, in a process of its own on the loopback.

moto's server is the one S3 store that the package index has. It speaks the protocol over
real HTTP, with multipart uploads, ranges, pages and error documents. It differs from a real
store in this: it wants a signature but never checks it, so neither wrong keys nor a
link that has run out are refused; it stores the checksums that it is sent without comparing
them; it keeps objects in memory and forgets them when it ends; it never answers 503 and
knows no quota.
"""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.helpers.servers import free_ports, wait_until

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
"""moto takes any."""


@dataclass
class S3Server:
    """A running store; ``endpoint`` is its URL."""

    endpoint: str
    process: subprocess.Popen[bytes]

    def new_bucket(self) -> str:
        """The name of a bucket that was not there before."""
        bucket = f"test-{uuid.uuid4().hex}"
        httpx.put(f"{self.endpoint}/{bucket}").raise_for_status()
        return bucket

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """A store without buckets; its log lies in ``folder``."""
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    log_path = folder / "s3.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            argv, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def answers() -> bool:
        assert process.poll() is None, log_path.read_text()
        try:
            return httpx.get(f"{endpoint}/moto-api/data.json", timeout=5).is_success
        except httpx.TransportError:
            return False

    server = S3Server(endpoint, process)
    try:
        wait_until(answers, 60, "moto's server")
        yield server
    finally:
        if process.poll() is None:
            server.kill()
