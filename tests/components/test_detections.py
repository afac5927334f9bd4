import json
from dataclasses import replace

import numpy as np
import pytest

from components.detections import Comparison, Detections, Tolerance, box_iou, compare


def made(boxes, scores, classes=None, points=0) -> Detections:
    n = len(scores)
    keypoints = np.arange(n * points * 3, dtype=np.float32).reshape(n, points, 3)
    return Detections(
        xyxy=np.asarray(boxes, np.float32).reshape(n, 4),
        scores=np.asarray(scores, np.float32),
        class_ids=np.asarray(classes if classes is not None else [0] * n, np.int64),
        keypoints=keypoints,
    )


TWO = made([[0, 0, 10, 10], [50, 50, 80, 90]], [0.9, 0.8], [0, 1], points=2)
NOTHING = made([], [])


def test_box_iou_of_equal_half_and_apart():
    boxes = np.array([[0, 0, 10, 10], [0, 5, 10, 10], [20, 20, 30, 30]], np.float32)
    np.testing.assert_allclose(box_iou(boxes[:1], boxes), [[1, 0.5, 0]])
    assert box_iou(boxes, boxes[:0]).shape == (3, 0)


def test_box_iou_of_boxes_without_area_is_zero():
    flat = np.array([[5, 5, 5, 9]], np.float32)
    assert box_iou(flat, flat) == 0


def test_equal_findings_in_another_order_have_no_difference():
    turned = TWO.where(np.array([1, 0]))
    assert compare(TWO, turned, confidence=0.25) == Comparison(0, 2, 0, 0, 0)


def test_each_figure_is_the_greatest_difference():
    keypoints = TWO.keypoints.copy()
    keypoints[1, 0, 1] += 0.75
    keypoints[0, 0, 0] -= 0.5
    other = replace(
        TWO,
        xyxy=TWO.xyxy + np.array([[0, 0, 0, 0.25], [0, -0.5, 0, 0]], np.float32),
        scores=TWO.scores - np.array([0.001, 0.01], np.float32),
        keypoints=keypoints,
    )
    comparison = compare(TWO, other, confidence=0.25)
    assert comparison.matched == 2
    assert comparison.box_error == 0.5
    assert comparison.score_error == pytest.approx(0.01, abs=1e-6)
    assert comparison.keypoint_error == 0.75


def test_a_key_points_score_counts_as_a_score():
    keypoints = TWO.keypoints.copy()
    keypoints[1, 1, 2] += 0.5
    comparison = compare(TWO, replace(TWO, keypoints=keypoints), confidence=0.25)
    assert comparison.score_error == 0.5
    assert comparison.keypoint_error == 0


@pytest.mark.parametrize(("expected", "found"), [(TWO, NOTHING), (NOTHING, TWO)])
def test_a_finding_without_a_partner_on_either_side_is_counted(expected, found):
    assert compare(expected, found, confidence=0.25) == Comparison(2, 0, 0, 0, 0)


def test_nothing_on_both_sides_is_no_difference():
    assert compare(NOTHING, NOTHING, confidence=0.25) == Comparison(0, 0, 0, 0, 0)


def test_a_finding_just_above_the_threshold_may_be_missing():
    edge = made([[0, 0, 10, 10]], [0.26])
    assert compare(edge, NOTHING, confidence=0.25).unmatched == 0
    assert compare(edge, NOTHING, confidence=0.2).unmatched == 1
    assert compare(edge, NOTHING, confidence=0.25, tolerance=Tolerance(score=0.005)).unmatched == 1


def test_another_class_is_no_partner():
    other = replace(TWO, class_ids=np.array([1, 1]))
    assert compare(TWO, other, confidence=0.25).unmatched == 2


def test_a_doubled_finding_is_counted_once_too_often():
    doubled = TWO.where(np.array([0, 0, 1]))
    comparison = compare(TWO, doubled, confidence=0.25)
    assert (comparison.matched, comparison.unmatched) == (2, 1)


def test_neighbours_that_overlap_find_their_own_partners():
    crowd = made([[i, 0, i + 10, 10] for i in range(6)], np.linspace(0.9, 0.4, 6))
    shuffled = crowd.where(np.array([3, 1, 5, 0, 4, 2]))
    assert compare(crowd, shuffled, confidence=0.25) == Comparison(0, 6, 0, 0, 0)


def test_boxes_on_one_spot_are_told_apart_by_their_scores():
    same = made([[0, 0, 10, 10]] * 3, [0.9, 0.6, 0.3])
    assert compare(same, same.where(np.array([2, 0, 1])), confidence=0.2).score_error == 0


def test_a_box_clipped_to_nothing_at_the_edge_finds_its_partner():
    clipped = made([[640, 10, 640, 50]], [0.9])
    assert compare(clipped, clipped, confidence=0.25) == Comparison(0, 1, 0, 0, 0)


@pytest.mark.parametrize(
    "figures",
    [
        {"unmatched": 1},
        {"box_error": 1.1},
        {"score_error": 0.03},
        {"keypoint_error": 1.1},
        {"box_error": float("nan")},
    ],
)
def test_one_figure_outside_the_tolerance_is_enough(figures):
    good = Comparison(0, 5, 1.0, 0.02, 1.0)
    assert good.within(Tolerance())
    assert not replace(good, **figures).within(Tolerance())


def test_merged_adds_what_counts_and_keeps_the_worst():
    one, two = Comparison(1, 2, 0.5, 0.1, 0.0), Comparison(0, 3, 0.1, 0.2, 0.7)
    assert one.merged(two) == Comparison(1, 5, 0.5, 0.2, 0.7)


def test_findings_survive_json_bit_by_bit():
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 99, (2, 3, 3)).astype(np.float32)
    for detections in (NOTHING, TWO, replace(TWO, keypoints=keypoints)):
        back = Detections.from_json(json.loads(json.dumps(detections.to_json())))
        for name, array in detections.__dict__.items():
            assert getattr(back, name).dtype == array.dtype
            np.testing.assert_array_equal(getattr(back, name).ravel(), array.ravel())
