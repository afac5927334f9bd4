"""Errors as RFC 9457 problem documents, made in this one place."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from components.errors import (
    ActverseError,
    BadInput,
    NotFound,
    Refused,
    StorageFull,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"

# The first class that fits gives the status; the class's name makes the stable type.
_STATUS: tuple[tuple[type[ActverseError], HTTPStatus], ...] = (
    (BadInput, HTTPStatus.BAD_REQUEST),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Refused, HTTPStatus.BAD_REQUEST),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (StorageFull, HTTPStatus.INSUFFICIENT_STORAGE),
    (ActverseError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


class Unauthorized(ActverseError):
    """The caller did not prove who they are."""


class Forbidden(ActverseError):
    """The caller is known, and may not do this."""


def problem(status: int, kind: str, detail: str) -> JSONResponse:
    """A problem document; ``kind`` ends its ``type``, ``urn:actverse:problem:<kind>``."""
    content = {
        "type": f"urn:actverse:problem:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
    }
    return JSONResponse(content, status_code=status, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of ``app`` be answered, and described, as a problem document."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        description = describe()
        for operations in description["paths"].values():
            for operation in operations.values():
                # FastAPI describes its own answer to a request that is not valid; ours is 400.
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            description.get("components", {}).get("schemas", {}).pop(name, None)
        return description

    app.openapi = openapi  # type: ignore[method-assign]

    @app.exception_handler(Unauthorized)
    async def _unauthorized(request: Request, error: Unauthorized) -> JSONResponse:
        return problem(HTTPStatus.UNAUTHORIZED, "Unauthorized", str(error))

    @app.exception_handler(Forbidden)
    async def _forbidden(request: Request, error: Forbidden) -> JSONResponse:
        return problem(HTTPStatus.FORBIDDEN, "Forbidden", str(error))

    @app.exception_handler(ActverseError)
    async def _ours(request: Request, error: ActverseError) -> JSONResponse:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return problem(status, type(error).__name__, str(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'][1:]) or 'body'}: "
            f"{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        return problem(HTTPStatus.BAD_REQUEST, "BadInput", f"The request is not valid: {faults}.")

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        # The server logs it with its trace; the client learns nothing of our insides.
        return problem(
            HTTPStatus.INTERNAL_SERVER_ERROR, "Unforeseen", "The gateway broke: read its log."
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        kind = HTTPStatus(error.status_code).phrase.title().replace(" ", "")
        return problem(error.status_code, kind, str(error.detail))
