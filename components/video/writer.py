"""Writing an H.264 MP4 that a browser plays."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from components.errors import BadInput
from components.files import whole_file

_BT709 = 1  # the same number for matrix, primaries and transfer (ITU-T H.273)
_LIMITED = 1
# Beyond 4K x264's habit of looking 40 frames ahead, on all cores, would take gigabytes.
_LARGE_PIXELS = 4096 * 2304
_LARGE_OPTIONS = {"x264-params": "rc-lookahead=2:sync-lookahead=0:bframes=0:ref=1:threads=2"}


class Mp4Writer:
    """A context manager that takes BGR frames and leaves a whole MP4 file, or nothing.

    H.264, yuv420p, BT.709 in limited range and tagged so, constant frame rate, index in
    front (faststart). yuv420p needs even sizes: a frame of odd width or height is padded
    by one column or row, a copy of its last, at the right or bottom, so that no
    coordinate changes.

    Attributes:
        rate: frames per second as written, a fraction.
        count: frames written so far.

    Raises:
        BadInput: if the size or rate cannot be written, or no frame came.
        StorageFull: when the disk is full.
    """

    def __init__(
        self,
        path: Path,
        *,
        wh: tuple[int, int],
        fps: float | Fraction,
        crf: int = 20,
        preset: str = "veryfast",
    ) -> None:
        """Describe the file; it is begun on entering the block.

        Args:
            path: where the finished file is to stand.
            wh: width and height of the frames, pixels.
            fps: frames per second.
            crf: x264's quality, 0 (lossless) to 51.
            preset: x264's speed, ``ultrafast`` to ``veryslow``.
        """
        # 1001 keeps the broadcast rates (30000/1001) exact.
        self.rate = Fraction(fps).limit_denominator(1001)
        if min(wh) < 2 or self.rate <= 0:
            raise BadInput(
                f"A video of {wh[0]}x{wh[1]} pixels at {float(fps):g} frames a second cannot be "
                f"written to {path}: give a size of at least 2x2 and a rate above 0."
            )
        self._path = Path(path)
        self._wh = wh
        self._options = {"crf": str(crf), "preset": preset}
        if wh[0] * wh[1] > _LARGE_PIXELS:
            self._options |= _LARGE_OPTIONS
        self._reformatter = VideoReformatter()
        self.count = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            beside = stack.enter_context(whole_file(self._path))
            self._container = stack.enter_context(
                av.open(str(beside), "w", format="mp4", options={"movflags": "+faststart"})
            )
            self._stream = self._container.add_stream(
                "libx264", rate=self.rate, options=self._options
            )
            width, height = self._wh
            self._stream.width, self._stream.height = width + width % 2, height + height % 2
            self._stream.pix_fmt = "yuv420p"
            self._stream.time_base = 1 / self.rate
            codec = self._stream.codec_context
            codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
            codec.color_range = _LIMITED
            self._stack = stack.pop_all()
        return self

    def write(self, bgr: np.ndarray) -> None:
        """Append one (H, W, 3) uint8 frame.

        Raises:
            BadInput: if its size is not the video's.
        """
        height, width = bgr.shape[:2]
        if (width, height) != self._wh:
            raise BadInput(
                f"Frame {self.count} is {width}x{height}, but {self._path} is "
                f"{self._wh[0]}x{self._wh[1]}: write frames of one size."
            )
        if width % 2 or height % 2:
            bgr = cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(bgr), format="bgr24"),
            format="yuv420p",
            dst_colorspace=_BT709,
            dst_color_range=_LIMITED,
            threads=1,
        )
        frame.pts = self.count
        frame.time_base = 1 / self.rate
        self._container.mux(self._stream.encode(frame))
        self.count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            if error is not None:
                raise error
            if self.count == 0:
                raise BadInput(f"No frame was written to {self._path}: give at least one.")
            self._container.mux(self._stream.encode(None))
