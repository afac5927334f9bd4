"""What a video really holds, found by decoding all of it."""

from array import array
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from pydantic import BaseModel, ConfigDict

from components.errors import BadVideo
from components.video.decoding import FrameClock, decode, open_video

_COMMON_RATES = (12.5, 15, 24000 / 1001, 24, 25, 30000 / 1001, 30, 48, 50, 60000 / 1001, 60, 120)


class VideoFacts(BaseModel):
    """A video as it decodes; what its container says is not believed.

    Attributes:
        frame_count: decoded frames.
        fps: mean frames per second, from the time stamps.
        nominal_fps: the rate for a copy of constant rate that keeps its motion: that of the
            median interval where it is the higher one, else ``fps``.
        duration: seconds from the first frame's beginning to the last one's end.
        width, height: of the upright picture, pixels.
        codec: FFmpeg's name (``h264``).
        pixel_format: FFmpeg's name (``yuv420p``).
        container: ``mp4``, ``mov`` or FFmpeg's name.
        constant_rate: whether every frame lies within a quarter of a frame of an even grid.
        rotation: degrees counter-clockwise that the file asks a player to turn the picture.
        bytes: size of the file.
    """

    model_config = ConfigDict(frozen=True)

    frame_count: int
    fps: float
    nominal_fps: float
    duration: float
    width: int
    height: int
    codec: str
    pixel_format: str
    container: str
    constant_rate: bool
    rotation: int
    bytes: int


def probe_video(path: Path) -> VideoFacts:
    """Decode a whole video, without converting colours, and say what it holds.

    Raises:
        BadVideo: if it is missing, empty, no video, or cut off: broken on the way or
            shorter than it says itself.
    """
    path = Path(path)
    times = array("d")
    with open_video(path) as (container, stream):
        clock = FrameClock(stream)
        for frame in decode(path, container, stream):
            times.append(clock(frame))
        seconds = np.frombuffer(times)
        fps = _mean_rate(seconds, stream)
        _check_whole(path, container, stream, float(seconds[-1]) + 1 / fps, len(seconds))
        rotation = frame.rotation % 360
        width, height = frame.width, frame.height
        if rotation % 180 == 90:
            width, height = height, width
        constant = bool(np.all(np.abs(seconds - np.arange(len(seconds)) / fps) <= 0.25 / fps))
        return VideoFacts(
            frame_count=len(seconds),
            fps=fps,
            nominal_fps=fps if constant else _nominal_rate(seconds, fps),
            duration=float(seconds[-1]) + 1 / fps,
            width=width,
            height=height,
            codec=stream.codec_context.name,
            pixel_format=frame.format.name,
            container=_container_name(container),
            constant_rate=constant,
            rotation=rotation,
            bytes=path.stat().st_size,
        )


def check_usable(facts: VideoFacts, minimum: int = 2) -> None:
    """Check that a video has enough frames to learn from.

    Raises:
        BadVideo: if it has fewer than ``minimum``.
    """
    if facts.frame_count < minimum:
        raise BadVideo(
            f"The video has {facts.frame_count} frame{'s' if facts.frame_count != 1 else ''}, "
            f"but at least {minimum} are needed: give a longer one."
        )


def _mean_rate(seconds: np.ndarray, stream: VideoStream) -> float:
    stated = float(stream.average_rate) if stream.average_rate else 30.0
    span = float(seconds[-1] - seconds[0])
    if span <= 0:
        return stated
    measured = (len(seconds) - 1) / span
    # Time stamps are rounded; the stated rate is not, where it is right.
    return stated if abs(measured - stated) < 1e-3 * stated else measured


def _nominal_rate(seconds: np.ndarray, fps: float) -> float:
    interval = float(np.median(np.diff(seconds)))
    if interval <= 0:
        return fps
    rate = 1 / interval
    nearest = min(_COMMON_RATES, key=lambda common: abs(common - rate))
    if abs(nearest - rate) < 0.02 * rate:
        rate = nearest
    # A slower copy would lose frames; long pauses or stray time stamps would make one of
    # mostly repeated frames.
    return rate if fps <= rate <= 4 * fps else fps


def _check_whole(
    path: Path, container: InputContainer, stream: VideoStream, decoded: float, count: int
) -> None:
    """A file that was cut off often just ends: compare with the length it states."""
    stated = 0.0
    if stream.duration and stream.time_base:
        stated = float(stream.duration * stream.time_base)
    elif container.duration and len(container.streams) == 1:
        stated = container.duration / av.time_base
    if stated - decoded > max(3 * decoded / count, 0.01 * stated):
        raise BadVideo(
            f"The video {path} ends after {count} frames ({decoded:.1f} of {stated:.1f} "
            "seconds): it was cut off; copy or download it again."
        )


def _container_name(container: InputContainer) -> str:
    if "mp4" not in container.format.name.split(","):
        return container.format.name.split(",")[0]
    return "mov" if container.metadata.get("major_brand", "").strip() == "qt" else "mp4"
