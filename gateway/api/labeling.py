"""Frames laid out for people to label, and how far they are."""

from http import HTTPStatus

from fastapi import APIRouter, BackgroundTasks, Request, Response
from sqlalchemy.exc import IntegrityError

from components.errors import Conflict, NotFound
from gateway.api.acting import acting_for, storage_of
from gateway.api.dependencies import CurrentCaller, SessionDep
from gateway.api.starting import LOCATION, send_task
from gateway.openapi import problems
from gateway.places import check_folder
from gateway.schemas import TaskCreated
from gateway.schemas.labeling import LabelingRequest, LabelingStatus
from gateway.tasks import extend_task, read_task, work_of
from gateway.work import Work

router = APIRouter(prefix="/labeling", tags=["labeling"])


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="requestLabels",
    summary="Lay frames out for labelling",
    responses={
        202: {"headers": {"Location": LOCATION["Location"]}},
        **problems(400, 403, 404, 409),
    },
)
def request_labels(
    body: LabelingRequest,
    request: Request,
    response: Response,
    caller: CurrentCaller,
    session: SessionDep,
    background: BackgroundTasks,
) -> TaskCreated:
    """A task of yours that has ended goes on with it."""
    scope = acting_for(caller, body.user_id) if body.user_id else caller.scope
    task = read_task(session, body.task_id, scope)
    check_folder(storage_of(request), task.user_id, body.folder_path)
    extend_task(session, task, "labeling", Work(folder_path=body.folder_path))
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(f"The labels of {body.task_id} are being asked for already.") from error
    response.headers["Location"] = f"/labeling/{task.id}"
    background.add_task(send_task, request.app.state, task.id)
    return TaskCreated(task_id=task.id)


@router.get(
    "/{task_id}",
    operation_id="getLabeling",
    summary="Say how far the labels are",
    responses=problems(404),
)
def labeling(task_id: str, caller: CurrentCaller, session: SessionDep) -> LabelingStatus:
    """It goes on by itself as soon as every frame has its label."""
    task = read_task(session, task_id, caller.scope)
    steps = {step.name: step for step in task.steps}
    asked, taken = steps.get("labeling"), steps.get("labels")
    if asked is None or taken is None:
        raise NotFound(f"Nothing of the task {task_id!r} is labelled: post it to /labeling first.")
    step = taken if asked.state == "succeeded" else asked
    work = work_of(task)
    return LabelingStatus(
        task_id=task.id,
        labelled=round(taken.done),
        total=round(taken.total) or int(asked.facts.get("frames", 0)),
        state=step.state,
        project="" if work.labels_path else f"labeling/{work.project_name}-{task.id}",
    )
