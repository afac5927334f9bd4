"""Single pieces of the way before the labels: fetch a video, extract frames, put a file."""

from http import HTTPStatus

from fastapi import APIRouter, Request

from gateway.api.acting import acting_for, storage_of
from gateway.api.dependencies import CurrentCaller, SessionDep
from gateway.api.starting import LOCATION, Starting
from gateway.openapi import problems
from gateway.places import check_source, check_target
from gateway.schemas.video import (
    DownloadCreated,
    DownloadRequest,
    ExtractCreated,
    ExtractRequest,
    UploadCreated,
    UploadRequest,
)
from gateway.work import Work

router = APIRouter(prefix="/video", tags=["video"])


@router.post(
    "/download",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="downloadVideo",
    summary="Fetch a video and check it",
    responses={202: {"headers": LOCATION}, **problems(400, 403, 404, 409)},
)
def download(
    body: DownloadRequest,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    starter: Starting,
) -> DownloadCreated:
    """It ends up among your own files."""
    user_id, storage = acting_for(caller, body.user_id), storage_of(request)
    check_source(storage, user_id, body.file_path)
    check_target(storage, user_id, body.download_path)
    work = Work(file_path=body.file_path, download_path=body.download_path)
    task_id, _ = starter.start(session, caller, user_id, "download", work, body)
    return DownloadCreated(task_id=task_id, download_path=body.download_path)


@router.post(
    "/extract-frames",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="extractFrames",
    summary="Extract frames of a video",
    responses={202: {"headers": LOCATION}, **problems(400, 403, 404, 409)},
)
def extract_frames(
    body: ExtractRequest,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    starter: Starting,
) -> ExtractCreated:
    """They end up among your own files."""
    user_id = acting_for(caller, body.user_id)
    check_source(storage_of(request), user_id, body.file_path)
    work = Work.model_validate(body.model_dump(exclude={"user_id"}))
    task_id, _ = starter.start(session, caller, user_id, "extract", work, body)
    return ExtractCreated(task_id=task_id, frame_path=f"frames/{task_id}")


@router.post(
    "/upload",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="uploadVideo",
    summary="Put a video elsewhere among your own files",
    responses={202: {"headers": LOCATION}, **problems(400, 403, 404, 409)},
)
def upload(
    body: UploadRequest,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    starter: Starting,
) -> UploadCreated:
    """To send a file from your machine, use ``PUT /files/{key}``."""
    user_id, storage = acting_for(caller, body.user_id), storage_of(request)
    check_source(storage, user_id, body.file_path)
    check_target(storage, user_id, body.upload_path)
    work = Work(file_path=body.file_path, upload_path=body.upload_path)
    task_id, _ = starter.start(session, caller, user_id, "upload", work, body)
    return UploadCreated(task_id=task_id, upload_path=body.upload_path)
