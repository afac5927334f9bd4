"""Opening a file as a video and decoding it, whatever it may hold.

The file comes from outside. libavformat would follow a play list to other files and
hosts and take a text file for a video of text, so the formats are listed, nothing but
that one file is opened, and a frame has a greatest size.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from components import MAX_IMAGE_PIXELS
from components.errors import BadVideo

# Those that hold all of their data themselves; no play lists (hls, dash, concat), no
# images, no text. The sound-only ones let us say what the file is.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpeg,mpegts,mpegvideo,asf,ogg,nut,ivf,"
    "mxf,dv,gif,h264,hevc,m4v,mjpeg,yuv4mpegpipe,mp3,wav,flac,aac,ac3"
)
# Each of a decoder's threads holds a frame, and some more that refer to each other.
_PIXELS_IN_THREADS = 4 * 3840 * 2160


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open ``path`` and its first stream of moving pictures, with frame threads.

    Raises:
        BadVideo: if it is missing, empty, no video, or holds sound only.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BadVideo(
            f"The video {path} cannot be opened ({error.strerror}): check its path."
        ) from error
    if not path.is_file():
        raise BadVideo(f"The video {path} is not a file: name a video file.")
    if size == 0:
        raise BadVideo(f"The video {path} is empty: copy or download it again.")
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path.absolute()}", options=options)
    except av.FFmpegError as error:
        raise BadVideo(
            f"The file {path} cannot be read as a video: it is of another kind or was cut off; "
            "give a whole video file, MP4 for example."
        ) from error
    with container:
        # A cover picture counts as a video stream.
        streams = [
            s for s in container.streams.video if not s.disposition & s.disposition.attached_pic
        ]
        if not streams:
            raise BadVideo(f"The file {path} holds no moving pictures: give a video file.")
        stream = streams[0]
        stream.thread_type = "AUTO"
        pixels = stream.width * stream.height
        if pixels > MAX_IMAGE_PIXELS:
            raise _too_large(path, stream.width, stream.height)
        threads = min(os.cpu_count() or 1, _PIXELS_IN_THREADS // max(pixels, 1))
        if threads < (os.cpu_count() or 1):
            stream.thread_count = max(threads, 1)
        # What the container says need not be what the frames are.
        stream.codec_context.options = {"max_pixels": str(MAX_IMAGE_PIXELS)}
        yield container, stream


def _too_large(path: Path, width: int, height: int) -> BadVideo:
    return BadVideo(
        f"The video {path} has frames of {width}x{height} pixels, more than the "
        f"{MAX_IMAGE_PIXELS} allowed: scale it down, or cut it."
    )


def decode(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every frame of ``stream`` in presentation order.

    Raises:
        BadVideo: where the file breaks, naming how many frames came before, and where
            the size changes on the way.
    """
    count, size, cut_off = 0, None, False
    try:
        for packet in container.demux(stream):
            # The demuxer marks a packet that it could read in part only; the last one,
            # which flushes the decoder, is empty.
            cut_off = packet.is_corrupt if packet.size else cut_off
            for frame in packet.decode():
                size = size or (frame.width, frame.height)
                if frame.width * frame.height > MAX_IMAGE_PIXELS:
                    raise _too_large(path, frame.width, frame.height)
                if size != (frame.width, frame.height):
                    raise BadVideo(
                        f"The video {path} changes its size at frame {count}, from "
                        f"{size[0]}x{size[1]} to {frame.width}x{frame.height}: split it there."
                    )
                yield frame
                count += 1
    except av.FFmpegError as error:
        raise BadVideo(
            f"The video {path} breaks after {count} frames ({error.strerror}): "
            "repair it, or cut it there, and give it again."
        ) from error
    if cut_off:
        raise BadVideo(
            f"The video {path} is cut off after {count} frames: copy or download it again."
        )
    if count == 0:
        raise BadVideo(f"No frame of the video {path} can be decoded: give a whole video file.")


class FrameClock:
    """Gives each frame of a stream its time, seconds from the first one's."""

    def __init__(self, stream: VideoStream) -> None:
        self._period = float(1 / stream.average_rate) if stream.average_rate else 1 / 30
        self._first: float | None = None
        self._last = -self._period

    def __call__(self, frame: VideoFrame) -> float:
        """The time of the next frame; one without a time stamp follows at the mean rate."""
        if frame.pts is None or frame.time_base is None:
            self._last += self._period
            return self._last
        time = float(frame.pts * frame.time_base)
        if self._first is None:
            self._first = time
        self._last = time - self._first
        return self._last
