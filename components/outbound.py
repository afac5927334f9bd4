"""The outbound guard: every fetch from an address that a client gave goes through here.

The attack (server-side request forgery): we stand inside a network, the client outside.
With ``http://169.254.169.254/`` it would have us read the cloud's keys for it, with
``http://10.0.0.5:9200/`` an internal database. Looking at the URL does not help: an
address can be written in octal or as IPv4 inside IPv6, a name can resolve to anything, a
name's owner can answer with a public address to the check and a private one to the
connection a moment later (DNS rebinding), and a public server can redirect us inside.

So the check sits where the connection is made, in the network backend below the HTTP
library. A host is resolved once, every address of the answer must be public, and the
socket is opened to one of those very addresses, as a number: nothing is looked up again
between check and use. Every hop of a redirect makes its connection there too. TLS still
verifies the host's name. Proxies of the environment are not used, since a proxy would
resolve the name once more, elsewhere.

An address ``s3://bucket/key`` is read from Amazon's public endpoint over https, like any
stranger would read it. Our own credentials are never used for an address that a client
gave: who may use them is decided for us, not for the client, who could otherwise have us
read any bucket that we can read (a confused deputy).

A body may also never end: bytes are counted as they come, and all reading, of headers,
handshake and body, works against one deadline.

Out of scope: what a public server does with the fact that we called it; a public address
that a router of our own network leads inside; the time that the system's resolver takes.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpcore
import httpx

from components.errors import BadInput, NotFound, Refused, Unavailable
from components.guarded_network import (
    GuardedBackend,
    IpAddress,
    Resolver,
    is_public,
    resolve_host,
)

PORTS = frozenset({80, 443, 8080, 8443})
_MAX_REDIRECTS = 5
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_S3 = "s3.amazonaws.com"
_S3_SIGN_IN = "a presigned https URL, since our own credentials are not used for it"
_S3_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class UrlStream:
    """An answer whose body is still to come.

    Attributes:
        url: where it came from in the end, without query and credentials.
        headers: by lower-case name.
        length: bytes that the server announced, 0 where it did not.
    """

    url: str
    headers: Mapping[str, str]
    length: int
    _chunks: Iterator[bytes]

    def iter_bytes(self) -> Iterator[bytes]:
        """The body, once, piece by piece, as it was sent (no decompression).

        Raises:
            BadInput: when it grows beyond the size allowed.
            Unavailable: when it stops or takes longer than the time allowed.
        """
        return self._chunks


@contextmanager
def open_url(
    url: str,
    *,
    max_bytes: int,
    timeout: float,
    allow_private: bool = False,
    ports: Collection[int] = PORTS,
    resolve: Resolver = resolve_host,
    allowed: Callable[[IpAddress], bool] = is_public,
) -> Iterator[UrlStream]:
    """GET a URL that a client gave.

    Args:
        url: http, https, or s3://bucket/key of an object that anybody may read.
        max_bytes: the greatest body.
        timeout: seconds for everything: connections, redirects and body.
        allow_private: connect to any address and port; for networks without secrets.
        ports: those that may be connected to.
        resolve: gives a host's addresses.
        allowed: whether an address may be connected to.

    Raises:
        BadInput: if the URL is malformed, leads nowhere or to something too large.
        Refused: if scheme, port, credentials or an address are not allowed, or the
            server asks for a sign-in.
        NotFound: if the server has no such thing.
        Unavailable: if host or server do not answer, or not in time.
    """
    backend = GuardedBackend(
        deadline=time.monotonic() + timeout,
        resolve=resolve,
        allowed=(lambda address: True) if allow_private else allowed,
    )
    allowed_ports = None if allow_private else frozenset(ports)
    public_url = _s3_as_https(url)
    sign_in = "a URL that needs no sign-in" if public_url == url else _S3_SIGN_IN
    target = _checked(public_url, allowed_ports)
    shown = _shown(target)
    try:
        with httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), network_backend=backend
        ) as pool:
            for _ in range(_MAX_REDIRECTS + 1):
                shown = _shown(target)
                with _get(pool, target) as response:
                    headers = {
                        name.decode("latin-1").lower(): value.decode("latin-1")
                        for name, value in response.headers
                    }
                    if response.status in _REDIRECTS and "location" in headers:
                        target = _checked(_joined(target, headers["location"]), allowed_ports)
                        continue
                    _check_status(response.status, shown, sign_in)
                    length = _announced(headers, max_bytes, shown)
                    chunks = _counted(response.iter_stream(), max_bytes, shown)
                    yield UrlStream(shown, headers, length, chunks)
                    return
    except httpcore.TimeoutException as error:
        raise Unavailable(
            f"{shown} did not answer in time: try again later, or give a faster address."
        ) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Unavailable(
            f"{shown} cannot be fetched ({error or type(error).__name__}): "
            "check the address, or try again later."
        ) from error
    raise BadInput(f"{shown} redirects more than {_MAX_REDIRECTS} times: give the final address.")


def _checked(url: str, ports: frozenset[int] | None) -> httpx.URL:
    """Parse a URL and check all of it that can be checked without its addresses."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise BadInput("The address is not a URL: give one like https://host/file.") from error
    if parsed.scheme not in ("http", "https"):
        raise Refused(
            f"Addresses of scheme {parsed.scheme!r} are not fetched: give http, https or s3."
        )
    if not parsed.host:
        raise BadInput("The URL names no host: give one like https://host/file.")
    if parsed.userinfo:
        raise Refused(
            f"The URL to {parsed.host} holds credentials: give one that needs none, "
            "a pre-signed one for example."
        )
    port = (443 if parsed.scheme == "https" else 80) if parsed.port is None else parsed.port
    if not 0 < port < 65536:
        raise BadInput(f"There is no port {port} at {parsed.host}: give one of 1 to 65535.")
    if ports is not None and port not in ports:
        raise Refused(
            f"Port {port} of {parsed.host} is not fetched from: "
            f"give a URL on one of {', '.join(map(str, sorted(ports)))}."
        )
    return parsed


