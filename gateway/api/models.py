"""Models: brought to be served, listed, and asked to analyse a video."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from components.errors import NotFound, Unavailable
from gateway.api.acting import acting_for, storage_of
from gateway.api.dependencies import CurrentCaller, SessionDep, SettingsDep
from gateway.api.starting import LOCATION, Starting
from gateway.flows import TRAINING
from gateway.model_names import check_model_name, models_of
from gateway.models import Task
from gateway.openapi import problems
from gateway.places import check_file, check_source
from gateway.problems import unprocessable
from gateway.schemas import TaskCreated
from gateway.schemas.models import (
    DeployedModel,
    DeploymentRequest,
    InferenceCreated,
    InferenceRequest,
    ModelList,
)
from gateway.tasks import read_task, work_of
from gateway.work import Work

if TYPE_CHECKING:
    from components.serving.status import ServedModel

router = APIRouter(tags=["models"])


@router.post(
    "/deployments",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="deploy",
    summary="Serve a model",
    responses={202: {"headers": LOCATION}, **problems(400, 403, 404, 409)},
)
def deploy(
    body: DeploymentRequest,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    starter: Starting,
) -> TaskCreated:
    """The version that a task of yours has trained, or an ONNX file as a new one of its model."""
    task = read_task(session, body.task_id, caller.scope)
    user_id = acting_for(caller, body.user_id or task.user_id)
    of_task = work_of(task)
    trained = _version(task, ("register",))
    particulars = {"model_task_id": task.id, "task": of_task.task}
    if body.model_path is not None:
        check_file(storage_of(request), user_id, body.model_path)
        name = trained[0] if trained else of_task.model_name
        work = Work.model_validate(
            particulars | {"model_path": body.model_path, "model_name": name}
        )
    elif trained is not None:
        work = Work.model_validate(
            particulars | {"model_name": trained[0], "model_version": trained[1]}
        )
    else:
        raise NotFound(f"The task {task.id!r} has trained nothing: give a model_path.")
    check_model_name(session, user_id, work)
    task_id, _ = starter.start(session, caller, user_id, "deployment", work, body)
    return TaskCreated(task_id=task_id)


@router.get(
    "/models",
    operation_id="listModels",
    summary="List what is deployed",
)
def list_models(caller: CurrentCaller, session: SessionDep, settings: SettingsDep) -> ModelList:
    """The models of your tasks that are served; for an administrator, everybody's."""
    from components.serving.status import served_models

    own = None if caller.scope is None else models_of(session, caller.scope)
    if not settings.triton_url:
        raise Unavailable("No Triton is set: name one with ACTVERSE_TRITON_URL.")
    return described(served_models(settings), own)


def described(served: "list[ServedModel]", own: set[str] | None) -> ModelList:
    """What REST tells of the models that are served; with ``own``, only of these."""
    return ModelList(
        models=[
            DeployedModel(
                model=model.model,
                version=model.version,
                versions=list(model.versions),
                task=model.card.labels.task,
                names=list(model.card.labels.names),
                keypoints=list(model.card.labels.keypoints),
                imgsz=model.card.imgsz,
                stride=model.card.stride,
            )
            for model in served
            if own is None or model.model in own
        ]
    )


@router.post(
    "/models/{task_id}/inference",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="analyse",
    summary="Analyse a video with a task's model",
    responses={202: {"headers": LOCATION}, **problems(400, 403, 404, 409, 422)},
)
@unprocessable("confidence", "iou", "batch_size", "frame_skip", "max_frames")
def analyse(
    task_id: str,
    body: InferenceRequest,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    starter: Starting,
) -> InferenceCreated:
    """With the version that the task has deployed; the results are a task's of their own."""
    user_id = acting_for(caller, body.user_id)
    model = _version(read_task(session, task_id, caller.scope), ("deploy",))
    if model is None:
        raise NotFound(f"The task {task_id!r} has deployed no model: post it to /deployments.")
    check_source(storage_of(request), user_id, body.data_path)
    work = Work(
        file_path=body.data_path,
        model_task_id=task_id,
        model_name=model[0],
        model_version=model[1],
        confidence=body.confidence,
        iou=body.iou,
        batch_size=body.batch_size,
        frame_skip=body.frame_skip,
        max_frames=body.max_frames,
    )
    new_id, _ = starter.start(session, caller, user_id, "inference", work, body)
    return InferenceCreated(task_id=new_id, results=f"/tasks/{new_id}/results")


def _version(task: Task, steps: tuple[str, ...]) -> tuple[str, int] | None:
    """The model and version of the first of these steps that a task has come through."""
    facts = {step.name: step.facts for step in task.steps if step.state == "succeeded"}
    training = next((step for step in task.steps if step.name == TRAINING), None)
    pipeline: dict[str, Any] = training.facts.get("pipeline", {}) if training else {}
    for name, report in pipeline.items():
        if report.get("state") == "succeeded":
            facts.setdefault(name, report.get("facts", {}))
    for step in steps:
        if "version" in facts.get(step, {}):
            return str(facts[step]["model"]), int(facts[step]["version"])
    return None
