"""Limits on who asks how much: requests of a key, wrong keys of an address, bytes of a body.

``install`` sets all of it up; ``gateway.api.dependencies.CurrentCaller`` spends a key's
requests.
"""

import asyncio
import ipaddress
import logging
import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.errors import BadInput, TooManyRequests
from components.settings import Settings
from gateway.callers import Callers
from gateway.keys import Caller
from gateway.problems import problem

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import RateLimiter

logger = logging.getLogger("actverse.limits")

_WRONG_KEYS = "30/minute"
_REDIS_SECONDS, _REDIS_AWAY_SECONDS = 0.25, 5.0
# What stands around a file in a multipart body.
_MULTIPART_BYTES = 64 * 1024
# Bodies are read before keys are looked at: of somebody unknown, no more than this.
_STRANGERS_BYTES = 64 * 1024
# A body that is no upload takes so long, and longer by what came at this rate at least.
_BODY_SECONDS, _BODY_BYTES_A_SECOND = 30.0, 1000


class Spent(TooManyRequests):
    """A limit is reached.

    Attributes:
        policy: which limit it is, as in ``"key";q=100;w=1``.
    """

    def __init__(self, message: str, policy: str, retry_after: int) -> None:
        super().__init__(message, retry_after)
        self.policy = policy


class BodyTooLarge(HTTPException):
    """The body is larger than the endpoint takes.

    An HTTPException, since FastAPI takes any other that ends a body for a broken body.
    """

    def __init__(self, most: int) -> None:
        super().__init__(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The request's body is larger than the {most} bytes allowed: send a smaller one.",
            # The rest of it is not read.
            {"Connection": "close"},
        )


class BodyTooLate(HTTPException):
    """The body does not come, or far too slowly."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.REQUEST_TIMEOUT,
            "The request's body did not come in time: send it at once.",
            {"Connection": "close"},
        )


class Stranger(HTTPException):
    """A large body comes without a valid key."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.UNAUTHORIZED,
            "The API key is missing or unknown: send it as X-API-Key, or as a bearer token.",
            {"WWW-Authenticate": 'ApiKey realm="actverse"', "Connection": "close"},
        )


class RateLimits:
    """Counts what each key and address spends, in memory or, where one is set, in Redis.

    With Redis the limits are those of all gateways together. While it is away each counts
    for itself: limits are a courtesy among users, not worth refusing everybody for.

    Raises:
        BadInput: if ``rate_limit`` is none.
    """

    def __init__(self, settings: Settings) -> None:
        from limits import parse
        from limits.aio.storage import MemoryStorage
        from limits.aio.strategies import FixedWindowRateLimiter

        self._per_key = _parsed(settings.rate_limit) if settings.rate_limit else None
        self._wrong_keys = parse(_WRONG_KEYS)
        self._memory = FixedWindowRateLimiter(MemoryStorage())
        self._redis: RateLimiter | None = None
        self._redis_errors: tuple[type[Exception], ...] = ()
        self._redis_away_until = 0.0
        if settings.redis_url and self._per_key:
            from limits.aio.storage import RedisStorage
            from redis import RedisError

            storage = RedisStorage(
                f"async+{settings.redis_url}",
                implementation="redispy",
                key_prefix="actverse.limits",
                socket_timeout=_REDIS_SECONDS,
                socket_connect_timeout=_REDIS_SECONDS,
            )
            self._redis = FixedWindowRateLimiter(storage)
            self._redis_errors = (RedisError, OSError)

    async def spend(self, caller: Caller) -> None:
        """Count a request of a key.

        Raises:
            TooManyRequests: if the key has none left.
        """
        if self._per_key is None:
            return
        item, name = self._per_key, str(caller.key_id)
        if self._redis is not None and time.monotonic() >= self._redis_away_until:
            try:
                await _spend(self._redis, item, "key", name)
                return
            except self._redis_errors as error:
                self._redis_away_until = time.monotonic() + _REDIS_AWAY_SECONDS
                logger.warning(
                    "Redis does not count requests (%s): each gateway does for itself for %g s",
                    type(error).__name__,
                    _REDIS_AWAY_SECONDS,
                )
        await _spend(self._memory, item, "key", name)

    async def check_address(self, address: str) -> None:
        """See whether keys from an address are looked at.

        Raises:
            TooManyRequests: if too many of them were wrong.
        """
        name = _network(address)
        if not await self._memory.test(self._wrong_keys, "address", name):
            raise await _reached(self._memory, self._wrong_keys, "address", name)

    async def wrong_key(self, address: str) -> None:
        """Count a key that nobody has."""
        await self._memory.hit(self._wrong_keys, "address", _network(address))


