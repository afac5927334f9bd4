"""Reading frames: exact indices and times, and the right colours the right way up."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from components.errors import BadVideo
from components.video.reader import read_frames
from tests.helpers.videos import MakeVideo, grey_of


def opencv_frames(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (got := capture.read())[0]:
        frames.append(got[1])
    return frames


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("plain.mp4", {}),
        ("bt709.mp4", {"colorspace": 1}),
        ("full_range.mp4", {"pixel_format": "yuvj420p"}),
        ("full_range.webm", {"codec": "libvpx-vp9", "full_range": True}),
        ("yuv444.mp4", {"pixel_format": "yuv444p"}),
        ("mpeg4.avi", {"codec": "mpeg4"}),
        ("odd.avi", {"codec": "mjpeg", "pixel_format": "yuvj444p", "wh": (65, 49)}),
        ("odd_420.avi", {"codec": "mpeg4", "wh": (65, 49)}),
        ("grey.avi", {"codec": "rawvideo", "pixel_format": "gray"}),
        ("padded_lines.mp4", {"wh": (66, 50)}),
        ("turned.mp4", {"rotation": 90}),
        ("head_over.mp4", {"rotation": 180}),
        ("turned_back.mp4", {"rotation": 270}),
    ],
)
def test_frames_are_those_of_an_independent_reader(
    make_video: MakeVideo, name: str, settings: dict
) -> None:
    path = make_video(name, **settings)
    expected = opencv_frames(path)
    found = list(read_frames(path))
    assert [frame.index for frame in found] == list(range(20))
    assert len(expected) == 20
    for frame, reference in zip(found, expected, strict=True):
        assert frame.bgr.shape == reference.shape
        assert frame.bgr.dtype == np.uint8
        assert frame.bgr.flags.c_contiguous
        assert np.abs(frame.bgr.astype(int) - reference).max() <= 6


def test_frames_match_pyavs_own_conversion(make_video: MakeVideo) -> None:
    path = make_video(noise=True)
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    for frame, reference in zip(read_frames(path), expected, strict=True):
        assert np.abs(frame.bgr.astype(int) - reference).max() <= 1


def test_a_frame_stays_as_it_is_while_later_ones_are_read(make_video: MakeVideo) -> None:
    frames = list(read_frames(make_video(frames=12)))
    for frame in frames:
        assert abs(int(frame.bgr[24, 4, 1]) - grey_of(frame.index)) <= 4


def test_wanted_and_start_choose_without_changing_indices(make_video: MakeVideo) -> None:
    path = make_video()
    every = {frame.index: frame for frame in read_frames(path)}
    some = list(read_frames(path, start=5, wanted=[3, 17, 5, 40]))
    assert [frame.index for frame in some] == [5, 17]
    for frame in some:
        assert np.array_equal(frame.bgr, every[frame.index].bgr)
        assert frame.timestamp == every[frame.index].timestamp
    assert [frame.index for frame in read_frames(path, start=18)] == [18, 19]
    assert list(read_frames(path, wanted=[])) == []


def test_times_count_from_the_first_frames_own(make_video: MakeVideo) -> None:
    times = [500, 533, 600, 900, 905]
    path = make_video("vfr.mkv", frames=5, times_ms=times)
    found = [frame.timestamp for frame in read_frames(path)]
    assert found == pytest.approx([0, 0.033, 0.1, 0.4, 0.405], abs=1e-6)


def test_a_file_that_breaks_gives_the_frames_before_and_then_says_so(
    make_video: MakeVideo,
) -> None:
    path = make_video(frames=60, noise=True, options={"movflags": "+faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    got = []
    with pytest.raises(BadVideo, match=r"video\.mp4 is cut off after \d+ frames"):
        got.extend(frame.index for frame in read_frames(path))
    assert got == list(range(len(got)))
    assert 20 <= len(got) < 60


def test_leaving_early_closes_the_file(make_video: MakeVideo) -> None:
    path = make_video()
    frames = read_frames(path)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    open_files = [link.resolve() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert path not in open_files
