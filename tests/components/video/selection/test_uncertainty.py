"""Uncertainty: each sign of it alone, neighbours, a second model, and streaming."""

from collections.abc import Iterator

import pytest

from components.errors import BadInput
from components.frame_results import FrameResult
from components.video.selection.uncertainty import WEIGHTS, uncertainty

SIZE_WH = (640, 480)


def result(frame: int, *boxes: list[float], fps: float = 30, **more: object) -> FrameResult:
    """A frame whose boxes are x1, y1, x2, y2, score."""
    return FrameResult(
        frame=frame,
        timestamp=frame / fps,
        boxes=[box[:4] for box in boxes],
        boxes_score=[box[4] for box in boxes],
        **{"classes": ["mouse"] * len(boxes), **more},
    )


def box(x: float = 100, score: float = 1.0, size: float = 40) -> list[float]:
    return [x, 100, x + size, 100 + size, score]


def scores(results: list[FrameResult], other: list[FrameResult] = []) -> list[float]:  # noqa: B006
    return [score for _, _, score in uncertainty(results, 0.25, SIZE_WH, other)]


def test_weights_are_shares() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_a_sure_and_steady_model_is_certain() -> None:
    results = [result(i, box()) for i in range(5)]
    assert scores(results, results) == [0] * 5


@pytest.mark.parametrize(
    ("score", "doubt"), [(0.25, 1), (1.0, 0), (0.625, 0.5), (0.125, 0.5), (0.0, 0)]
)
def test_doubt_is_greatest_at_the_threshold(score: float, doubt: float) -> None:
    assert scores([result(0, box(score=score))]) == pytest.approx([0.3 * doubt])
    # One doubtful box is enough, beside a sure one.
    assert scores([result(0, box(300), box(score=score))]) == pytest.approx([0.3 * doubt])


def test_nothing_found_is_half_a_doubt() -> None:
    assert scores([result(0)]) == pytest.approx([0.15])


def test_a_box_that_vanishes_for_one_frame_stands_out() -> None:
    results = [result(i, *([] if i == 2 else [box()])) for i in range(5)]
    assert scores(results) == pytest.approx([0, 0.1, 0.2 + 0.15, 0.1, 0])


def test_a_score_that_falls_below_the_threshold_vanishes() -> None:
    low = scores([result(i, box(score=0.2 if i == 2 else 1.0)) for i in range(5)])
    assert low[2] == pytest.approx(0.2 + 0.3 * 0.8)


def test_a_box_that_jumps_and_returns_stands_out() -> None:
    # 30 px of 40: the overlap is 10 of 70.
    results = [result(i, box(130 if i == 2 else 100)) for i in range(5)]
    jump = (1 - 10 / 70 + 30 / 40) / 2
    assert scores(results) == pytest.approx(
        [0, 0.15 * jump / 2, 0.15 * jump, 0.15 * jump / 2, 0], abs=1e-9
    )


def test_a_box_far_away_is_another_one() -> None:
    assert scores([result(0, box(100)), result(1, box(400))]) == pytest.approx([0.2, 0.2])


def test_a_class_that_changes_is_another_object() -> None:
    results = [result(0, box()), result(1, box(), classes=["rat"])]
    assert scores(results) == pytest.approx([0.2, 0.2])


def test_two_animals_are_told_apart() -> None:
    # They stand in another order in the second frame.
    results = [result(0, box(100), box(130)), result(1, box(130), box(100))]
    assert scores(results) == pytest.approx([0, 0])


def test_frames_far_apart_are_no_neighbours() -> None:
    results = [result(0, box(100)), result(31, box(400)), result(61, box(100))]
    # 30 frames are a second: those count.
    assert scores(results) == pytest.approx([0, 0.2, 0.2])


def test_low_key_points() -> None:
    points = {"keypoints": [[[0.2, 0.2], [0.3, 0.3]]], "keypoints_score": [[0.9, 0.5]]}
    assert scores([result(0, box(), **points)]) == pytest.approx([0.1 * 0.3])


def test_disagreement_on_boxes() -> None:
    here = [result(0, box()), result(2, box()), result(4), result(6)]
    there = [result(0, box()), result(1, box()), result(4, box(300)), result(6)]
    alone, both = scores(here), scores(here, there)
    # Frame 2 is not among the other's, and in frame 6 neither found anything.
    assert [b - a for a, b in zip(alone, both, strict=True)] == pytest.approx([0, 0, 0.25, 0])
    shifted = scores([result(0, box())], [result(0, box(110))])
    assert shifted == pytest.approx([0.25 * (1 - 30 / 50)])


def test_disagreement_on_key_points_counts_in_pixels_of_the_frame() -> None:
    def with_point(x: float) -> list[FrameResult]:
        points = {"keypoints": [[[x / 640, 120 / 480]]], "keypoints_score": [[1.0]]}
        return [result(0, box(), **points)]

    assert scores(with_point(110), with_point(120)) == pytest.approx([0.25 * 10 / 40])


def test_it_streams() -> None:
    read = []

    def stream(name: str) -> Iterator[FrameResult]:
        for frame in range(1000):
            read.append(name)
            yield result(frame, box())

    scored = uncertainty(stream("one"), 0.25, SIZE_WH, stream("two"))
    for index in range(10):
        assert next(scored)[:2] == (index, index / 30)
    assert read.count("one") <= 12
    assert read.count("two") <= 12


@pytest.mark.parametrize("side", [0, 1])
def test_results_out_of_order_are_refused(side: int) -> None:
    good, bad = [result(0), result(5)], [result(3), result(3), result(9)]
    sides = (good, bad) if side else (bad, good)
    with pytest.raises(BadInput, match="frame 3 behind frame 3"):
        scores(*sides)


@pytest.mark.parametrize("threshold", [0, 1, -0.1, float("nan")])
def test_a_threshold_that_is_no_score_is_refused(threshold: float) -> None:
    with pytest.raises(BadInput, match="threshold"):
        list(uncertainty([result(0)], threshold, SIZE_WH))
