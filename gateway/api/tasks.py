"""Tasks: posted, listed, cancelled; and their results."""

import re
import secrets
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

import gateway.api.key_paths  # noqa: F401
from components.errors import BadInput, NotFound
from components.json_text import read_json
from components.settings import Settings
from components.storage import Storage
from gateway.announce import announce
from gateway.api.acting import acting_for, storage_of
from gateway.api.dependencies import CurrentCaller, SessionDep, SettingsDep
from gateway.api.downloads import FILE_RESPONSES, RangeHeader, media_type, send_file
from gateway.api.paging import Limit, next_link
from gateway.api.starting import LOCATION, Starter, Starting
from gateway.database import Sessions
from gateway.keys import Caller
from gateway.labeling import check_labeling
from gateway.model_names import check_model_name
from gateway.models import Task
from gateway.openapi import problems
from gateway.places import check_work, prefix_of
from gateway.problems import UnsupportedMediaType, invalid
from gateway.schemas import TaskCreated, TaskRequest, TaskState
from gateway.schemas.tasks import (
    Cancelled,
    KeptFolder,
    ResultFile,
    ResultList,
    TaskList,
    TaskSummary,
    UploadedTaskRequest,
    learning_of,
)
from gateway.status import task_status
from gateway.tasks import cancel_task, list_tasks, read_task
from gateway.uploads import Form
from gateway.work import Work

router = APIRouter(prefix="/tasks", tags=["tasks"])

_LINK_SECONDS = 3600
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/TaskRequest"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["request", "video"],
                    "properties": {
                        "request": {"$ref": "#/components/schemas/UploadedTaskRequest"},
                        "video": {"type": "string", "format": "binary"},
                    },
                    "additionalProperties": False,
                },
                "encoding": {"request": {"contentType": "application/json"}},
            },
        },
    }
}


@router.post(
    "/",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="createTask",
    summary="Take a video to a served model and an analysis",
    response_model=TaskCreated,
    responses={202: {"headers": LOCATION}, **problems(400, 403, 409, 415, 507)},
    openapi_extra=_BODY,
)
async def create(
    request: Request, caller: CurrentCaller, settings: SettingsDep, starter: Starting
) -> TaskCreated:
    """The video is fetched from a URL or from among your own files, or sent along as a form.

    The form's part ``request`` comes first, its part ``video`` is the file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        task_id = await _create_of_form(request, caller, settings, starter)
    elif kind == "application/json":
        body = _validated(request, TaskRequest, await request.body())
        work = Work.model_validate(learning_of(body))
        task_id, _ = await run_in_threadpool(_start, request, caller, starter, work, body, "")
    else:
        raise UnsupportedMediaType(
            "The body is neither JSON nor a form: send application/json or multipart/form-data."
        )
    return TaskCreated(task_id=task_id)


async def _create_of_form(
    request: Request, caller: Caller, settings: Settings, starter: Starter
) -> str:
    form = Form(request)
    part = await form.next_part()
    if part is None or part.name != "request":
        raise BadInput("The form does not begin with a part 'request': send the JSON first.")
    body = _validated(request, UploadedTaskRequest, await form.whole(settings.max_request_bytes))
    user_id = acting_for(caller, body.user_id)
    storage = storage_of(request)
    particulars = learning_of(body)
    asked = Work.model_validate(particulars)
    await run_in_threadpool(check_work, storage, user_id, asked)
    check_labeling(settings, asked)
    part = await form.next_part()
    if part is None or part.name != "video":
        raise BadInput("The form has no part 'video' after 'request': send the file in it.")
    key = f"uploads/{secrets.token_hex(6)}/{_file_name(part.file_name)}"
    stored = f"{prefix_of(user_id)}/{key}"
    kept = False
    try:
        _, sha256 = await form.store(storage, stored, user_id, settings.max_upload_bytes)
        if await form.next_part() is not None:
            raise BadInput("The form has a part after 'video': leave it out.")
        work = Work.model_validate({**particulars, "file_path": key})
        task_id, replayed = await run_in_threadpool(
            _start, request, caller, starter, work, body, sha256
        )
        kept = not replayed
    finally:
        if not kept:
            await run_in_threadpool(storage.delete, stored)
    return task_id


def _start(
    request: Request,
    caller: Caller,
    starter: Starter,
    work: Work,
    body: UploadedTaskRequest,
    content: str,
) -> tuple[str, bool]:
    user_id = acting_for(caller, body.user_id)
    check_work(storage_of(request), user_id, work)
    check_labeling(request.app.state.settings, work)
    sessions: Sessions = request.app.state.sessions
    with sessions.begin() as session:
        check_model_name(session, request.app.state.settings, caller, user_id, work)
        return starter.start(session, caller, user_id, "loop", work, body, content=content)


def _validated(request: Request, model: type[Any], text: bytes) -> Any:
    try:
        return model.model_validate(read_json(text))
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise invalid(request, faults) from error
    except ValueError as error:
        raise BadInput("The request is not valid: it is no JSON that can be read.") from error


def _file_name(name: str) -> str:
    """A name for an uploaded file that is like the client's own."""
    last = re.split(r"[/\\]", name)[-1]
    return _NOT_IN_NAMES.sub("_", last).lstrip("._")[-100:].lstrip("._-") or "video"


