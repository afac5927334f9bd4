"""A user's own files: sent, listed, fetched, deleted."""

import re
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

import gateway.api.key_paths  # noqa: F401
from components.errors import NotFound
from gateway.api.acting import acting_for, storage_of
from gateway.api.dependencies import CurrentCaller, SettingsDep
from gateway.api.downloads import FILE_RESPONSES, RangeHeader, send_file
from gateway.api.paging import Limit, next_link
from gateway.database import Sessions
from gateway.openapi import problems
from gateway.places import check_target, own_key, prefix_of
from gateway.rounds import look_at_labels
from gateway.schemas.files import Deleted, OwnFile, OwnFileList
from gateway.tasks import read_task
from gateway.uploads import store_body
from gateway.work import Name

router = APIRouter(prefix="/files", tags=["files"])

_IN_PROJECT = re.compile(r"labeling/[^/]+-(t-[0-9a-f]{12})/.+")

_Key = Annotated[str, Path(max_length=1024, description="a key below your own files")]
_For = Annotated[
    Name | None, Query(alias="user_id", description="whose; another's for administrators only")
]


@router.get(
    "/",
    operation_id="listFiles",
    summary="List your own files, by key",
    responses=problems(400, 403),
)
def list_files(
    request: Request,
    caller: CurrentCaller,
    prefix: Annotated[str | None, Query(max_length=1024, description="only in this folder")] = None,
    after: Annotated[
        str | None, Query(max_length=1024, description="the last key of the page before")
    ] = None,
    limit: Limit = 1000,
    user: _For = None,
) -> OwnFileList:
    """A page of them."""
    user_id, storage = acting_for(caller, user), storage_of(request)
    home = prefix_of(user_id)
    folder = own_key(storage, user_id, prefix) if prefix else home
    after_key = own_key(storage, user_id, after) if after else ""
    found = list(storage.files(folder, after=after_key, limit=limit + 1))
    files = [
        OwnFile(key=file.key.removeprefix(f"{home}/"), bytes=file.bytes, modified=file.modified)
        for file in found[:limit]
    ]
    last = files[-1].key if len(found) > limit else None
    parameters = {"prefix": prefix, "user_id": user, "after": last, "limit": limit}
    return OwnFileList(
        files=files, after=last, next=next_link("/files/", **parameters) if last else None
    )


@router.put(
    "/{key:key}",
    operation_id="putFile",
    summary="Send a file",
    responses={
        200: {"description": "It has replaced one of this key."},
        201: {"description": "It is new.", "model": OwnFile},
        **problems(400, 403, 413, 507),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def put_file(
    key: _Key,
    request: Request,
    response: Response,
    caller: CurrentCaller,
    settings: SettingsDep,
    user: _For = None,
) -> OwnFile:
    """It is there whole, or not at all; one that is there already is replaced."""
    user_id, storage = acting_for(caller, user), storage_of(request)
    await run_in_threadpool(check_target, storage, user_id, key)
    own = own_key(storage, user_id, key)
    before = await run_in_threadpool(storage.stat, own)
    stored = await store_body(storage, own, request, user_id, settings.max_upload_bytes)
    if match := _IN_PROJECT.fullmatch(key):
        await run_in_threadpool(_look_soon, request.app.state.sessions, user_id, match[1])
    response.status_code = HTTPStatus.CREATED if before is None else HTTPStatus.OK
    return OwnFile(key=key, bytes=stored.bytes, modified=stored.modified)


@router.get(
    "/{key:key}",
    operation_id="getFile",
    summary="Fetch a file",
    response_class=Response,
    responses={**FILE_RESPONSES, **problems(400, 403, 404, 416)},
)
def get_file(
    key: _Key,
    request: Request,
    caller: CurrentCaller,
    asked: RangeHeader = None,
    user: _For = None,
) -> StreamingResponse:
    """All of it, or the bytes that Range asks for."""
    user_id, storage = acting_for(caller, user), storage_of(request)
    own = own_key(storage, user_id, key)
    return send_file(storage, own, request, asked, f"There is no file {key!r} among yours.")


@router.delete(
    "/{key:key}",
    operation_id="deleteFile",
    summary="Delete a file, or a folder with all that is in it",
    responses=problems(400, 403, 404),
)
def delete_file(key: _Key, request: Request, caller: CurrentCaller, user: _For = None) -> Deleted:
    """Tasks that have read it already have a copy of their own."""
    user_id, storage = acting_for(caller, user), storage_of(request)
    count = storage.delete(own_key(storage, user_id, key))
    if count == 0:
        raise NotFound(f"There is no file or folder {key!r} among yours.")
    return Deleted(key=key, files=count)


def _look_soon(sessions: Sessions, user_id: str, task_id: str) -> None:
    """Let beat have a task's labels looked at: not once for each file of a folder."""
    with suppress(NotFound), sessions.begin() as session:
        look_at_labels(session, read_task(session, task_id, user_id).id)
