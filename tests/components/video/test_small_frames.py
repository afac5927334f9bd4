"""Small frames: the means of areas, the right way up, at the frames' own times."""

import numpy as np
import pytest

from components.video.reader import read_frames, read_small_frames
from tests.helpers.videos import MakeVideo


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_small_frames_are_the_means_of_the_large_ones(make_video: MakeVideo, rotation: int) -> None:
    path = make_video(rotation=rotation)
    small = list(read_small_frames(path, (8, 4)))
    for frame, large in zip(small, read_frames(path), strict=True):
        assert (frame.index, frame.timestamp) == (large.index, large.timestamp)
        assert frame.pixels.shape == (4, 8, 3)
        height, width = large.bgr.shape[:2]
        means = large.bgr.reshape(4, height // 4, 8, width // 8, 3).mean(axis=(1, 3))
        assert np.abs(frame.pixels - means).max() <= 12


def test_grey_and_wanted(make_video: MakeVideo) -> None:
    path = make_video()
    frames = list(read_small_frames(path, (8, 4), grey=True, wanted=[3, 7]))
    assert [frame.index for frame in frames] == [3, 7]
    assert frames[0].pixels.shape == (4, 8)
    # The left edge tells the index by its grey.
    assert abs(int(frames[1].pixels[2, 0]) - int(frames[0].pixels[2, 0])) in range(60, 105)
