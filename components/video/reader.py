"""The one place where a video's pixels become BGR.

Frame extraction and analysis both read through here, so a model is trained on the very
bytes it meets later.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from components.video.decoding import FrameClock, decode, open_video

# Without the second flag a small frame's colours run into their neighbours.
_SCALING = Interpolation.AREA | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        index: how many frames were decoded before it.
        timestamp: seconds from the first frame's presentation time.
        bgr: (H, W, 3) uint8, upright, contiguous, the caller's own.
    """

    index: int
    timestamp: float
    bgr: np.ndarray


def read_frames(
    path: Path, *, start: int = 0, wanted: Collection[int] | None = None
) -> Iterator[Frame]:
    """Read a video frame by frame, in memory that does not grow with its length.

    Every frame is decoded, so an index is exact whatever the container says; frames
    before ``start`` and those not in ``wanted`` are not converted or given. Reading stops
    behind the last wanted one.

    The conversion is swscale's, bilinear, with the matrix and range that the frame states;
    one that states none counts as BT.601 in limited range, as FFmpeg and OpenCV take it.
    The rotation that a phone notes in the file is applied.

    Raises:
        BadVideo: if the file is missing, is no video, or breaks on the way.
    """
    to_bgr = _Converter()
    for index, timestamp, bgr in _converted(path, start, wanted, to_bgr):
        yield Frame(index, timestamp, bgr)


@dataclass(frozen=True)
class SmallFrame:
    """One decoded frame, scaled down: to look at as a whole, not to train on.

    Attributes:
        index: how many frames were decoded before it.
        timestamp: seconds from the first frame's presentation time.
        pixels: (h, w, 3) uint8 BGR or (h, w) uint8 grey, upright, the caller's own.
    """

    index: int
    timestamp: float
    pixels: np.ndarray


def read_small_frames(
    path: Path,
    wh: tuple[int, int],
    *,
    grey: bool = False,
    wanted: Collection[int] | None = None,
) -> Iterator[SmallFrame]:
    """Read a video frame by frame, each as the means of ``wh`` areas of it.

    swscale scales while it converts, so no pixel of full size is converted: this costs
    hardly more than decoding. Otherwise like ``read_frames``.

    Args:
        path: any readable video.
        wh: width and height of the upright small frames, whatever the video's shape.
        grey: give one channel in place of three.
        wanted: indices to give; all without it.

    Raises:
        BadVideo: if the file is missing, is no video, or breaks on the way.
    """
    convert = _Converter("gray" if grey else "bgr24", wh)
    for index, timestamp, pixels in _converted(path, 0, wanted, convert):
        yield SmallFrame(index, timestamp, pixels)


def _converted(
    path: Path,
    start: int,
    wanted: Collection[int] | None,
    convert: Callable[[VideoFrame], np.ndarray],
) -> Iterator[tuple[int, float, np.ndarray]]:
    wanted = None if wanted is None else frozenset(wanted)
    last = None if wanted is None else max(wanted, default=-1)
    with open_video(path) as (container, stream):
        clock = FrameClock(stream)
        for index, frame in enumerate(decode(path, container, stream)):
            if last is not None and index > last:
                return
            timestamp = clock(frame)
            if index >= start and (wanted is None or index in wanted):
                yield index, timestamp, convert(frame)


class _Converter:
    """Converts frames of any pixel format; keeps its swscale context between them.

    One context on one thread converts faster than ``VideoFrame.to_ndarray``, which starts
    threads for each frame, and as fast as OpenCV's converters, which know BT.601 only.
    """

    def __init__(self, pixel_format: str = "bgr24", wh: tuple[int, int] | None = None) -> None:
        self._reformatter = VideoReformatter()
        self._format = pixel_format
        self._wh = wh

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        turns = round(frame.rotation / 90) % 4
        width, height = (None, None) if self._wh is None else self._wh[:: -1 if turns % 2 else 1]
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format=self._format,
            interpolation=None if self._wh is None else _SCALING,
            threads=1,
        )
        return np.ascontiguousarray(np.rot90(converted.to_ndarray(), turns))
