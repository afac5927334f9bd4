"""A model's findings in some frames of a video, without identities: to see where it is unsure."""

from collections.abc import Collection, Iterator
from pathlib import Path

from components.analysis.entries import EntryWriter
from components.analysis.stream import AnalysisModel, detections_of
from components.frame_results import FrameResult, ResultsMetadata
from components.steps import Progress, no_progress
from components.video.probe import VideoFacts
from components.video.reader import read_frames

_BATCH_SIZE = 8


def scan(
    video: Path,
    facts: VideoFacts,
    model: AnalysisModel,
    indices: Collection[int],
    *,
    confidence: float,
    iou: float,
    progress: Progress = no_progress,
) -> Iterator[FrameResult]:
    """The findings in the frames of ``indices``, in their order, a batch in memory at a time.

    Args:
        video: any readable video.
        facts: of it.
        indices: of decoded frames.
        model: the served model, or any that infers like it.
        confidence: findings below it are left out; low, where doubt is of interest.
        iou: of two findings of a class that overlap more, the better stays.
        progress: told of frames.

    Raises:
        BadVideo: if the video cannot be read.
        Unavailable, StepFailed: as from the model.
    """
    writer = EntryWriter(
        ResultsMetadata(
            task_id="",
            model_name="",
            model_version=0,
            labels=model.card.labels,
            origin_width=facts.width,
            origin_height=facts.height,
            fps=facts.fps,
            frame_count=facts.frame_count,
            confidence=confidence,
            iou=iou,
            tracking=False,
        )
    )
    stream = detections_of(
        read_frames(video, wanted=indices),
        model,
        source_wh=(facts.width, facts.height),
        confidence=confidence,
        iou=iou,
        batch_size=_BATCH_SIZE,
    )
    done = 0
    with stream as batches:
        for batch in batches:
            for item in batch:
                yield writer.entry(item.index, item.timestamp, item.found)
            done += len(batch)
            progress(done, len(indices))
