"""Requests: an id for each, and a line in the log when it is answered."""

import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.logs import request_id

REQUEST_ID = "X-Request-ID"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Looked at every few seconds by machines: only their failures are news.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

access = logging.getLogger("actverse.access")


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered.

    Attributes:
        method: in capitals; OTHER if HTTP knows none such.
        route: the endpoint's template, ``/status/{task_id}``; empty if there is none.
        status: the answer's; 499 if the client went away before there was one.
        seconds: until the answer's end; of a stream of events, until it began.
    """

    method: str
    route: str
    status: int
    seconds: float


class RequestLog:
    """Middleware: gives each request an id and, once it is answered, a line in the log.

    The id is the client's ``X-Request-ID`` where that is one, and stands in every answer.
    Addresses are logged as templates, without queries: what clients put there is theirs.
    """

    def __init__(self, app: ASGIApp, observe: Callable[[Answered], None]) -> None:
        self.app, self.observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        known_as = given if _ID.fullmatch(given) else uuid.uuid4().hex
        # Not taken back: each request is a task of its own, and the server logs after us.
        request_id.set(known_as)
        begun, ended, status = time.perf_counter(), 0.0, 499

        async def noted(message: Message) -> None:
            nonlocal ended, status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = known_as
                if headers.get("content-type", "").startswith("text/event-stream"):
                    ended = time.perf_counter()
            elif message["type"] == "websocket.accept":
                status, ended = 101, time.perf_counter()
                MutableHeaders(scope=message)[REQUEST_ID] = known_as
            elif message["type"] == "websocket.close" and status != 101:
                status = 403
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            now = time.perf_counter()
            self._note(scope, status, (ended or now) - begun, now - begun)

    def _note(self, scope: Scope, status: int, seconds: float, all_seconds: float) -> None:
        method = scope.get("method", "GET")
        answered = Answered(
            method=method if method in _METHODS else "OTHER",
            route=str(getattr(scope.get("route"), "path", "")),
            status=status,
            seconds=seconds,
        )
        self.observe(answered)
        level = logging.DEBUG if answered.route in _QUIET and status < 400 else logging.INFO
        caller = scope.get("state", {}).get("caller")
        extra = {
            "method": answered.method,
            "route": answered.route,
            "status": status,
            "ms": round(all_seconds * 1000, 1),
            "user": getattr(caller, "user_id", ""),
        }
        if task_id := scope.get("path_params", {}).get("task_id"):
            extra["task_id"] = str(task_id)
        access.log(
            level, "%s %s %d", answered.method, answered.route or "(none)", status, extra=extra
        )


def install(app: FastAPI, observe: Callable[[Answered], None]) -> None:
    """Let every answer of ``app`` have an id and a line in the log.

    Args:
        observe: is told of each answer.
    """
    build = app.build_middleware_stack

    def build_inside() -> ASGIApp:
        # Around everything, so that the answer to an unforeseen error has them too: that is
        # given outside of all middleware that an application can add.
        return RequestLog(build(), observe)

    app.build_middleware_stack = build_inside  # type: ignore[method-assign]
