"""The way of a task: its steps in order, each a call of the step's own function."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import NotFound
from components.labeling.folder import import_labels, resolve_spec, scan_label_folder
from components.labels import LabelSpec
from components.layout import Layout
from components.settings import Settings
from components.steps import Progress
from gateway.schemas import TaskRequest
from gateway.tasks import TRAINING

STEPS = (
    "download",
    "validate",
    "convert",
    "extract",
    "labels",
    TRAINING,
    "analyse",
    "results",
)


@dataclass(frozen=True)
class StepContext:
    """What a step is given.

    Attributes:
        facts: what the earlier steps said, by step.
        progress: tells how far the step is.
    """

    settings: Settings
    task_id: str
    user_id: str
    request: TaskRequest
    facts: dict[str, dict[str, Any]]
    progress: Progress

    @property
    def layout(self) -> Layout:
        """Where the task's files lie."""
        return self.settings.layout

    @property
    def video(self) -> Path:
        """The video as every later step reads it."""
        return self.layout.video(self.task_id) / "video.mp4"

    @property
    def spec(self) -> LabelSpec:
        """What the model is to learn, as the labels step settled it."""
        return LabelSpec.model_validate(self.facts["labels"]["spec"])


def _download(context: StepContext) -> dict[str, Any]:
    from components.video.fetch import fetch_video

    source: str | Path = context.request.file_path
    if not str(source).startswith(("http://", "https://")):
        source = own_file(context, str(source))
    settings = context.settings
    path = fetch_video(
        source,
        context.layout.video(context.task_id),
        max_bytes=settings.max_video_bytes,
        timeout=settings.download_timeout,
        allow_private=settings.allow_private_urls,
        progress=context.progress,
    )
    return {"file": path.name, "bytes": path.stat().st_size}


def own_file(context: StepContext, key: str) -> Path:
    """The file or folder of the user's own that a key names.

    Raises:
        NotFound: if it is not there.
        Refused: if the key leaves the user's prefix.
    """
    path = context.layout.user_file(context.user_id, key)
    if not path.exists():
        raise NotFound(f"There is no file {key!r} among yours: upload it first.")
    return path


def _source(context: StepContext) -> Path:
    return context.layout.video(context.task_id) / context.facts["download"]["file"]


def _validate(context: StepContext) -> dict[str, Any]:
    from components.video.probe import check_usable, probe_video

    facts = probe_video(_source(context))
    check_usable(facts)
    return facts.model_dump(mode="json")


def _convert(context: StepContext) -> dict[str, Any]:
    from components.video.convert import conversion_reason, convert_video
    from components.video.probe import VideoFacts, probe_video

    facts = VideoFacts.model_validate(context.facts["validate"])
    convert_video(_source(context), context.video, facts, progress=context.progress)
    reason = conversion_reason(facts)
    if reason:
        facts = probe_video(context.video)
    return {"reason": reason or "not needed", "video": facts.model_dump(mode="json")}


def _extract(context: StepContext) -> dict[str, Any]:
    from components.errors import BadLabels
    from components.video.extract import extract_frames, frame_index, uniform_indices

    total = int(context.facts["convert"]["video"]["frame_count"])
    needed = scan_label_folder(own_file(context, context.request.labels_path)).frames_needed()
    indices = []
    for name in needed:
        index = frame_index(name)
        if index is None or index >= total:
            raise BadLabels(
                f"The label {name}.txt belongs to no image, and to no frame of the video "
                f"({total} frames): name it after its image, or frame_000000 to "
                f"frame_{total - 1:06d}."
            )
        indices.append(index)
    indices = sorted(indices) or uniform_indices(total, context.request.num_frames)
    extract_frames(
        context.video, context.layout.frames(context.task_id), indices, progress=context.progress
    )
    return {"frames": len(indices)}


def _labels(context: StepContext) -> dict[str, Any]:
    request = context.request
    folder = scan_label_folder(own_file(context, request.labels_path))
    spec = resolve_spec(
        folder,
        task=request.task,
        names=request.names,
        keypoints=request.keypoints,
        flip_idx=request.flip_idx,
    )
    counts = import_labels(
        folder,
        context.layout.labels(context.task_id),
        context.layout.frames(context.task_id),
        spec,
        progress=context.progress,
    )
    return {"counts": counts, "spec": spec.model_dump(mode="json")}


def _analyse(context: StepContext) -> dict[str, Any]:
    from components.analysis.analyse import analyse
    from components.analysis.options import AnalysisOptions
    from components.serving.client import TritonModel
    from components.video.probe import VideoFacts

    deployed = context.facts[TRAINING]["pipeline"]["deploy"]["facts"]
    name, version = str(deployed["model"]), int(deployed["version"])
    settings, request = context.settings, context.request
    begun = time.monotonic()
    with TritonModel(
        settings.triton_url, name, version, shared_memory=settings.triton_shared_memory
    ) as model:
        facts = analyse(
            context.video,
            context.layout.results(context.task_id),
            model,
            task_id=context.task_id,
            model_name=name,
            model_version=version,
            options=AnalysisOptions(confidence=request.confidence, iou=request.iou),
            facts=VideoFacts.model_validate(context.facts["convert"]["video"]),
            progress=context.progress,
        )
    return {
        "frames": facts.frames,
        "detections": facts.detections,
        "identities": facts.identities,
        "frames_per_second": (facts.frames - facts.resumed_at) / (time.monotonic() - begun),
    }


def _results(context: StepContext) -> dict[str, Any]:
    from components.results.write_results import write_results

    folder = context.layout.results(context.task_id)
    files = write_results(context.video, folder, progress=context.progress)
    return {"files": sorted(path.name for path in files)}


def in_users_words(context: StepContext, sentence: str) -> str:
    """A sentence with the user's own names in place of where their files lie here."""
    layout, task_id = context.layout, context.task_id
    for place in (*layout.video(task_id).glob("source*"), context.video):
        sentence = sentence.replace(str(place), context.request.file_path)
    sentence = sentence.replace(f"{layout.user_file(context.user_id, '')}/", "")
    return sentence.replace(f"{layout.root}/", "")


FUNCTIONS: dict[str, Callable[[StepContext], dict[str, Any]]] = {
    "download": _download,
    "validate": _validate,
    "convert": _convert,
    "extract": _extract,
    "labels": _labels,
    "analyse": _analyse,
    "results": _results,
}
