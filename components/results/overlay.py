"""overlaid_results.mp4: the video with what was found drawn on it, for a browser."""

from collections.abc import Iterator
from pathlib import Path

from components.errors import NotFound
from components.frame_results import FrameResult, read_chunks, read_metadata
from components.results.drawing import FrameDrawer
from components.steps import Progress, no_progress
from components.video.reader import read_frames
from components.video.writer import Mp4Writer


def write_overlay(video: Path, results: Path, progress: Progress = no_progress) -> Path:
    """Write ``overlaid_results.mp4`` in a task's results folder, whole.

    It ends with the last analysed frame. A frame that was skipped in the analysis shows
    the findings before it.

    Args:
        video: the video that was analysed.
        results: the task's results folder, with its chunks.
        progress: told of frames.

    Returns:
        Its path.

    Raises:
        NotFound: if no analysis lies in ``results``, or it has no frames.
        BadVideo: if the video cannot be read.
        StorageFull: when the disk is full.
    """
    metadata = read_metadata(results)
    drawer = FrameDrawer(metadata)
    found = _each_frame(results)
    current = next(found, None)
    if current is None:
        raise NotFound(f"The analysis in {results} has no frames yet: let it run first.")
    upcoming = next(found, None)
    path = results / "overlaid_results.mp4"
    size = metadata.origin_width, metadata.origin_height
    # Half the work of the default, for a file that is to be looked at, not kept.
    with Mp4Writer(path, wh=size, fps=metadata.fps, crf=23, preset="superfast") as writer:
        for frame in read_frames(video):
            if upcoming is not None and frame.index >= upcoming.frame:
                current, upcoming = upcoming, next(found, None)
            drawer.draw(frame.bgr, current)
            writer.write(frame.bgr)
            progress(frame.index + 1, metadata.frame_count)
            if upcoming is None and frame.index >= current.frame + metadata.frame_skip - 1:
                break
    return path


def _each_frame(results: Path) -> Iterator[FrameResult]:
    for chunk in read_chunks(results):
        yield from chunk
