"""The one place where a video's pixels become BGR.

Frame extraction and analysis both read through here, so a model is trained on the very
bytes it meets later.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from components.video.decoding import FrameClock, decode, open_video


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
    wanted = None if wanted is None else frozenset(wanted)
    last = None if wanted is None else max(wanted, default=-1)
    to_bgr = _BgrConverter()
    with open_video(path) as (container, stream):
        clock = FrameClock(stream)
        for index, frame in enumerate(decode(path, container, stream)):
            if last is not None and index > last:
                return
            timestamp = clock(frame)
            if index >= start and (wanted is None or index in wanted):
                yield Frame(index, timestamp, to_bgr(frame))


class _BgrConverter:
    """Converts frames of any pixel format; keeps its swscale context between them.

    One context on one thread converts faster than ``VideoFrame.to_ndarray``, which starts
    threads for each frame, and as fast as OpenCV's converters, which know BT.601 only.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        bgr: np.ndarray = self._reformatter.reformat(frame, format="bgr24", threads=1).to_ndarray()
        if turns := round(frame.rotation / 90) % 4:
            bgr = np.rot90(bgr, turns)
        return np.ascontiguousarray(bgr)
