"""Network connections to public addresses only, before a deadline.

The part of the outbound guard that sits below the HTTP library; `components.outbound`
says what it is for.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

from components.errors import Refused, Unavailable

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Iterable[str]]

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Of IANA's registries of special addresses; Python 3.11 takes them for global. A cloud's
# metadata are at 192.0.0.192.
_SPECIAL_V4 = tuple(map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24")))
_SPECIAL_V6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "3fff::/20")))


def resolve_host(host: str, port: int) -> list[str]:
    """The addresses of a host as the system's resolver gives them."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: IpAddress) -> bool:
    """Whether an address is a host's on the public Internet, whatever IPv4 it embeds."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address not in _GLOBAL_UNICAST or any(address in network for network in _SPECIAL_V6):
            return False
    elif any(address in network for network in _SPECIAL_V4):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class GuardedBackend(httpcore.NetworkBackend):
    """Makes connections to allowed addresses only, and lets none outlive the deadline."""

    def __init__(
        self,
        *,
        deadline: float,
        resolve: Resolver,
        allowed: Callable[[IpAddress], bool],
    ) -> None:
        self._deadline = deadline
        self._resolve = resolve
        self._allowed = allowed
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._allowed_addresses(host, port)
        failure: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in addresses:
            try:
                stream = self._backend.connect_tcp(
                    address,
                    port,
                    _remaining(self._deadline, timeout),
                    local_address,
                    socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _DeadlineStream(stream, self._deadline)
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def _allowed_addresses(self, host: str, port: int) -> list[str]:
        try:
            addresses = list(dict.fromkeys(self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise Unavailable(
                f"The host {host} cannot be found: check the address, or try again later."
            ) from error
        for address in addresses:
            # A scope (fe80::1%eth0) only ever stands on an address that is not public.
            if not self._allowed(ipaddress.ip_address(address.partition("%")[0])):
                raise Refused(
                    f"The host {host} leads to an address that is not public: "
                    "give a URL on the public Internet."
                )
        return addresses


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose every operation ends by the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(self._deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(
            ssl_context, server_hostname, _remaining(self._deadline, timeout)
        )
        return _DeadlineStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _remaining(deadline: float, timeout: float | None) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time allowed is over")
    return left if timeout is None else min(left, timeout)