class BodyLimit:
    """Middleware: ends requests whose bodies are larger than their endpoints take, or too slow.

    Uploads go by how long they are silent (``gateway.uploads``) and not by how long they take.

    FastAPI's own ``max_body_size`` answers with plain text, and cannot tell an upload to
    ``POST /tasks/`` from a JSON body to the same endpoint.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most, upload = self._most(scope)
        begun, count, ended, known = time.monotonic(), 0, False, False
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > most:
            error = BodyTooLarge(most)
            answer = problem(error.status_code, "TooLarge", error.detail, error.headers)
            await answer(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal count, ended, known
            if upload or ended:
                message = await receive()
            else:
                left = begun + _BODY_SECONDS + count / _BODY_BYTES_A_SECOND - time.monotonic()
                try:
                    async with asyncio.timeout(left):
                        message = await receive()
                except TimeoutError:
                    raise BodyTooLate from None
            if message["type"] == "http.request":
                count += len(message.get("body", b""))
                ended = not message.get("more_body", False)
                if count > most:
                    raise BodyTooLarge(most)
                if count > _STRANGERS_BYTES and not known:
                    await _check_known(scope)
                    known = True
            return message

        await self.app(scope, counted, send)

    def _most(self, scope: Scope) -> tuple[int, bool]:
        """Only the endpoints that stream a body to the storage take a large one: True."""
        method, path = scope["method"], scope["path"]
        if method == "PUT" and path.startswith("/files/"):
            return self.settings.max_upload_bytes, True
        kind = Headers(scope=scope).get("content-type", "")
        if (method, path) == ("POST", "/tasks/") and kind.startswith("multipart/form-data"):
            return self.settings.max_upload_bytes + _MULTIPART_BYTES, True
        return self.settings.max_request_bytes, False


async def _check_known(scope: Scope) -> None:
    """Raise Stranger unless a request has a valid key; webhooks have a limit of their own."""
    if scope["path"].startswith("/webhooks/") or "caller" in scope.get("state", {}):
        return
    headers = Headers(scope=scope)
    scheme, bearer = get_authorization_scheme_param(headers.get("authorization"))
    key = headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
    state = scope["app"].state
    callers: Callers = state.callers
    if not key or await callers.find(key) is None:
        limits: RateLimits = state.limits
        if key:
            await limits.wrong_key(client_address(scope))
        raise Stranger


def install(app: FastAPI, settings: Settings) -> None:
    """Limit what ``app`` takes; its problem documents must be installed already."""
    app.state.limits = RateLimits(settings)
    app.add_middleware(BodyLimit, settings=settings)

    @app.exception_handler(Spent)
    async def _spent(request: Request, error: Spent) -> JSONResponse:
        wait = str(error.retry_after)
        headers = {
            "Retry-After": wait,
            # draft-ietf-httpapi-ratelimit-headers
            "RateLimit-Policy": error.policy,
            "RateLimit": f"{error.policy.partition(';')[0]};r=0;t={wait}",
        }
        kind = TooManyRequests.__name__
        return problem(HTTPStatus.TOO_MANY_REQUESTS, kind, str(error), headers)


def client_address(scope: Scope) -> str:
    """Where a request came from; behind a proxy this is for the server to find out."""
    client = scope.get("client")
    return client[0] if client else ""


def _parsed(text: str) -> "RateLimitItem":
    from limits import parse

    try:
        return parse(text)
    except ValueError as error:
        raise BadInput(
            f"ACTVERSE_RATE_LIMIT is {text!r}: give one like 100/second, or nothing."
        ) from error


async def _spend(limiter: "RateLimiter", item: "RateLimitItem", kind: str, name: str) -> None:
    if not await limiter.hit(item, kind, name):
        raise await _reached(limiter, item, kind, name)


async def _reached(limiter: "RateLimiter", item: "RateLimitItem", kind: str, name: str) -> Spent:
    stats = await limiter.get_window_stats(item, kind, name)
    wait = min(max(1, math.ceil(stats.reset_time - time.time())), item.get_expiry())
    what = "API key's requests" if kind == "key" else "address's wrong API keys"
    return Spent(
        f"The {what} are limited to {item.amount} in {item.get_expiry()} s: wait for {wait} s.",
        f'"{kind}";q={item.amount};w={item.get_expiry()}',
        wait,
    )


def _network(address: str) -> str:
    """An IPv6 host has a network of 2^64 addresses to come from."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 6 and not found.ipv4_mapped:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
