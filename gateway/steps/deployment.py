"""A model that a user brings, registered and deployed like one that was trained here."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.errors import NotFound
from gateway.steps.context import StepContext


def register(context: StepContext) -> dict[str, Any]:
    """Register the user's ONNX file as a version of the task's model; or name its own version."""
    work = context.work
    if work.model_path:
        name = work.served_name(context.user_id)
        return {"model": name, "version": _register_file(context, name)}
    if work.model_name is None or work.model_version is None:
        raise NotFound(
            f"The task {work.model_task_id} has registered no model version: wait for the end of "
            "its training, or give a model file."
        )
    return {"model": work.model_name, "version": work.model_version}


def _register_file(context: StepContext, name: str) -> int:
    from components.registry.bring import register_file, training_run
    from components.registry.trial import TrialLimits

    work, layout = context.work, context.layout
    try:
        dataset = context.storage.bring(layout.dataset(work.model_task_id))
        run_id = training_run(context.storage.bring(layout.step_reports(work.model_task_id)))
    except NotFound as error:
        raise NotFound(
            f"The task {work.model_task_id} has no finished training, whose held-out frames the "
            "model file could be tried out on: name a task that has one."
        ) from error
    return register_file(
        context.bring_own(work.model_path),
        name=name,
        dataset=dataset,
        run_id=run_id,
        tracking_uri=context.settings.mlflow_uri,
        tags={"task_id": work.model_task_id, "deployment.task_id": context.task_id},
        limits=TrialLimits.of(context.settings),
        progress=context.progress,
    )


def bring(context: StepContext) -> dict[str, Any]:
    """Register a model file of the user's own, proven on images of theirs."""
    from components.registry.import_model import import_model

    work = context.work
    name = work.served_name(context.user_id)
    imported = import_model(
        context.bring_own(work.model_path),
        _images(context),
        name=name,
        settings=context.settings,
        imgsz=work.imgsz,
        tags={"task_id": context.task_id},
        progress=context.progress,
    )
    return {"model": name, **asdict(imported)}


def _images(context: StepContext) -> Path:
    """The images that a model is proven on: named ones, or the frames of an earlier task."""
    work = context.work
    if work.images_path:
        return context.bring_own(work.images_path)
    try:
        return context.storage.bring(context.layout.frames(work.images_task_id))
    except NotFound as error:
        raise NotFound(
            f"The frames of the task {work.images_task_id} are gone: name images that show what "
            "the model finds."
        ) from error


def deploy(context: StepContext) -> dict[str, Any]:
    """Give the version the champion's alias and wait until it is served."""
    from components.serving.deploy import deploy as run

    settings = context.settings
    registered = context.facts.get("register") or context.facts["bring"]
    name, version = str(registered["model"]), int(registered["version"])
    run(
        name,
        version,
        settings=settings,
        timeout=settings.promotion_timeout,
        progress=context.progress,
    )
    return {"model": name, "version": version}
