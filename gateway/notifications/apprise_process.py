"""Hands one notification to Apprise. ``python -m gateway.notifications.apprise_process``

The process reads one JSON object (url, title, body, allow_private, timeout) and writes
another (error, message). Who answers is a stranger: the process may use little memory and
time, write no file, and knows no secret but the address.
"""

import json
import logging
import math
import re
import resource
import signal
import sys
from collections.abc import Callable

from components import errors
from components.errors import ActverseError, BadInput, Unavailable
from components.guarded_network import IpAddress, Resolver, is_public, resolve_host
from components.guarded_sockets import guarded_sockets
from gateway.notifications.targets import parse_target, shown

_MEMORY_BYTES = 2**29
_STATUS = re.compile(r"error=(\d{3})\b")
_SMTP_STATUS = re.compile(r"(?:\(| refused: )(\d{3})(?:, b?['\"]| b?['\"])")
_NOT_TRUSTED = re.compile(r"certificate verify failed|CERTIFICATE_VERIFY_FAILED")
_NO_SIGN_IN = re.compile(r"extension not supported|No suitable authentication")
_NOT_REACHED = re.compile(r"Connection error|Socket Exception", re.IGNORECASE)


def deliver(
    url: str,
    title: str,
    body: str,
    *,
    allow_private: bool,
    resolve: Resolver = resolve_host,
    allowed: Callable[[IpAddress], bool] = is_public,
) -> None:
    """Send a notification in this process; see `apprise_sender.send`.

    Args:
        resolve: gives a host's addresses.
        allowed: whether an address may be connected to.
    """
    plugin = parse_target(url)
    said = _Said()
    logger = logging.getLogger("apprise")
    level = logger.level
    logger.addHandler(said)
    logger.setLevel(logging.DEBUG)
    try:
        with guarded_sockets(allow_private, resolve=resolve, allowed=allowed):
            taken = plugin.notify(body=body, title=title, body_format="text")
    except ActverseError:
        raise
    except MemoryError:
        raise BadInput(
            f"{shown(plugin)} answers with more than can be read: check the address."
        ) from None
    except Exception as error:  # noqa: BLE001 (a service may stumble over any answer)
        raise BadInput(
            f"{plugin.service_name} could not be told at {shown(plugin)} "
            f"({type(error).__name__}): check the address."
        ) from None
    finally:
        logger.removeHandler(said)
        logger.setLevel(level)
    if not taken:
        raise _why(said.lines, str(plugin.service_name), shown(plugin))


class _Said(logging.Handler):
    """Keeps what Apprise says of a failure, which may hold secrets."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        # Below that it also repeats our message and the stranger's answer.
        if record.levelno >= logging.WARNING or line.startswith("Socket Exception"):
            self.lines.append(line)


def _why(lines: list[str], service: str, place: str) -> ActverseError:
    """Why Apprise could not send, told without the words of its log."""
    text = "\n".join(lines)
    if http := [int(code) for code in _STATUS.findall(text)]:
        code, passing = _worst(http, lambda code: code >= 500 or code in (408, 425, 429))
        what = f"status {code}"
    elif mail := [int(code) for code in _SMTP_STATUS.findall(text)]:
        code, passing = _worst(mail, lambda code: 400 <= code < 500)
        what = f"SMTP status {code}"
    elif _NOT_TRUSTED.search(text):
        passing, what = False, "its certificate cannot be verified"
    elif _NO_SIGN_IN.search(text):
        passing, what = False, "it has no sign-in"
    elif _NOT_REACHED.search(text):
        return Unavailable(
            f"{service} cannot be reached at {place}: check the address, or try again later."
        )
    else:
        passing, what = False, "it did not say why"
    if passing:
        return Unavailable(f"{service} takes no notification at {place} now ({what}).")
    return BadInput(
        f"{service} did not take the notification at {place} ({what}): check the address."
    )


def _worst(codes: list[int], passes: Callable[[int], bool]) -> tuple[int, bool]:
    """The status to tell of; one that may pass only where all may."""
    final = [code for code in codes if not passes(code)]
    return (final[0], False) if final else (codes[0], True)


def main() -> None:
    """Read a request, send it, write the outcome."""
    request = json.load(sys.stdin.buffer)
    _limit(request.pop("timeout"))
    outcome = {"error": "", "message": ""}
    try:
        deliver(**request)
    except ActverseError as error:
        outcome = {"error": type(error).__name__, "message": str(error)}
    json.dump(outcome, sys.stdout)


def _limit(timeout: float) -> None:
    """Bound what a stranger's answer can cost; the process ends by itself if left alone."""
    signal.alarm(max(1, math.ceil(timeout)))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def error_of(name: str, message: str) -> ActverseError:
    """The error of a name that `main` wrote."""
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, ActverseError)):
        kind = Unavailable
    return kind(message)


if __name__ == "__main__":
    main()
