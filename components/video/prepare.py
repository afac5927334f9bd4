"""A video made ready to be analysed: fetched, checked, converted where needed, stored."""

from pathlib import Path
from typing import Any

from components.pipeline_step import PipelineStep
from components.video.convert import conversion_reason, convert_video
from components.video.fetch import fetch_video
from components.video.probe import check_usable, probe_video
from components.video.source import is_url


def prepare_video(step: PipelineStep, video_id: str, source: str) -> dict[str, Any]:
    """Bring a video to ``videos/{video_id}/video.mp4`` of the storage.

    Args:
        step: its settings say what may be fetched.
        video_id: names the folder.
        source: an http, https or s3 URL, fetched through the outbound guard, or a key of the
            storage.

    Returns:
        ``reason``, why it was converted, or "not needed"; ``video``, a VideoFacts.

    Raises:
        NotFound: if there is no such video.
        Refused: if the URL is not let through, or the key leads outside the storage.
        BadInput: if it is too large.
        BadVideo: if it cannot be decoded, or is too short.
        Unavailable: if the server or the storage does not answer.
        StorageFull: when there is no space for it.
    """
    settings, storage = step.settings, step.storage
    folder = step.layout.video(video_id)
    place: str | Path = source
    if not is_url(source):
        place = storage.bring(storage.path_of(source))
    fetched = fetch_video(
        place,
        folder,
        max_bytes=settings.max_video_bytes,
        timeout=settings.download_timeout,
        allow_private=settings.allow_private_urls,
        progress=step.progress,
    )
    facts = probe_video(fetched)
    check_usable(facts)
    video = convert_video(fetched, folder / "video.mp4", facts, progress=step.progress)
    storage.keep(video)
    reason = conversion_reason(facts)
    if reason:
        facts = probe_video(video)
    return {"reason": reason or "not needed", "video": facts.model_dump(mode="json")}
