"""Trainings: begun from labels that are there, and how far they are."""

from http import HTTPStatus

from fastapi import APIRouter, Request

from components.errors import NotFound
from gateway.api.acting import acting_for, storage_of
from gateway.api.dependencies import CurrentCaller, SessionDep, SettingsDep
from gateway.api.starting import LOCATION, Starting
from gateway.flows import TRAINING
from gateway.model_names import check_model_name
from gateway.openapi import problems
from gateway.places import check_file, check_folder
from gateway.problems import unprocessable
from gateway.schemas import TaskCreated
from gateway.schemas.tasks import learning_of
from gateway.schemas.training import TrainingRequest, TrainingStatus
from gateway.tasks import read_task
from gateway.work import Work

router = APIRouter(prefix="/training", tags=["training"])


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="train",
    summary="Train a model from labels",
    responses={202: {"headers": LOCATION}, **problems(400, 403, 404, 409, 422)},
)
@unprocessable("mode_train_info")
def train(
    body: TrainingRequest,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    settings: SettingsDep,
    starter: Starting,
) -> TaskCreated:
    """It is trained, exported, registered and served."""
    user_id, storage = acting_for(caller, body.user_id), storage_of(request)
    particulars = learning_of(body)
    training = particulars.pop("mode_train_info")
    work = Work.model_validate(
        particulars | {"labels_path": particulars.pop("data_path"), "training": training}
    )
    work.wanted.check()
    check_folder(storage, user_id, work.labels_path)
    weights = work.training.weights
    if weights.startswith("key:"):
        check_file(storage, user_id, weights.removeprefix("key:"))
    check_model_name(session, settings, caller, user_id, work)
    task_id, _ = starter.start(session, caller, user_id, "training", work, body)
    return TaskCreated(task_id=task_id)


@router.get(
    "/{task_id}",
    operation_id="getTraining",
    summary="Say how far a training is",
    responses=problems(404),
)
def training(task_id: str, caller: CurrentCaller, session: SessionDep) -> TrainingStatus:
    """Its epochs, and the metrics of the latest."""
    task = read_task(session, task_id, caller.scope)
    step = next((step for step in task.steps if step.name == TRAINING), None)
    if step is None:
        raise NotFound(f"The task {task_id!r} trains nothing: post to /training.")
    run = step.facts.get("run", {})
    facts = step.facts.get("pipeline", {}).get("train", {}).get("facts", {})
    return TrainingStatus(
        task_id=task.id,
        state=step.state,
        current_epoch=int(facts.get("epoch", 0)),
        epochs=int(facts.get("epochs", 0)),
        metrics=facts.get("metrics", {}),
        run_id=run.get("run_id", ""),
        run_url=run.get("url", ""),
    )
