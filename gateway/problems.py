"""Errors as RFC 9457 problem documents, made in this one place."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from components.errors import (
    ActverseError,
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    Refused,
    StorageFull,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)

logger = logging.getLogger("actverse.gateway")

MEDIA_TYPE = "application/problem+json"

_RETRY_SECONDS = 5
_LONGEST_DETAIL = 2000
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_UNPROCESSABLE = "__unprocessable__"


class UnsupportedMediaType(BadInput):
    """A body of another kind than is taken."""


class RangeNotSatisfiable(BadInput):
    """Bytes were asked for that a file does not have."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class Unprocessable(BadInput):
    """A body whose form is right and whose values are not."""


# The first class that fits gives the status; the class's name makes the stable type.
STATUS: tuple[tuple[type[ActverseError], HTTPStatus], ...] = (
    (Unauthorized, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (Conflict, HTTPStatus.CONFLICT),
    (TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UnsupportedMediaType, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (RangeNotSatisfiable, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
    (Unprocessable, HTTPStatus.UNPROCESSABLE_ENTITY),
    (TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS),
    (BadInput, HTTPStatus.BAD_REQUEST),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Refused, HTTPStatus.BAD_REQUEST),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (StorageFull, HTTPStatus.INSUFFICIENT_STORAGE),
    (ActverseError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
_KIND_OF_STATUS = {status: kind.__name__ for kind, status in reversed(STATUS)}

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


def unprocessable(*fields: str) -> Callable[[_Endpoint], _Endpoint]:
    """Let an endpoint answer 422, not 400, when of its body only these fields are at fault."""

    def mark(endpoint: _Endpoint) -> _Endpoint:
        setattr(endpoint, _UNPROCESSABLE, frozenset(fields))
        return endpoint

    return mark


def problem(
    status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A problem document; ``kind`` ends its ``type``, ``urn:actverse:problem:<kind>``."""
    content = {
        "type": f"urn:actverse:problem:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        # It may repeat what a client sent, half characters included.
        "detail": detail[:_LONGEST_DETAIL].encode("utf-8", "replace").decode(),
    }
    return JSONResponse(
        content, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def problem_of(error: ActverseError) -> JSONResponse:
    """The problem document of one of our errors."""
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    elif isinstance(error, Unavailable | StorageFull):
        headers["Retry-After"] = str(_RETRY_SECONDS)
    elif isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'ApiKey realm="actverse"'
    elif isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    return problem(status, type(error).__name__, str(error), headers)


def install(app: FastAPI) -> None:
    """Let every error of ``app`` be answered as a problem document."""

    @app.exception_handler(ActverseError)
    async def _ours(request: Request, error: ActverseError) -> JSONResponse:
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        if any(fault["loc"] == ("body",) for fault in error.errors()) and not _is_json(request):
            kind = "The body is not JSON: send it as application/json."
            return problem_of(UnsupportedMediaType(kind))
        return problem_of(invalid(request, error.errors()))

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(PoolTimeout)
    async def _database(request: Request, error: Exception) -> JSONResponse:
        logger.warning("the database did not do its part: %s", error)
        if "disk is full" in str(error):
            return problem_of(StorageFull("The database's disk is full: free some space there."))
        return problem_of(Unavailable("The database is locked or away: try again later."))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        kind = _KIND_OF_STATUS.get(status) or status.phrase.title().replace(" ", "")
        headers = dict(error.headers or {})
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_allowed(request))
        return problem(status, kind, str(error.detail), headers)

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        # The server logs it with its trace; the client learns nothing of our insides.
        return problem(
            HTTPStatus.INTERNAL_SERVER_ERROR, "Unforeseen", "The gateway broke: read its log."
        )


def invalid(request: Request, faults: Any) -> BadInput:
    """What is wrong with a request, of pydantic's list of faults."""
    places = [tuple(fault["loc"]) for fault in faults]
    sentence = "; ".join(
        f"{'.'.join(str(part) for part in place[1:]) or 'body'}: "
        f"{fault['msg'].removeprefix('Value error, ')}"
        for place, fault in zip(places, faults, strict=True)
    )
    endpoint = request.scope.get("endpoint")
    fields: frozenset[str] = getattr(endpoint, _UNPROCESSABLE, frozenset())
    if all(place[0] == "body" and len(place) > 1 and place[1] in fields for place in places):
        return Unprocessable(f"The values cannot be used: {sentence}.")
    return BadInput(f"The request is not valid: {sentence}.")


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind[-5:] == "+json")


def _allowed(request: Request) -> list[str]:
    """The methods that the path of a request takes."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]
