"""The steps that ask a served model: pre-annotation of frames, analysis of a video."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from components.errors import NotFound
from gateway.flows import TRAINING
from gateway.steps.context import StepContext
from gateway.steps.optional_model import NoModel, optional_model, wait_for_lost

if TYPE_CHECKING:
    from components.serving.client import TritonModel
    from components.serving.status import ServedModel


def preannotate(context: StepContext) -> dict[str, Any]:
    """Label the frames with a model that is served, if there is one; without one that is said.

    In a further round that is the user's own, if it is served, else the global one, as also
    where their own finds nothing at all. A model that is broken, or stays away for some
    attempts, is told as none.
    """
    work, settings = context.work, context.settings
    if work.labels_path:
        return _unlabelled("labels were given")
    names = [work.served_name(context.user_id)] if work.round > 1 else []
    names += [settings.global_model] if settings.global_model else []
    if not names:
        return _unlabelled("no global model is set: the frames go out unlabelled")
    if not settings.triton_url:
        return _unlabelled("no Triton is set: the frames go out unlabelled")
    facts: dict[str, Any] = {}
    found_nothing: list[str] = []
    try:
        with optional_model(context):
            served = served_versions(context)
        for name in names:
            if name not in served:
                wait_for_lost(context, name)
                continue
            with optional_model(context):
                facts = {"model": name, "version": served[name]}
                facts |= _label_frames(context, name, served[name])
            if facts["objects"]:
                break
            known = "none of the task's classes" if facts.get("left_out") else "nothing"
            found_nothing.append(f"the model {name} finds {known} in the frames")
    except NoModel as error:
        return _unlabelled(f"the frames go out unlabelled: {error}")
    if not facts:
        none = f"no model {' or '.join(names)} is served"
        return _unlabelled(f"{none}: the frames go out unlabelled")
    context.storage.keep(context.layout.preannotations(context.task_id))
    return {**facts, "reason": "; ".join(found_nothing)}


def _label_frames(context: StepContext, name: str, version: int) -> dict[str, Any]:
    from components.analysis.preannotate import preannotate as run

    work = context.work
    frames = context.storage.bring(context.layout.frames(context.task_id))
    with open_model(context, name, version) as model:
        return run(
            frames,
            context.layout.preannotations(context.task_id),
            model,
            confidence=work.confidence,
            iou=work.iou,
            name=name,
            version=version,
            task=work.task,
            names=work.names,
            keypoints=work.keypoints,
            progress=context.progress,
        )


def _unlabelled(reason: str) -> dict[str, Any]:
    return {"model": "", "reason": reason}


def analyse(context: StepContext) -> dict[str, Any]:
    """Analyse the video with the model that the task trained, or that of an earlier task."""
    from components.analysis.options import AnalysisOptions
    from components.analysis.served import analyse_served
    from components.video.probe import VideoFacts

    name, version = _own_model(context)
    work = context.work
    return analyse_served(
        context.video,
        context.task_id,
        settings=context.settings,
        storage=context.storage,
        model_name=name,
        model_version=version,
        options=AnalysisOptions(
            confidence=work.confidence,
            iou=work.iou,
            batch_size=work.batch_size,
            frame_skip=work.frame_skip,
            max_frames=work.max_frames,
        ),
        facts=VideoFacts.model_validate(context.facts["convert"]["video"]),
        progress=context.progress,
    )


def _own_model(context: StepContext) -> tuple[str, int]:
    """The name and version of the model to analyse with."""
    if TRAINING in context.facts:
        deployed = context.facts[TRAINING]["pipeline"]["deploy"]["facts"]
        return str(deployed["model"]), int(deployed["version"])
    name = context.work.model_name or ""
    return name, _served_version(context, name, context.work.model_version)


def _served_version(context: StepContext, name: str, wanted: int | None = None) -> int:
    """The version wanted, where it is still served; else the one that took its place.

    Raises:
        Unavailable: if none is served now, and the registry says that one should be.
        NotFound: if none is to be.
    """
    from components.serving.awaited import lost_model

    for served in _served(context):
        if served.model == name:
            return wanted if wanted in served.versions else served.version
    raise lost_model(context.settings, name) or NotFound(
        f"The model {name!r} is not served: give a version of it the champion's alias."
    )


def served_versions(context: StepContext) -> dict[str, int]:
    """The version that answers for each served model."""
    return {model.model: model.version for model in _served(context)}


def _served(context: StepContext) -> "list[ServedModel]":
    from components.serving.status import served_models

    return served_models(context.settings)


@contextmanager
def open_model(context: StepContext, name: str, version: int) -> "Iterator[TritonModel]":
    """A served version of a model; closed at the end of the block.

    Raises:
        Unavailable: also if Triton has lost it meanwhile.
    """
    from components.serving.awaited import awaited
    from components.serving.client import TritonModel

    settings = context.settings
    with (
        awaited(settings, name, version),
        TritonModel(
            settings.triton_url,
            name,
            version,
            shared_memory=settings.triton_shared_memory,
            key=settings.triton_control_key.get_secret_value(),
        ) as model,
    ):
        yield model