def _s3_as_https(url: str) -> str:
    """Amazon's public address of an s3 URL; any other URL as it is.

    A bucket whose name holds no dot is a host of its own, which works for every region
    without a redirect; the endpoint's certificate does not cover names with dots.
    """
    scheme, separator, rest = url.partition("://")
    if scheme.lower() != "s3" or not separator:
        return url
    bucket, _, key = rest.partition("/")
    try:
        # A key is any text and means itself: a ? in it is no query, and a % no escape.
        path = quote(key, safe="/")
    except UnicodeError:
        path = ""
    if not _S3_BUCKET.fullmatch(bucket) or not path or {".", ".."} & set(path.split("/")):
        raise BadInput("The address is no S3 object's: give one like s3://bucket/path/film.mp4.")
    place = f"{_S3}/{bucket}" if "." in bucket else f"{bucket}.{_S3}"
    return f"https://{place}/{path}"


def _get(pool: httpcore.ConnectionPool, url: httpx.URL) -> Any:
    return pool.stream(
        "GET",
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers={"User-Agent": "actverse", "Accept": "*/*", "Accept-Encoding": "identity"},
        extensions={
            "timeout": {
                "connect": _CONNECT_SECONDS,
                "read": _SILENCE_SECONDS,
                "write": _SILENCE_SECONDS,
                "pool": _CONNECT_SECONDS,
            }
        },
    )


def _joined(base: httpx.URL, location: str) -> str:
    try:
        return str(base.join(location))
    except (httpx.InvalidURL, UnicodeError) as error:
        raise BadInput(f"{_shown(base)} redirects to what is no URL: give another.") from error


def _shown(url: httpx.URL) -> str:
    """A URL without the parts that may be secret."""
    return str(url.copy_with(query=None, fragment=None, userinfo=b""))


def _check_status(status: int, shown: str, sign_in: str) -> None:
    if 200 <= status < 300:
        return
    if status in (404, 410):
        raise NotFound(f"{shown} is not there (status {status}): check the address.")
    if status in (401, 403, 407):
        raise Refused(
            f"The server does not hand out {shown} to everybody (status {status}): give {sign_in}."
        )
    if status >= 500 or status in (408, 425, 429):
        raise Unavailable(f"{shown} is not to be had now (status {status}): try again later.")
    raise BadInput(f"{shown} was answered with status {status}: give the file's own address.")


def _announced(headers: Mapping[str, str], max_bytes: int, shown: str) -> int:
    if headers.get("content-encoding", "identity") != "identity":
        raise BadInput(f"{shown} is sent compressed although not asked for: give another address.")
    text = headers.get("content-length", "")
    length = int(text) if text.isdecimal() else 0
    if length > max_bytes:
        raise _too_large(shown, max_bytes)
    return length


def _counted(chunks: Iterable[bytes], max_bytes: int, shown: str) -> Iterator[bytes]:
    count = 0
    for chunk in chunks:
        count += len(chunk)
        if count > max_bytes:
            raise _too_large(shown, max_bytes)
        yield chunk


def _too_large(shown: str, max_bytes: int) -> BadInput:
    return BadInput(
        f"{shown} is larger than the {max_bytes} bytes allowed: "
        "give a smaller file, or raise ACTVERSE_MAX_VIDEO_BYTES."
    )
