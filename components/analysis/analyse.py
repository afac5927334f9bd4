"""The analysis of one video with one model, of any length, written as it goes."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from components.analysis.entries import EntryWriter
from components.analysis.options import AnalysisOptions
from components.analysis.stream import AnalysisModel, detections_of
from components.errors import BadInput, BadVideo, NotFound
from components.frame_results import (
    FrameResult,
    ResultsMetadata,
    chunk_paths,
    clear_chunks,
    drop_chunks,
    read_chunk,
    read_metadata,
    write_chunk,
    write_metadata,
)
from components.steps import Progress, no_progress
from components.video.probe import VideoFacts, probe_video
from components.video.reader import Frame, read_frames

_DIGEST_BYTES = 2**20


@dataclass
class AnalysisFacts:
    """What an analysis came to.

    Attributes:
        metadata: what holds for all of its frames.
        frames: analysed frames, those of an earlier, interrupted run included.
        detections: objects found in all of them.
        identities: different identities.
        chunks: chunk files.
        resumed_at: frames that an earlier run had already analysed.
    """

    metadata: ResultsMetadata
    frames: int = 0
    detections: int = 0
    chunks: int = 0
    resumed_at: int = 0
    _identities: set[str] = field(default_factory=set, repr=False)

    @property
    def identities(self) -> int:
        """How many different identities were seen."""
        return len(self._identities)

    def count(self, chunk: list[FrameResult]) -> None:
        """Count one more chunk in."""
        self.chunks += 1
        self.frames += len(chunk)
        for entry in chunk:
            self.detections += len(entry.ids)
            self._identities.update(filter(None, entry.ids))


def analyse(
    video: Path,
    results: Path,
    model: AnalysisModel,
    *,
    task_id: str,
    model_name: str,
    model_version: int,
    options: AnalysisOptions | None = None,
    facts: VideoFacts | None = None,
    progress: Progress = no_progress,
) -> AnalysisFacts:
    """Find, identify and smooth what ``model`` knows in every frame of ``video``.

    Chunks appear in ``results/chunks/`` as they are done. Started again, it goes on behind
    the last chunk, with the same result as in one go; if the chunks there are of another
    video, model version or choice of options, it starts over. Memory does not grow with
    the video's length.

    Args:
        video: an H.264 MP4 or anything else that decodes.
        results: the task's results folder.
        model: the served model, or any that infers like it.
        task_id, model_name, model_version: for the metadata.
        options: the choices; default: ``AnalysisOptions()``.
        facts: of the video; probed, which takes a decoding, where they are not given.
        progress: told of frames after each batch. To cancel, raise from it: the chunks so
            far remain.

    Raises:
        BadVideo: if the video cannot be read, or holds other frames than ``facts`` says.
        Unavailable, StepFailed: if the model's server is away or fails.
        StorageFull: when the disk is full.
    """
    options = options or AnalysisOptions()
    facts = facts or probe_video(video)
    metadata = ResultsMetadata(
        task_id=task_id,
        model_name=model_name,
        model_version=model_version,
        labels=model.card.labels,
        origin_width=facts.width,
        origin_height=facts.height,
        fps=facts.fps,
        frame_count=facts.frame_count,
        video_digest=video_digest(video),
        **options.model_dump(exclude={"batch_size", "chunk_frames"}),
    )
    writer = EntryWriter(metadata)
    outcome = AnalysisFacts(metadata)
    for chunk in _earlier_chunks(results, metadata):
        for entry in chunk:
            writer.replay(entry)
        outcome.count(chunk)
        progress(outcome.frames, _expected(metadata), resumed_at=outcome.resumed_at)
    outcome.resumed_at = outcome.frames

    pending: list[FrameResult] = []
    stream = detections_of(
        _frames(video, metadata, outcome.frames),
        model,
        source_wh=(facts.width, facts.height),
        confidence=options.confidence,
        iou=options.iou,
        batch_size=options.batch_size,
    )
    with stream as batches:
        for batch in batches:
            for item in batch:
                pending.append(writer.entry(item.index, item.timestamp, item.found))
                if len(pending) == options.chunk_frames:
                    write_chunk(results, outcome.chunks, pending)
                    outcome.count(pending)
                    pending = []
            progress(
                outcome.frames + len(pending),
                _expected(metadata),
                resumed_at=outcome.resumed_at,
            )
    if pending:
        write_chunk(results, outcome.chunks, pending)
        outcome.count(pending)
    if outcome.frames != _expected(metadata):
        raise BadVideo(
            f"The video {video} gave {outcome.frames} frames to analyse where "
            f"{_expected(metadata)} were expected: probe it again, it has changed."
        )
    return outcome


def video_digest(video: Path) -> str:
    """Tells a video from another without reading all of it: size, beginning and end.

    Raises:
        BadVideo: if it cannot be read.
    """
    try:
        size = video.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        with video.open("rb") as file:
            digest.update(file.read(_DIGEST_BYTES))
            file.seek(max(0, size - _DIGEST_BYTES))
            digest.update(file.read(_DIGEST_BYTES))
    except OSError as error:
        raise BadVideo(f"The video {video} cannot be read ({error.strerror}): check it.") from error
    return f"sha256:{digest.hexdigest()}"


def _analysed_indices(metadata: ResultsMetadata) -> range:
    return range(0, metadata.frame_count, metadata.frame_skip)[: metadata.max_frames]


def _expected(metadata: ResultsMetadata) -> int:
    return len(_analysed_indices(metadata))


def _frames(video: Path, metadata: ResultsMetadata, done: int) -> Iterator[Frame]:
    """The frames that are still to be analysed."""
    indices = _analysed_indices(metadata)[done:]
    if not indices:
        return iter(())
    if metadata.frame_skip > 1:
        return read_frames(video, wanted=indices)
    frames = read_frames(video, start=indices[0])
    # Without a limit it reads to the end, so that a frame too many is noticed.
    return frames if metadata.max_frames is None else islice(frames, len(indices))


def _earlier_chunks(results: Path, metadata: ResultsMetadata) -> Iterator[list[FrameResult]]:
    """The chunks to go on from; all others are removed, and the metadata stands."""
    try:
        same = read_metadata(results) == metadata
    except (NotFound, BadInput):
        same = False
    if not same:
        clear_chunks(results)
        write_metadata(results, metadata)
    number = 0
    for path in chunk_paths(results):
        try:
            chunk = read_chunk(path)
        except BadInput:
            break
        yield chunk
        number += 1
    drop_chunks(results, number)
