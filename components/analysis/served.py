"""The analysis of a stored video with a model that is served."""

import time
from typing import Any

from components.analysis.analyse import analyse
from components.analysis.options import AnalysisOptions
from components.errors import NotFound
from components.pipeline_step import PipelineStep
from components.serving.client import TritonModel
from components.serving.status import served_models
from components.settings import Settings
from components.video.probe import VideoFacts


def analyse_stored(
    step: PipelineStep,
    video_id: str,
    *,
    model_name: str,
    model_version: int,
    options: AnalysisOptions,
    facts: VideoFacts,
) -> dict[str, Any]:
    """Analyse ``videos/{video_id}/video.mp4``; the chunks lie in its results folder.

    Args:
        step: brings the video and keeps the chunks.
        video_id: whose results folder it is.
        model_name: a served model.
        model_version: one of its versions; 0: the one that is served.
        options: the choices.
        facts: of the video.

    Returns:
        The model's name and version, and how many frames, detections, identities and chunks
        there are.

    Raises:
        NotFound: if there is no such video, or the model is not served.
        BadVideo: if the video cannot be read.
        Unavailable, StepFailed: if Triton is away or fails.
        StorageFull: when there is no space for the chunks.
    """
    settings, storage = step.settings, step.storage
    results = step.layout.results(video_id)
    if storage.stat(storage.key_of(results / "chunks" / "metadata.json")):
        # An earlier attempt may have analysed a part of it.
        storage.bring(results)
    video = storage.bring(step.layout.video(video_id) / "video.mp4")
    version = _version(settings, model_name, model_version)
    begun = time.monotonic()
    with TritonModel(
        settings.triton_url, model_name, version, shared_memory=settings.triton_shared_memory
    ) as model:
        done = analyse(
            video,
            results,
            model,
            task_id=video_id,
            model_name=model_name,
            model_version=version,
            options=options,
            facts=facts,
            progress=step.progress,
        )
    storage.keep(results / "chunks")
    return {
        "model": model_name,
        "version": version,
        "frames": done.frames,
        "chunks": done.chunks,
        "detections": done.detections,
        "identities": done.identities,
        "frames_per_second": (done.frames - done.resumed_at) / (time.monotonic() - begun),
    }


def _version(settings: Settings, name: str, wanted: int) -> int:
    for served in served_models(settings):
        if served.model == name:
            if wanted and wanted not in served.versions:
                raise NotFound(
                    f"Version {wanted} of the model {name!r} is not served, but "
                    f"{', '.join(map(str, served.versions))}: name one of these."
                )
            return wanted or served.version
    raise NotFound(f"The model {name!r} is not served: give a version of it the champion's alias.")