@router.get(
    "/",
    operation_id="listTasks",
    summary="List your tasks, the newest first",
    responses=problems(400, 404),
)
def list_own(
    caller: CurrentCaller,
    session: SessionDep,
    state: Annotated[tuple[TaskState, ...], Query(description="only in one of these")] = (),
    after: Annotated[
        str | None, Query(max_length=64, description="the last task of the page before")
    ] = None,
    limit: Limit = 50,
) -> TaskList:
    """An administrator is given everybody's."""
    found = list_tasks(session, caller.scope, states=state, after=after or "", limit=limit + 1)
    page = found[:limit]
    last = page[-1].id if len(found) > limit else None
    return TaskList(
        tasks=[_summary(task) for task in page],
        after=last,
        next=next_link("/tasks/", state=state, after=last, limit=limit) if last else None,
    )


def _summary(task: Task) -> TaskSummary:
    status = task_status(task)
    process = status.process_status
    return TaskSummary(
        task_id=task.id,
        user_id=task.user_id,
        kind=task.kind,
        state=process.state,
        percent=process.percent,
        error=process.error,
        created=process.created,
        updated=process.updated,
    )


@router.delete(
    "/{task_id}",
    operation_id="cancelTask",
    summary="Cancel a task",
    responses=problems(404),
)
def cancel(
    task_id: str,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    settings: SettingsDep,
    background: BackgroundTasks,
) -> Cancelled:
    """What runs is ended, what it has brought so far is kept. Done again, it changes nothing."""
    task = read_task(session, task_id, caller.scope)
    if cancel_task(session, task):
        background.add_task(announce, settings, task_id)
    session.flush()
    session.refresh(task)
    return Cancelled(
        task_id=task.id,
        state=task.state,
        cancelled_steps=[step.name for step in task.steps if step.state == "cancelled"],
        finished_steps=[step.name for step in task.steps if step.state == "succeeded"],
        kept=list(_kept(storage_of(request), task)),
    )


def _kept(storage: Storage, task: Task) -> Iterator[KeptFolder]:
    own = prefix_of(task.user_id)
    project = task.request.get("project_name", Work.model_fields["project_name"].default)
    folders = [
        *(f"{name}/{task.id}" for name in ("videos", "frames", "preannotations", "labels")),
        *(f"{name}/{task.id}" for name in ("train_log", "inference_results")),
    ]
    for folder in (*folders, f"{own}/frames/{task.id}", f"{own}/labeling/{project}-{task.id}"):
        sizes = [file.bytes for file in storage.files(folder)]
        if sizes:
            yield KeptFolder(
                folder=folder.removeprefix(f"{own}/"),
                own=folder.startswith(own),
                files=len(sizes),
                bytes=sum(sizes),
            )


@router.get(
    "/{task_id}/results",
    operation_id="listResults",
    summary="List a task's result files",
    responses=problems(400, 404),
)
def list_results(
    task_id: str,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    after: Annotated[
        str | None, Query(max_length=1024, description="the last path of the page before")
    ] = None,
    limit: Limit = 1000,
) -> ResultList:
    """While the task runs, those that it has written so far."""
    task = read_task(session, task_id, caller.scope)
    storage, folder = storage_of(request), _results_of(task)
    after_key = f"{folder}/{after}" if after else ""
    found = list(storage.files(folder, after=after_key, limit=limit + 1))
    if not found and not after:
        raise NotFound(f"The task {task_id} has no results yet: look again once it has analysed.")
    page = found[:limit]
    files = []
    for file in page:
        path = file.key.removeprefix(f"{folder}/")
        files.append(
            ResultFile(
                path=path,
                bytes=file.bytes,
                modified=file.modified,
                media_type=media_type(path),
                link=storage.link(file.key, _LINK_SECONDS) or f"/tasks/{task_id}/results/{path}",
            )
        )
    last = files[-1].path if len(found) > limit else None
    return ResultList(
        task_id=task_id,
        complete=any(step.name == "results" and step.state == "succeeded" for step in task.steps),
        files=files,
        after=last,
        next=next_link(f"/tasks/{task_id}/results", after=last, limit=limit) if last else None,
    )


@router.get(
    "/{task_id}/results/{path:key}",
    operation_id="getResult",
    summary="Download a result file",
    response_class=Response,
    responses={**FILE_RESPONSES, **problems(400, 404, 416)},
)
def get_result(
    task_id: str,
    path: str,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    asked: RangeHeader = None,
) -> StreamingResponse:
    """All of it, or the bytes that Range asks for."""
    task = read_task(session, task_id, caller.scope)
    missing = f"The task {task_id} has no result {path!r}: look at /tasks/{task_id}/results."
    return send_file(storage_of(request), f"{_results_of(task)}/{path}", request, asked, missing)


def _results_of(task: Task) -> str:
    return f"inference_results/{task.id}"
