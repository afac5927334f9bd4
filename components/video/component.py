"""The fetching of one video among many as a pipeline component."""

from kfp import dsl

from components.settings import Settings


@dsl.component(base_image=Settings().light_image, install_kfp_package=False)
def fetch(video: dict, outcome: dsl.Output[dsl.Artifact]) -> None:
    """Fetch a video, check it, and convert it where needed.

    Args:
        video: its ``id``, and its ``source``: a URL or a key of the storage.
        outcome: a VideoOutcome as JSON; it holds the failure, if there is one.
    """
    from pathlib import Path

    from components.video.prepare import prepare_video
    from components.video.source import shown_source
    from components.video_outcome import VideoOutcome
    from components.video_process import settle_apart

    video_id, source = str(video.get("id", "")), str(video.get("source", ""))
    settled = settle_apart(
        VideoOutcome(id=video_id, source=shown_source(source)),
        "fetch",
        prepare_video,
        video_id=video_id,
        source=source,
    )
    settled.write(Path(outcome.path))
    outcome.metadata.update(video=settled.id, error=settled.error)
