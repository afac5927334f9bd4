"""Signs of life for a process's own probe: a file that it touches, and how old that may be.

They are beside the heartbeats in the database: a probe is to end a process that hangs, and a
database that is away is no reason for that.
"""

import socket
import time
from pathlib import Path

FRESH_SECONDS = 30.0


def sign_path(home: Path, role: str) -> Path:
    """The file of a role on this host: ``alive/HOST/ROLE`` in the home folder."""
    return home / "alive" / socket.gethostname() / role


def worker_sign(home: Path, node: str) -> Path:
    """The file of one of a host's workers, by the name of its Celery node before the ``@``."""
    return sign_path(home, f"worker.{node}")


def is_a_worker_alive(home: Path) -> bool:
    """Whether any worker on this host has shown itself."""
    return any(map(is_alive, sign_path(home, "worker").parent.glob("worker.*")))


def show_alive(sign: Path) -> None:
    """Touch a sign; a disk that does not take it is no reason to end."""
    try:
        sign.parent.mkdir(parents=True, exist_ok=True)
        sign.touch()
    except OSError:
        return


def is_alive(sign: Path, within: float = FRESH_SECONDS) -> bool:
    """Whether a sign was touched within so many seconds."""
    try:
        return time.time() - sign.stat().st_mtime < within
    except OSError:
        return False
