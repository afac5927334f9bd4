"""The steps before the labels: the video fetched, checked, converted, its frames extracted."""

from pathlib import Path
from typing import Any

from components.video.source import is_url
from gateway.steps.context import StepContext


def download(context: StepContext) -> dict[str, Any]:
    """Fetch the video from its URL or from among the user's own files."""
    from components.video.fetch import fetch_video

    source: str | Path = context.work.file_path
    if not is_url(str(source)):
        source = context.bring_own(str(source))
    settings = context.settings
    path = fetch_video(
        source,
        context.layout.video(context.task_id),
        max_bytes=settings.max_video_bytes,
        timeout=settings.download_timeout,
        allow_private=settings.allow_private_urls,
        progress=context.progress,
    )
    context.storage.keep(path)
    return {"file": path.name, "bytes": path.stat().st_size}


def validate(context: StepContext) -> dict[str, Any]:
    """Decode the video and refuse what cannot be analysed."""
    from components.video.probe import check_usable, probe_video

    facts = probe_video(context.storage.bring(context.source))
    check_usable(facts)
    return facts.model_dump(mode="json")


def convert(context: StepContext) -> dict[str, Any]:
    """Make the video H.264 of constant frame rate, where it is not."""
    from components.video.convert import conversion_reason, convert_video
    from components.video.probe import VideoFacts, probe_video

    facts = VideoFacts.model_validate(context.facts["validate"])
    source = context.storage.bring(context.source)
    convert_video(source, context.video, facts, progress=context.progress)
    context.storage.keep(context.video)
    reason = conversion_reason(facts)
    if reason:
        facts = probe_video(context.video)
    return {"reason": reason or "not needed", "video": facts.model_dump(mode="json")}


def extract(context: StepContext) -> dict[str, Any]:
    """Extract the frames that given labels are named after, or such as are worth labelling."""
    from components.video.extract import extract_frames
    from gateway.steps.choosing import choose_frames, labelled_frames

    frames = context.layout.frames(context.task_id)
    video = context.storage.bring(context.video)
    if indices := labelled_frames(context):
        extract_frames(video, frames, indices, progress=context.progress)
        told: dict[str, Any] = {"strategy": "labels were given", "note": ""}
    else:
        selection = choose_frames(context, video)
        indices = [frame.index for frame in selection.frames]
        extract_frames(video, frames, indices, progress=context.progress)
        selection.write(frames)
        told = {"strategy": selection.options.strategy, "note": selection.note}
    context.storage.keep(frames)
    return {"frames": len(indices), **told}


def deliver_video(context: StepContext) -> dict[str, Any]:
    """Put the fetched video where the user wants it."""
    from components.files import publish_file

    key = context.work.download_path or context.work.upload_path
    target = context.own(key)
    publish_file(context.storage.bring(context.source), target)
    context.storage.keep(target)
    size = target.stat().st_size
    context.progress(size, size)
    return {"path": key, "bytes": size}


def deliver_frames(context: StepContext) -> dict[str, Any]:
    """Put the extracted frames among the user's own files."""
    from components.files import publish_folder

    key = f"frames/{context.task_id}"
    frames = context.storage.bring(context.layout.frames(context.task_id))
    publish_folder(frames, context.own(key))
    context.storage.keep(context.own(key))
    return {"path": key, "frames": context.facts["extract"]["frames"]}
