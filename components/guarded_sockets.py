"""The outbound guard for libraries that open their own connections.

`components.outbound` makes its own; a library that sends messages to addresses which a user
gave (Apprise through requests, smtplib) does not let us in between. So the check sits below
all of them, in the interpreter: while `guarded_sockets` is open, the thread that opened it
looks names up once, every address of the answer must be public, and every connection and
datagram of the thread, whichever library makes it, may only go to a public address given as
a number. Redirects connect like anything else.

Names are looked up through a wrapped `socket.getaddrinfo`; connections are seen by an audit
hook, which the interpreter calls with the very address that it is about to connect to.
Python code cannot connect past it, and nothing is looked up again between check and use.

A library could leave the guarded thread: starting threads or processes is refused. It could
swallow the refusal: leaving the block raises it again. It could go through a proxy of the
environment, which would look the name up elsewhere: that is refused too, so run the block
where no proxy is set. It could use a Unix socket: refused.

Ports are free, since mail and chat services use many. Out of scope: extension modules with
sockets of their own (gRPC, libcurl), connections that were open before, and how much comes
back and how long it takes; whoever talks to strangers limits the process.
"""

import ipaddress
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from components.errors import Refused
from components.guarded_network import IpAddress, Resolver, is_public, resolve_host

_SENDING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LEAVING = frozenset(
    {
        "_thread.start_new_thread",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.system",
        "pty.spawn",
        "subprocess.Popen",
    }
)
_LEFT = (
    "A library starts a thread or a process, which would not be guarded: "
    "it cannot be used for addresses that users give."
)

_current = threading.local()
_install_lock = threading.Lock()
_installed = False
_system_getaddrinfo = socket.getaddrinfo
_system_start_thread = threading.Thread.start


@contextmanager
def guarded_sockets(
    allow_private: bool = False,
    *,
    resolve: Resolver = resolve_host,
    allowed: Callable[[IpAddress], bool] = is_public,
) -> Iterator[None]:
    """Let this thread connect to allowed addresses only, until the block ends.

    Args:
        allow_private: connect to any address; for networks without secrets.
        resolve: gives a host's addresses.
        allowed: whether an address may be connected to.

    Raises:
        Refused: at the attempt, and once more when the block ends if it was swallowed.
    """
    _install()
    guard = _Guard(resolve, (lambda address: True) if allow_private else allowed)
    before = getattr(_current, "guard", None)
    _current.guard = guard
    try:
        yield
    except Exception as error:
        if guard.refusal is not None and error is not guard.refusal:
            raise guard.refusal from error
        raise
    finally:
        _current.guard = before
    if guard.refusal is not None:
        raise guard.refusal


class _Guard:
    def __init__(self, resolve: Resolver, allowed: Callable[[IpAddress], bool]) -> None:
        self.refusal: Refused | None = None
        self._resolve = resolve
        self._allowed = allowed
        self._proxies = _environment_proxies()

    def getaddrinfo(
        self, host: Any, port: Any, family: int, kind: int, protocol: int, flags: int
    ) -> list[Any]:
        name = host.decode("ascii") if isinstance(host, bytes) else host or "localhost"
        if (name, str(port)) in self._proxies:
            raise self.refuse(
                "A proxy of the environment would look addresses up elsewhere: "
                "unset it for this process."
            )
        number = int(port) if str(port).isdecimal() else 0
        with _unguarded():
            addresses = list(dict.fromkeys(self._resolve(name, number)))
        for address in addresses:
            self.check(address, name)
        found = []
        for address in addresses:
            with suppress(socket.gaierror):  # not of the family asked for
                found += _system_getaddrinfo(
                    address, port, family, kind, protocol, flags | socket.AI_NUMERICHOST
                )
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    def check_target(self, connection: socket.socket, address: Any) -> None:
        """Check what a connection or a datagram is about to go to."""
        if address is None:
            return  # the datagram of a socket whose connection was checked
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            raise self.refuse("Only Internet addresses are connected to: give one.")
        host = address[0]
        self.check(host.decode("latin-1") if isinstance(host, bytes) else str(host), "")

    def check(self, address: str, host: str) -> None:
        try:
            # A scope (fe80::1%eth0) only ever stands on an address that is not public.
            number = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            raise self.refuse(
                "A library connects to a name without looking it up first: "
                "it cannot be used for addresses that users give."
            ) from None
        if not self._allowed(number):
            place = f"The host {host}" if host else "A connection"
            raise self.refuse(
                f"{place} leads to an address that is not public: give one on the public Internet."
            )

    def refuse(self, sentence: str) -> Refused:
        refusal = Refused(sentence)
        self.refusal = self.refusal or refusal
        return refusal


def _install() -> None:
    """Put hook and wrapper in place; a hook cannot be taken away again."""
    global _installed
    with _install_lock:
        if not _installed:
            sys.addaudithook(_hook)
            socket.getaddrinfo = _getaddrinfo
            threading.Thread.start = _start_thread  # type: ignore[method-assign, assignment]
            _installed = True


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    guard: _Guard | None = getattr(_current, "guard", None)
    if guard is None:
        return
    if event in _SENDING:
        guard.check_target(*arguments[:2])
    elif event in _LEAVING:
        raise guard.refuse(_LEFT)


def _start_thread(thread: threading.Thread) -> None:
    """Threads start here; Python 3.11 has no audit event for it."""
    guard: _Guard | None = getattr(_current, "guard", None)
    if guard is not None:
        raise guard.refuse(_LEFT)
    _system_start_thread(thread)


def _getaddrinfo(
    host: Any,
    port: Any,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[Any]:
    guard: _Guard | None = getattr(_current, "guard", None)
    if guard is None:
        return _system_getaddrinfo(host, port, family, type, proto, flags)
    return guard.getaddrinfo(host, port, family, type, proto, flags)


@contextmanager
def _unguarded() -> Iterator[None]:
    """Let the resolver itself talk to name servers, which are often private."""
    guard = _current.guard
    _current.guard = None
    try:
        yield
    finally:
        _current.guard = guard


def _environment_proxies() -> set[tuple[str, str]]:
    proxies = set()
    for scheme, url in getproxies_environment().items():
        if scheme == "no":
            continue
        with suppress(ValueError):
            parts = urlsplit(url if "://" in url else f"//{url}")
            default = 443 if parts.scheme == "https" else 80
            proxies.add((parts.hostname or "", str(parts.port or default)))
    return proxies
