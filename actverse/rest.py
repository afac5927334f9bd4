"""One connection to a gateway: what is sent again, and the gateway's errors as our own."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from actverse import __version__
from components import errors
from components.errors import (
    ActverseError,
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    StorageFull,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from components.json_text import read_json

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
# A large file is kept by the gateway, maybe far away, before it answers.
UPLOAD_TIMEOUT = httpx.Timeout(60.0, connect=10.0, read=600.0)

# Before each further sending, where the gateway does not say for how long to wait.
_WAITS = (0.2, 0.5, 1.5)
_LONGEST_WAIT = 60.0
_PAGE = 500
_PASSING = (429, 502, 503, 504)
_BY_STATUS: tuple[tuple[int, type[ActverseError]], ...] = (
    (401, Unauthorized),
    (403, Forbidden),
    (404, NotFound),
    (409, Conflict),
    (413, TooLarge),
    (429, TooManyRequests),
    (507, StorageFull),
    (502, Unavailable),
    (503, Unavailable),
    (504, Unavailable),
)

Body = Callable[[], Iterable[bytes]]
"""Makes a request's body, anew for each sending."""


class Connection:
    """Sends requests to one gateway with one API key. Safe to share between threads.

    Attributes:
        address: the gateway's.

    Raises:
        BadInput: if the address or the key cannot be one.
    """

    def __init__(self, gateway: str, api_key: str) -> None:
        self.address = _checked_address(gateway)
        self.http = httpx.Client(
            base_url=self.address,
            headers={
                "X-API-Key": _checked_key(api_key),
                "User-Agent": f"actverse/{__version__}",
            },
            timeout=TIMEOUT,
            trust_env=False,
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        once: bool = False,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> dict[str, Any]:
        """Send a request and return the JSON object of its answer.

        What may pass by itself (no connection, 429, 502, 503, 504) is tried again a few
        times, after as long as the gateway asks for.

        Args:
            once: the request does something else each time that it arrives: it is sent again
                only if it has certainly not been taken.

        Raises:
            ActverseError: the gateway's own, by the type of its problem document.
            Unavailable: also if the gateway does not answer.
        """
        request = self.http.build_request
        for wait in (*_WAITS, None):
            sent = request(
                method,
                path,
                content=body() if body else None,
                headers=headers,
                json=json,
                params=params,
                timeout=timeout,
            )
            try:
                answer = self.http.send(sent)
            except httpx.TransportError as error:
                unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if wait is None or (once and not unsent):
                    raise self.away(error) from error
            else:
                if answer.is_success:
                    return self._content(answer)
                asked = retry_after(answer, wait or 0.0)
                if (
                    wait is None
                    or answer.status_code not in _PASSING
                    or (once and answer.status_code != httpx.codes.TOO_MANY_REQUESTS)
                    or asked > _LONGEST_WAIT
                ):
                    raise error_of(answer, self.address)
                wait = asked
            time.sleep(wait)
        raise AssertionError("the last sending returns or raises")

    def pages(self, path: str, name: str, **params: Any) -> Iterator[dict[str, Any]]:
        """The items of a listing, over all of its pages.

        Args:
            name: the items' name in a page.
            params: the listing's own; None leaves one out.
        """
        given = {key: value for key, value in params.items() if value not in (None, "", ())}
        given.setdefault("limit", _PAGE)
        while True:
            page = self.call("GET", path, params=given)
            yield from page[name]
            if not page.get("after"):
                return
            given["after"] = page["after"]

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], timeout: httpx.Timeout
    ) -> Iterator[httpx.Response]:
        """The answer to a GET, whose body is read as it comes.

        Raises:
            ActverseError: the gateway's own.
            httpx.TransportError: if the connection fails, also while the block reads.
        """
        with self.http.stream("GET", path, headers=headers, timeout=timeout) as answer:
            if answer.is_error:
                answer.read()
                raise error_of(answer, self.address)
            yield answer

    def away(self, error: Exception) -> Unavailable:
        """The error of a gateway that does not answer."""
        reason = str(error) or type(error).__name__
        return Unavailable(
            f"The gateway at {self.address} does not answer ({reason}): is it running?"
        )

    def close(self) -> None:
        """End the connection."""
        self.http.close()

    def _content(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            content = read_json(answer.content)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise BadInput(
                f"What answers at {self.address} is no actverse gateway: look at the address."
            )
        return content


def retry_after(answer: httpx.Response, otherwise: float) -> float:
    """The seconds that an answer asks to wait for."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else otherwise


def error_of(answer: httpx.Response, address: str) -> ActverseError:
    """The error that an answer tells of."""
    try:
        document = read_json(answer.content)
        name = str(document["type"]).rpartition(":")[2]
        sentence = str(document["detail"])
    except (ValueError, TypeError, KeyError):
        # Somebody between us and the gateway has answered.
        name = ""
        sentence = (
            f"{address} answers {answer.status_code} {answer.reason_phrase} without saying why: "
            "look at the address, and at what stands before the gateway."
        )
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, ActverseError)):
        kind = _kind_of_status(answer.status_code)
    error = kind(sentence)
    if isinstance(error, TooManyRequests):
        error.retry_after = retry_after(answer, 1.0)
    return error


def _kind_of_status(status: int) -> type[ActverseError]:
    otherwise = BadInput if 400 <= status < 500 else ActverseError
    return next((kind for code, kind in _BY_STATUS if code == status), otherwise)


def _checked_address(gateway: str) -> str:
    try:
        url = httpx.URL(gateway)
    except httpx.InvalidURL as error:
        raise BadInput(f"The gateway's address cannot be read: {error}.") from error
    if url.userinfo:
        raise BadInput("The gateway's address holds credentials: give the API key instead.")
    if url.scheme not in ("http", "https") or not url.host:
        raise BadInput(
            f"The gateway's address {gateway!r} is none: give one like https://host:port."
        )
    return gateway.rstrip("/")


def _checked_key(api_key: str) -> str:
    key = api_key.strip()
    # It is not repeated: sentences end up in logs.
    if not (key and key.isascii() and key.isprintable()):
        raise BadInput("The API key is empty or holds signs that no key has: look at it.")
    return key
