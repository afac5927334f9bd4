"""Frames laid out for people to label, and how far they are."""

from http import HTTPStatus

from fastapi import APIRouter, BackgroundTasks, Request, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from components.errors import Conflict, NotFound
from gateway.api.acting import acting_for, storage_of
from gateway.api.dependencies import CurrentCaller, SessionDep
from gateway.api.starting import LOCATION, Starting, send_task
from gateway.labeling import (
    check_labeling,
    finish_labeling,
    labels_step,
    require_open,
    restore_labeling,
)
from gateway.models import Task
from gateway.openapi import problems
from gateway.places import check_file, check_folder, check_labels
from gateway.rounds import next_round, rounds_of
from gateway.schemas import TaskCreated
from gateway.schemas.labeling import (
    LabelingRequest,
    LabelingStatus,
    LabelsRequest,
    Round,
    RoundRequest,
)
from gateway.tasks import extend_task, facts_of, read_task, work_of
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
    asked = body.model_dump(exclude={"task_id", "user_id"}, exclude_defaults=True)
    work = Work.model_validate(task.request | asked)
    check_labeling(request.app.state.settings, work)
    extend_task(session, task, "labeling", work)
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
    """It goes on by itself as soon as every frame is labelled or skipped, and left alone."""
    return _status(session, read_task(session, task_id, caller.scope))


@router.post(
    "/{task_id}/labels",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="importLabels",
    summary="Bring labels that were made elsewhere",
    responses={202: {"headers": LOCATION}, **problems(400, 403, 404, 409)},
)
def import_labels(
    task_id: str,
    body: LabelsRequest,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    starter: Starting,
) -> TaskCreated:
    """They take the place of those frames' labels in the project. It is a task of its own."""
    task = read_task(session, task_id, caller.scope)
    acting_for(caller, body.user_id or task.user_id)
    check_labels(storage_of(request), task.user_id, body.labels_path)
    require_open(task)
    work = Work(labels_path=body.labels_path, labels_format=body.format, labeling_task_id=task.id)
    made, _ = starter.start(session, caller, task.user_id, "labels", work, body, content=task.id)
    return TaskCreated(task_id=made)


@router.post(
    "/{task_id}/finish",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="finishLabeling",
    summary="Go on with the labels that are there",
    responses={202: {"headers": {"Location": LOCATION["Location"]}}, **problems(404, 409)},
)
def finish(
    task_id: str,
    request: Request,
    response: Response,
    caller: CurrentCaller,
    session: SessionDep,
    background: BackgroundTasks,
) -> LabelingStatus:
    """The frames without a label are left out; the labelling can be opened again later."""
    task = read_task(session, task_id, caller.scope)
    finish_labeling(session, task)
    return _goes_on(session, task, request, response, background)


@router.post(
    "/{task_id}/restore",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="restoreLabeling",
    summary="Put a lost project up again",
    responses={202: {"headers": {"Location": LOCATION["Location"]}}, **problems(404, 409)},
)
def restore(
    task_id: str,
    request: Request,
    response: Response,
    caller: CurrentCaller,
    session: SessionDep,
    background: BackgroundTasks,
) -> LabelingStatus:
    """With the labels that had been read from it, where it is gone from the labelling tool."""
    task = read_task(session, task_id, caller.scope)
    restore_labeling(session, task)
    return _goes_on(session, task, request, response, background)


@router.post(
    "/{task_id}/rounds",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="nextRound",
    summary="Label more, and train again",
    responses={202: {"headers": LOCATION}, **problems(400, 403, 404, 409)},
)
def rounds(
    task_id: str,
    body: RoundRequest,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    starter: Starting,
) -> TaskCreated:
    """The frames of which the model was least sure, or the same ones again.

    The round is a task of its own. It trains on the labels of all rounds, from the champion's
    weights, and its model is served if it beats the champion on the same held-out frames.
    """
    task = read_task(session, task_id, caller.scope)
    acting_for(caller, body.user_id or task.user_id)
    weights = body.training.weights if body.training else ""
    if weights.startswith("key:"):
        check_file(storage_of(request), task.user_id, weights.removeprefix("key:"))
    # Of the training's settings only those that were said: the others stay as they were.
    given = body.model_dump(exclude={"reopen", "user_id"}, exclude_none=True, exclude_unset=True)
    # What the first round asked for need not suit the next.
    given.setdefault("strategy", None)

    def make() -> Task:
        return next_round(session, task, given, reopen=body.reopen)

    made, _ = starter.start_task(
        session, caller, task.user_id, "round", make, body, content=task_id
    )
    return TaskCreated(task_id=made)


def _goes_on(
    session: Session,
    task: Task,
    request: Request,
    response: Response,
    background: BackgroundTasks,
) -> LabelingStatus:
    """Say where to look, and have the broker told once the answer is out."""
    session.flush()
    session.expire_all()  # its steps were changed by statements of their own
    response.headers["Location"] = f"/labeling/{task.id}"
    background.add_task(send_task, request.app.state, task.id)
    return _status(session, task)


def _status(session: Session, task: Task) -> LabelingStatus:
    taken, facts, work = labels_step(task), facts_of(task), work_of(task)
    asked = next((step for step in task.steps if step.name == "labeling"), None)
    if asked is None:
        raise NotFound(f"The task {task.id!r} came with its labels: there is nothing to label.")
    step = taken if asked.state == "succeeded" else asked
    given, skipped = bool(work.labels_path), int(taken.facts.get("skipped", 0))
    total = int(taken.facts.get("total", 0)) or int(asked.facts.get("frames", 0))
    if taken.state == "succeeded" and not given:
        labelled = int(taken.facts.get("of_this_round", 0))
    else:
        labelled = max(round(taken.done) - skipped, 0)
    return LabelingStatus(
        task_id=task.id,
        labelled=labelled,
        skipped=skipped,
        total=total or (round(taken.total) if given else 0),
        state=step.state,
        error=step.error,
        tool=str(asked.facts.get("tool", "")) if not given else "",
        project="" if given else str(asked.facts.get("project", "")),
        url=str(asked.facts.get("url", "")),
        strategy=str(facts.get("extract", {}).get("strategy", "")),
        preannotated_by=str(asked.facts.get("preannotated_by", "")),
        note=" ".join(
            note for note in (facts.get("extract", {}).get("note"), asked.facts.get("note")) if note
        ),
        round=work.round,
        rounds=[
            Round(
                round=work_of(one).round,
                task_id=one.id,
                state=one.state,  # type: ignore[arg-type]
                reopens=work_of(one).reopens,
            )
            for one in rounds_of(session, task)
        ],
    )
