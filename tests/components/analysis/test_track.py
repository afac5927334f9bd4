import numpy as np
import pytest

from components.analysis.track import IdentityTracker
from components.detections import Detections


def found(*objects):
    """Detections of (x, y, class, score): boxes of 20 pixels."""
    table = np.asarray(objects, float).reshape(len(objects), 4)
    corners = table[:, :2]
    return Detections(
        xyxy=np.hstack([corners, corners + 20]).astype(np.float32),
        scores=table[:, 3].astype(np.float32),
        class_ids=table[:, 2].astype(np.int64),
        keypoints=np.zeros((len(objects), 0, 3), np.float32),
    )


def follow(frames, fps=25.0, **choices):
    tracker = IdentityTracker(fps, **choices)
    return [tracker.update(frame, index / fps) for index, frame in enumerate(frames)]


def test_an_identity_is_given_from_the_second_frame_on_and_stays():
    frames = [found((10 + 3 * i, 50, 0, 0.9), (200 - 3 * i, 150, 0, 0.9)) for i in range(30)]
    assert follow(frames) == [["", ""]] + [["1", "2"]] * 29


def test_identities_come_back_in_the_order_of_the_detections():
    rng = np.random.default_rng(1)
    objects = [(30, 30, 0), (150, 30, 0), (30, 150, 1), (150, 150, 1), (270, 90, 0)]
    seen: dict[int, set[str]] = {}
    tracker = IdentityTracker(25)
    for index in range(40):
        order = rng.permutation(5)
        # A low score goes through the tracker's second round, which reorders.
        scores = rng.choice([0.9, 0.3], 5) if index > 3 else np.full(5, 0.9)
        frame = found(*[(*objects[i], scores[i]) for i in order])
        for i, identity in zip(order, tracker.update(frame, index / 25), strict=True):
            if index:
                seen.setdefault(int(i), set()).add(identity)
    assert all(len(identities) == 1 for identities in seen.values())
    assert set.union(*seen.values()) == {"1", "2", "3", "4", "5"}


def test_classes_are_kept_apart_where_they_cross():
    frames = [found((10 + 5 * i, 50, 0, 0.9), (210 - 5 * i, 52, 1, 0.9)) for i in range(41)]
    ids = follow(frames)
    assert set(map(tuple, ids[1:])) == {("1", "2")}


def test_a_fast_object_whose_boxes_do_not_overlap_keeps_its_identity():
    frames = [found((10 + 24 * i, 50, 0, 0.9)) for i in range(15)]
    assert follow(frames) == [[""]] + [["1"]] * 14


def test_an_object_out_of_sight_comes_back_as_itself_within_the_memory():
    def frames(away):
        here = [found((50, 50, 0, 0.9))] * 10
        return here + [found()] * away + here

    assert follow(frames(away=40))[-1] == ["1"]
    assert follow(frames(away=60))[-1] == ["2"]
    assert follow(frames(away=20), fps=10, memory_seconds=1.0)[-1] == ["2"]


def test_doubtful_detections_begin_no_identity_but_continue_one():
    assert follow([found((50, 50, 0, 0.3))] * 10) == [[""]] * 10
    sure, doubtful = found((50, 50, 0, 0.9)), found((50, 50, 0, 0.3))
    assert follow([sure] * 3 + [doubtful] * 10)[-1] == ["1"]


@pytest.mark.filterwarnings("error")
def test_time_stamps_that_stand_still_or_step_back_do_not_stop_it():
    tracker = IdentityTracker(25)
    times = [0.0, 0.04, 0.04, 0.02, 0.12, 0.16]
    ids = [tracker.update(found((50 + i, 50, 0, 0.9)), time) for i, time in enumerate(times)]
    assert ids[1:] == [["1"]] * 5


def test_nothing_found_is_nothing_identified():
    assert follow([found()] * 3) == [[], [], []]
