"""Making a video one that every later step and every browser takes."""

from collections.abc import Iterator
from pathlib import Path

from components.files import link_or_copy, whole_file
from components.steps import Progress, no_progress
from components.video.probe import VideoFacts
from components.video.reader import Frame, read_frames
from components.video.writer import Mp4Writer


def conversion_reason(facts: VideoFacts) -> str:
    """Why a video needs to be converted; empty where it does not."""
    reasons = []
    if facts.codec != "h264":
        reasons.append(f"its codec is {facts.codec}, not h264")
    if facts.container != "mp4":
        reasons.append(f"its container is {facts.container}, not mp4")
    # yuvj420p is yuv420p in full range.
    if facts.pixel_format not in ("yuv420p", "yuvj420p"):
        reasons.append(f"its pixel format is {facts.pixel_format}, not yuv420p")
    if not facts.constant_rate:
        reasons.append("its frame rate varies")
    if facts.rotation:
        reasons.append(f"it is to be turned by {facts.rotation} degrees")
    if facts.width % 2 or facts.height % 2:
        reasons.append(f"its size {facts.width}x{facts.height} is odd")
    return "; ".join(reasons)


def convert_video(
    source: Path, target: Path, facts: VideoFacts, progress: Progress = no_progress
) -> Path:
    """Make ``target`` an upright H.264 MP4 of constant frame rate, without sound.

    A source that needs no conversion becomes ``target`` as it is, a second name of the
    same bytes where the file system allows. Otherwise each frame of the new grid, of
    ``facts.nominal_fps``, shows the source frame nearest in time: frames are repeated or
    left out, and everything stays at its time. Odd sizes grow by one pixel (`Mp4Writer`).

    Args:
        source: the video as it came.
        target: the path to write; it appears whole.
        facts: what ``probe_video`` said of ``source``.
        progress: told of source frames.

    Returns:
        ``target``.

    Raises:
        BadVideo: if ``source`` breaks on the way.
        StorageFull: when the disk is full.
    """
    source, target = Path(source), Path(target)
    if not conversion_reason(facts):
        # link_or_copy does not replace an older target.
        with whole_file(target) as beside:
            link_or_copy(source, beside)
        return target
    with Mp4Writer(target, wh=(facts.width, facts.height), fps=facts.nominal_fps) as writer:
        for frame, until in _with_end(read_frames(source), 0.5 / facts.nominal_fps):
            while writer.count / writer.rate < until:
                writer.write(frame.bgr)
            progress(frame.index + 1, facts.frame_count)
    return target


def _with_end(frames: Iterator[Frame], last: float) -> Iterator[tuple[Frame, float]]:
    """Each frame with the time up to which it is the nearest; the final one's is ``last`` on."""
    held = next(frames)
    for frame in frames:
        yield held, (held.timestamp + frame.timestamp) / 2
        held = frame
    yield held, held.timestamp + last
