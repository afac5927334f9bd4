"""Frames of a video as picture files, named by their index."""

import re
from collections.abc import Sequence
from pathlib import Path

import cv2

from components.errors import BadInput
from components.files import whole_folder
from components.steps import Progress, no_progress
from components.video.probe import probe_video
from components.video.reader import read_frames

_NAME = re.compile(r"frame_(\d{6,})")
_JPEG_QUALITY = 95


def frame_name(index: int) -> str:
    """The name, without suffix, of the frame of an index: ``frame_000120``."""
    return f"frame_{index:06d}"


def frame_index(name: str) -> int | None:
    """The index in a name that ``frame_name`` gave; None for any other name."""
    match = _NAME.fullmatch(name)
    index = int(match[1]) if match else None
    return index if index is not None and frame_name(index) == name else None


def uniform_indices(frame_count: int, number: int) -> list[int]:
    """At most ``number`` indices, each in the middle of its equal share of the video.

    Raises:
        BadInput: if ``number`` is not positive.
    """
    if number < 1:
        raise BadInput(f"{number} frames cannot be extracted: ask for 1 or more.")
    number = min(number, frame_count)
    return [(2 * i + 1) * frame_count // (2 * number) for i in range(number)]


def extract_frames(
    video: Path, folder: Path, indices: Sequence[int], progress: Progress = no_progress
) -> list[Path]:
    """Write frames of a video as JPEG, quality 95, named by ``frame_name``.

    Args:
        video: any readable video.
        folder: appears whole; an older one is replaced.
        indices: of decoded frames, in any order.
        progress: told of written frames.

    Returns:
        The files in the order of their indices, each once.

    Raises:
        BadInput: if an index is beyond the video, or none is given.
        BadVideo: if the video cannot be read.
        StorageFull: when the disk is full.
    """
    wanted = sorted(set(indices))
    if not wanted or wanted[0] < 0:
        raise BadInput(f"No frames of {video} to extract: give indices from 0 on.")
    folder = Path(folder)
    with whole_folder(folder) as beside:
        done = 0
        for frame in read_frames(video, wanted=wanted):
            _, jpeg = cv2.imencode(".jpg", frame.bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            (beside / f"{frame_name(frame.index)}.jpg").write_bytes(jpeg.tobytes())
            done += 1
            progress(done, len(wanted))
        if done < len(wanted):
            count = probe_video(video).frame_count
            raise BadInput(
                f"Frame {wanted[done]} does not exist: {video} has {count} frames, "
                f"so give an index of 0 to {count - 1}."
            )
    return [folder / f"{frame_name(index)}.jpg" for index in wanted]
