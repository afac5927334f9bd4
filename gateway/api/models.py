"""Models: brought to be served, listed, and asked to analyse a video."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from components.errors import BadInput, NotFound, Unavailable
from components.storage import Storage
from gateway.api.acting import acting_for, storage_of
from gateway.api.dependencies import CurrentCaller, SessionDep, SettingsDep
from gateway.api.starting import LOCATION, Starting
from gateway.flows import TRAINING
from gateway.model_names import check_model_name, models_of
from gateway.models import Step, Task
from gateway.openapi import problems
from gateway.places import check_file, check_file_or_folder, check_source
from gateway.problems import unprocessable
from gateway.schemas import TaskCreated
from gateway.schemas.models import (
    DeployedModel,
    DeploymentRequest,
    InferenceCreated,
    InferenceRequest,
    ModelImport,
    ModelList,
)
from gateway.tasks import read_task, work_of
from gateway.work import Work

if TYPE_CHECKING:
    from components.serving.status import ServedModel

router = APIRouter(tags=["models"])

_TASKS_LOOKED_AT = 20


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
    settings: SettingsDep,
    starter: Starting,
) -> TaskCreated:
    """The version that a task of yours has trained, or an ONNX file as a new one of its model."""
    task = read_task(session, body.task_id, caller.scope)
    user_id = acting_for(caller, body.user_id or task.user_id)
    of_task = work_of(task)
    trained = _version(task, ("register", "bring"))
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
    check_model_name(session, settings, caller, user_id, work)
    task_id, _ = starter.start(session, caller, user_id, "deployment", work, body)
    return TaskCreated(task_id=task_id)


@router.post(
    "/models",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="importModel",
    summary="Bring a model that was trained elsewhere",
    responses={202: {"headers": LOCATION}, **problems(400, 403, 404, 409)},
)
def import_model(
    body: ModelImport,
    request: Request,
    caller: CurrentCaller,
    session: SessionDep,
    settings: SettingsDep,
    starter: Starting,
) -> TaskCreated:
    """It is checked, a checkpoint exported, proven on your images, registered and served."""
    user_id, storage = acting_for(caller, body.user_id), storage_of(request)
    work = Work(
        model_path=body.model_path,
        model_name=body.name,
        images_path=body.images_path or "",
        imgsz=body.imgsz,
    )
    check_model_name(session, settings, caller, user_id, work)
    _check_model_file(body.model_path)
    check_file(storage, user_id, body.model_path)
    if body.images_path:
        check_file_or_folder(storage, user_id, body.images_path)
    else:
        frames_of = _newest_with_frames(session, storage, user_id)
        work = work.model_copy(update={"images_task_id": frames_of})
    task_id, _ = starter.start(session, caller, user_id, "model", work, body)
    return TaskCreated(task_id=task_id)


@router.get(
    "/models",
    operation_id="listModels",
    summary="List what is deployed",
)
def list_models(caller: CurrentCaller, session: SessionDep, settings: SettingsDep) -> ModelList:
    """The global model and those of your tasks, as they are served; an administrator's: all."""
    from components.serving.status import served_models

    everybodys = {settings.global_model}
    own = None if caller.scope is None else models_of(session, caller.scope) | everybodys
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


def _check_model_file(key: str) -> None:
    if not key.lower().endswith((".pt", ".onnx")):
        raise BadInput(
            f"{key!r} is named neither as a checkpoint nor as an ONNX file: give one that ends in "
            ".pt or .onnx."
        )


def _newest_with_frames(session: Session, storage: Storage, user_id: str) -> str:
    """The newest task of a user that has extracted frames which are still there."""
    query = (
        select(Task.id)
        .join(Step)
        .where(Task.user_id == user_id, Step.name == "extract", Step.state == "succeeded")
        .order_by(Task.created.desc(), Task.id.desc())
        .limit(_TASKS_LOOKED_AT)
    )
    for task_id in session.scalars(query):
        if any(True for _ in storage.files(f"frames/{task_id}", limit=1)):
            return task_id
    raise BadInput(
        "The model is proven on images, and no task of yours has extracted frames yet: name a "
        "folder of images, or a video, with images_path (--images)."
    )


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
