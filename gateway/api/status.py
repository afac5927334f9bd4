"""Where a task stands: asked for, or told as it changes.

Server-sent events and WebSocket carry the same messages: ``status`` with what
``GET /status/{task_id}`` answers, and each event of the task's timeline under its own name.
The id of the last message is all that a client needs to go on where it was. Keys are sent in
headers, or in a WebSocket's first message, never in an address: those are logged.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from fastapi.security.utils import get_authorization_scheme_param
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import HTTPConnection

from components.errors import ActverseError, BadInput, Unauthorized
from gateway.api.dependencies import CurrentCaller, admit, authenticate
from gateway.live import Live, Watch
from gateway.openapi import problems
from gateway.schemas import TaskStatus

router = APIRouter(tags=["tasks"])

_RETRY_MILLISECONDS = 1000
_HELLO_SECONDS = 5.0
# How long a watcher whose key was revoked may go on.
_KEY_SECONDS = 15.0
_REASON_BYTES = 123
_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013
_NO_STORE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

_EXAMPLE = """\
event: VIDEO_DOWNLOADED
data: {"task_id":"t-0123456789ab","name":"VIDEO_DOWNLOADED","revision":7,"time":\
"2030-01-01T00:00:00Z","data":{"step":"download","file":"source.mp4","bytes":1048576}}
id: 7

event: status
data: {"task_id":"t-0123456789ab","user_id":"ada","kind":"loop","revision":8,…}
id: 8

"""


class Hello(BaseModel):
    """What a WebSocket sends first where its client cannot set headers."""

    api_key: str = Field(max_length=256)
    last_event_id: int = Field(0, ge=0)


def _live(connection: HTTPConnection) -> Live:
    live: Live = connection.app.state.live
    return live


async def _live_of(request: Request) -> Live:
    # Not a plain function: FastAPI would call it in a thread.
    return _live(request)


LiveDep = Annotated[Live, Depends(_live_of)]


@router.get(
    "/status/{task_id}",
    operation_id="getStatus",
    response_model=TaskStatus,
    responses=problems(404),
)
async def status(task_id: str, caller: CurrentCaller, live: LiveDep) -> Response:
    """Where a task of yours stands."""
    snapshot = await live.status(task_id, caller.scope)
    return Response(
        snapshot.body, media_type="application/json", headers={"Cache-Control": "no-store"}
    )


@router.get(
    "/tasks/{task_id}/events",
    operation_id="watchTask",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The task's timeline so far, its status, and both as they change. "
            "`data` of `status` is a TaskStatus; comments keep the connection alive. Ends with "
            "the status of a task that has ended.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        },
        204: {"description": "The task has ended and you know it: do not connect again."},
        **problems(404),
    },
)
async def events(
    task_id: str,
    request: Request,
    caller: CurrentCaller,
    live: LiveDep,
    last_event_id: Annotated[
        int, Header(ge=0, description="the id of the last message that you have got")
    ] = 0,
) -> Response:
    """Watch a task of yours, by server-sent events."""
    watch = await live.watch(task_id, caller.scope, last_event_id)
    if watch.over:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    leave = request.app.state.watchers.hold(caller.user_id, watch)
    return StreamingResponse(
        _stream(watch, request, leave), media_type="text/event-stream", headers=_NO_STORE
    )


@router.websocket("/ws/tasks/{task_id}")
async def socket(websocket: WebSocket, task_id: str) -> None:
    """Watch a task of yours, by a WebSocket; each message is {"event", "id", "data"}.

    The key comes as X-API-Key, with Last-Event-ID beside it if there is one; or in a first
    message {"api_key", "last_event_id"} within 5 seconds. It is closed with 1000 when the
    task has ended, and with 1008 and a reason when the client may not watch.
    """
    await websocket.accept()
    try:
        hello = await _hello(websocket)
        caller = await admit(websocket, hello.api_key)
        watch = await _live(websocket).watch(task_id, caller.scope, hello.last_event_id)
        leave = websocket.app.state.watchers.hold(caller.user_id, watch)
    except ActverseError as error:
        await websocket.close(_POLICY_VIOLATION, _reason(error))
        return
    except SQLAlchemyError:
        await websocket.close(_TRY_AGAIN_LATER, "The database is locked or away.")
        return
    except WebSocketDisconnect:
        return
    sender = asyncio.create_task(_send(websocket, watch, hello.api_key))
    listener = asyncio.create_task(_until_left(websocket))
    try:
        await asyncio.wait((sender, listener), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leave()
        listener.cancel()
        if not sender.done():
            sender.cancel()
        await asyncio.wait((sender, listener))
    if not sender.cancelled():
        sender.result()


async def _stream(
    watch: Watch, request: Request, leave: Callable[[], object]
) -> AsyncIterator[bytes]:
    async with AsyncExitStack() as stack:
        stack.callback(leave)
        yield format_sse_event(retry=_RETRY_MILLISECONDS)
        key = _key(request)
        checked = time.monotonic()
        async for messages in await stack.enter_async_context(aclosing(watch.messages())):
            if time.monotonic() - checked > _KEY_SECONDS:
                if not await _still_valid(request, key):
                    return  # whoever connects again is told why
                checked = time.monotonic()
            yield b"".join(message.sse for message in messages) or KEEPALIVE_COMMENT


async def _send(websocket: WebSocket, watch: Watch, key: str) -> None:
    checked = time.monotonic()
    try:
        async with aclosing(watch.messages()) as news:
            async for messages in news:
                if time.monotonic() - checked > _KEY_SECONDS:
                    if not await _still_valid(websocket, key):
                        await websocket.close(_POLICY_VIOLATION, "Unauthorized: revoked.")
                        return
                    checked = time.monotonic()
                for message in messages:
                    await websocket.send_text(message.text)
        await websocket.close(reason="The task has ended.")
    except WebSocketDisconnect:
        pass


async def _until_left(websocket: WebSocket) -> None:
    """Read what the client has no reason to send, so that its leaving is noticed."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _hello(websocket: WebSocket) -> Hello:
    words: dict[str, Any] | str
    if key := _key(websocket):
        words = {
            "api_key": key,
            "last_event_id": websocket.headers.get("last-event-id", 0),
        }
    else:
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                message = await websocket.receive()
        except TimeoutError:
            raise Unauthorized("No API key came within 5 s.") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        words = message.get("text") or ""
    try:
        if isinstance(words, str):
            return Hello.model_validate_json(words)
        return Hello.model_validate(words)
    except ValidationError as error:
        # Its own words would repeat the key.
        raise BadInput('Send {"api_key": "av_…", "last_event_id": 0} first.') from error


def _key(connection: HTTPConnection) -> str:
    """The API key in the headers; empty if there is none."""
    headers = connection.headers
    scheme, bearer = get_authorization_scheme_param(headers.get("authorization"))
    return headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")


async def _still_valid(connection: HTTPConnection, key: str) -> bool:
    try:
        return await authenticate(connection.app.state, key) is not None
    except SQLAlchemyError:
        return True  # it was a moment ago, and what is watched cannot be read either


def _reason(error: ActverseError) -> str:
    """An error as the reason of a WebSocket's close, which is short."""
    text = f"{type(error).__name__}: {error}".encode()[:_REASON_BYTES]
    return text.decode(errors="ignore")
