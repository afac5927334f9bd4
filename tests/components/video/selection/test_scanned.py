"""Which frames a model is shown: spread over the video, and next to others of them."""

import pytest

from components.frame_results import FrameResult
from components.video.extract import uniform_indices
from components.video.selection.scanned import PAIR_SECONDS, scanned_indices
from components.video.selection.uncertainty import NEIGHBOUR_SECONDS, uncertainty


def test_a_short_video_is_spread_evenly() -> None:
    assert scanned_indices(600 * 25, 25, 600) == uniform_indices(600 * 25, 600)
    assert scanned_indices(7, 25, 600) == list(range(7))


@pytest.mark.parametrize("fps", [1, 2, 12.5, 25, 29.97, 240])
@pytest.mark.parametrize("hours", [0.17, 0.5, 8])
def test_a_long_one_is_spread_in_pairs(fps: float, hours: float) -> None:
    count = int(hours * 3600 * fps)
    indices = scanned_indices(count, fps, 600)
    assert indices == sorted(set(indices))
    assert len(indices) == 600
    assert indices[-1] < count
    firsts, seconds = indices[::2], indices[1::2]
    assert firsts == uniform_indices(count, 300)
    apart = {b - a for a, b in zip(firsts, seconds, strict=True)}
    assert apart == {max(1, round(PAIR_SECONDS * fps))}
    assert max(apart) / fps <= NEIGHBOUR_SECONDS


def test_where_no_frame_has_a_neighbour_they_are_spread_evenly() -> None:
    assert scanned_indices(7200, 0.5, 600) == uniform_indices(7200, 600)


def test_a_box_that_jumps_in_a_long_video_counts() -> None:
    count, fps = 3600 * 25, 25
    indices = scanned_indices(count, fps, 600)
    jumps = indices[301]
    results = [
        FrameResult(
            frame=index,
            timestamp=index / fps,
            boxes=[[50.0, 10.0, 70.0, 30.0] if index == jumps else [10.0, 10.0, 30.0, 30.0]],
            boxes_score=[1.0],
            classes=["mouse"],
        )
        for index in indices
    ]
    scores = {index: score for index, _, score in uncertainty(results, 0.25, (640, 480))}
    assert {index for index, score in scores.items() if score > 0.1} == {indices[300], jumps}
