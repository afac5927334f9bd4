"""Sends a notification to an address that a user gave, through Apprise.

What answers there is a stranger. Each notification is sent by a process of its own, which
costs less than a second and can be given up: an answer that never ends, or unfolds to
gigabytes, takes that process with it and nothing else. It gets no environment of ours, so
no secret of ours can leave by it, and no proxy or .netrc is used.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import gateway
from components.errors import Unavailable
from gateway.notifications.apprise_process import error_of
from gateway.notifications.targets import check_target, hidden

__all__ = ["check_target", "hidden", "send"]

# What Python and TLS need to run as they do here.
_PASSED_ON = (
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TZ",
    "VIRTUAL_ENV",
)
_START_SECONDS = 15.0


def send(url: str, title: str, body: str, *, allow_private: bool, timeout: float = 30.0) -> None:
    """Send a notification.

    It may arrive twice where an answer is lost; it does not arrive half.

    Args:
        url: of `check_target`.
        title: one line.
        body: plain text.
        allow_private: lets it go to addresses that are not public.
        timeout: seconds for everything.

    Raises:
        BadInput: if it was turned down for good: an unknown page, a wrong password.
        Refused: if the address is not taken, or leads to one that is not public.
        Unavailable: if nobody answers, or only that it does not work now.
    """
    request = {
        "url": url,
        "title": title,
        "body": body,
        "allow_private": allow_private,
        "timeout": timeout,
    }
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "gateway.notifications.apprise_process"],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
            timeout=timeout + _START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _given_up(url, timeout) from None
    if ended.returncode == -signal.SIGALRM:
        raise _given_up(url, timeout)
    try:
        outcome = json.loads(ended.stdout)
    except ValueError:
        raise Unavailable(
            f"The notification to {hidden(url)} ended its process (code {ended.returncode}): "
            "check the address, or try again later."
        ) from None
    if outcome["error"]:
        raise error_of(outcome["error"], outcome["message"])


def _given_up(url: str, timeout: float) -> Unavailable:
    return Unavailable(
        f"The notification to {hidden(url)} was given up after {timeout:g} s: "
        "check the address, or try again later."
    )


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | {
        "PYTHONPATH": str(Path(gateway.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NETRC": os.devnull,
        "HOME": "/nonexistent",
    }
