"""Tasks: posted, and looked at."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from components.errors import BadInput
from gateway.api.dependencies import CurrentUser, SessionDep, SettingsDep
from gateway.flow import STEPS
from gateway.schemas import Problem, TaskCreated, TaskRequest, TaskStatus
from gateway.tasks import create_task, read_task, task_status

router = APIRouter(tags=["tasks"])


@router.post(
    "/tasks/",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="createTask",
    responses={400: {"model": Problem}, 401: {"model": Problem}},
)
def create(
    request: TaskRequest,
    user: CurrentUser,
    session: SessionDep,
    settings: SettingsDep,
    response: Response,
) -> TaskCreated:
    """Take a video and its labels to a served model and an analysis."""
    if request.user_id not in (None, user):
        raise BadInput(f"The API key is not {request.user_id!r}'s: leave user_id out.")
    for key in request.storage_keys():
        settings.layout.user_file(user, key)
    request.served_name(user)
    task = create_task(session, user, request, STEPS)
    response.headers["Location"] = f"/status/{task.id}"
    return TaskCreated(task_id=task.id)


@router.get(
    "/status/{task_id}",
    operation_id="getStatus",
    responses={401: {"model": Problem}, 404: {"model": Problem}},
)
def status(task_id: str, user: CurrentUser, session: SessionDep) -> TaskStatus:
    """Where a task of yours stands."""
    return task_status(read_task(session, task_id, user))
