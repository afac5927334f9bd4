"""The analysis of a stored video with a model that is served."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.analysis.analyse import analyse
from components.analysis.options import AnalysisOptions
from components.errors import NotFound
from components.pipeline_step import PipelineStep
from components.serving.awaited import awaited, lost_model
from components.serving.client import TritonModel
from components.serving.status import served_models
from components.settings import Settings
from components.steps import Progress
from components.storage import Storage
from components.video.probe import VideoFacts


def analyse_served(
    video: Path,
    task_id: str,
    *,
    settings: Settings,
    storage: Storage,
    model_name: str,
    model_version: int,
    options: AnalysisOptions,
    facts: VideoFacts,
    progress: Progress,
) -> dict[str, Any]:
    """Analyse a video; what it gives lies in the task's results folder, and is kept.

    What an earlier attempt, also on another machine, has kept of it is gone on with.

    Args:
        video: a local path below the storage's layout; brought first.
        task_id: whose results folder it is.
        settings: where Triton is.
        storage: brings the video, keeps the chunks.
        model_name, model_version: a version that is served.
        options: the choices.
        facts: of the video.
        progress: told of frames.

    Returns:
        The model's name and version, and how many frames, detections, identities and chunks
        there are.

    Raises:
        NotFound: if there is no such video; if neither Triton nor the registry knows the model.
        BadVideo: if the video cannot be read.
        Unavailable: if Triton or the storage is away, or Triton has lost the model.
        StepFailed: if the inference fails.
        StorageFull: when there is no space for the chunks.
    """
    results = storage.layout.results(task_id)
    if storage.stat(storage.key_of(results / "chunks" / "metadata.json")):
        storage.bring(results)
    storage.bring(video)
    begun = time.monotonic()
    with (
        awaited(settings, model_name, model_version),
        TritonModel(
            settings.triton_url,
            model_name,
            model_version,
            shared_memory=settings.triton_shared_memory,
            key=settings.triton_control_key.get_secret_value(),
        ) as model,
    ):
        done = analyse(
            video,
            results,
            model,
            task_id=task_id,
            model_name=model_name,
            model_version=model_version,
            options=options,
            facts=facts,
            progress=progress,
        )
    storage.keep(results)
    return {
        "model": model_name,
        "version": model_version,
        "frames": done.frames,
        "chunks": done.chunks,
        "detections": done.detections,
        "identities": done.identities,
        "frames_per_second": (done.frames - done.resumed_at) / (time.monotonic() - begun),
    }


def analyse_stored(
    step: PipelineStep,
    video_id: str,
    *,
    model_name: str,
    model_version: int,
    options: Mapping[str, Any],
    fetched: Mapping[str, Any],
) -> dict[str, Any]:
    """Analyse ``videos/{video_id}/video.mp4``, as ``analyse_served`` does it.

    Args:
        step: brings the video and keeps the chunks.
        video_id: whose results folder it is.
        model_name: a served model.
        model_version: one of its versions; 0: the one that is served.
        options: the choices, as of ``AnalysisOptions``.
        fetched: the facts of its fetching.

    Raises:
        NotFound: also if the model, or that version of it, is not served and not to be.
    """
    version = step.patience(lambda: _version(step.settings, model_name, model_version))
    return step.patience(
        lambda: analyse_served(
            step.layout.video(video_id) / "video.mp4",
            video_id,
            settings=step.settings,
            storage=step.storage,
            model_name=model_name,
            model_version=version,
            options=AnalysisOptions.model_validate(options),
            facts=VideoFacts.model_validate(fetched["video"]),
            progress=step.progress,
        )
    )


def _version(settings: Settings, name: str, wanted: int) -> int:
    for served in served_models(settings):
        if served.model == name:
            if wanted and wanted not in served.versions:
                raise lost_model(settings, name, wanted) or NotFound(
                    f"Version {wanted} of the model {name!r} is not served, but "
                    f"{', '.join(map(str, served.versions))}: name one of these."
                )
            return wanted or served.version
    raise lost_model(settings, name, wanted) or NotFound(
        f"The model {name!r} is not served: give a version of it the champion's alias."
    )
