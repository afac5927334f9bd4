"""Small real videos of every kind, made with PyAV itself."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

MakeVideo = Callable[..., Path]


def picture(index: int, width: int, height: int) -> np.ndarray:
    """A (height, width, 3) uint8 BGR frame whose left edge tells its index by its grey."""
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    frame = np.empty((height, width, 3), np.uint8)
    frame[..., 0], frame[..., 1], frame[..., 2] = ramp, ramp[::-1], 90
    frame[:, : width // 4] = grey_of(index)
    return frame


def grey_of(index: int) -> int:
    """The grey of frame ``index``; neighbours differ by 40."""
    return 20 + 40 * (index % 6)


def write_video(
    path: Path,
    *,
    frames: int = 20,
    wh: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: int = 30,
    rotation: int = 0,
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    colorspace: int | None = None,
    full_range: bool = False,
    noise: bool = False,
) -> Path:
    """Write a video whose container follows from the suffix.

    Args:
        rotation: degrees that a player is to turn it, counter-clockwise.
        times_ms: of each frame; an even grid without it.
        options: of the container's writer.
        colorspace: matrix noted in the stream, ITU-T H.273.
        full_range: note full range in the stream, whatever its values.
        noise: frames of noise, which make a large file, in place of ``picture``.
    """
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height = wh
        stream.pix_fmt = pixel_format
        if rotation:
            stream.set_display_rotation(rotation)
        if colorspace:
            stream.codec_context.colorspace = colorspace
        if full_range:
            stream.codec_context.color_range = 2
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(frames):
            bgr = picture(index, *wh)
            if noise:
                bgr = rng.integers(0, 255, bgr.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(bgr, format="bgr24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, container_format: str, codec: str) -> Path:
    """Write a second of silence."""
    with av.open(str(path), "w", format=container_format) as container:
        stream: Any = container.add_stream(codec, rate=44100)
        for _ in range(40):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 2048), np.int16), format="s16", layout="stereo"
            )
            frame.sample_rate = 44100
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
