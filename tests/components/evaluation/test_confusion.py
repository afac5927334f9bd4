"""The confusion matrix: by hand, and against Ultralytics' own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import ultralytics_env
from components.detections import Detections
from components.evaluation.confusion import ConfusionMatrix, match

NAMES = ("cat", "dog", "bird")


def found(*objects: tuple[int, float, tuple[float, float, float, float]]) -> Detections:
    return Detections(
        np.asarray([box for *_, box in objects], np.float32).reshape(-1, 4),
        np.asarray([score for _, score, _ in objects], np.float32),
        np.asarray([class_id for class_id, *_ in objects], np.int64),
        np.zeros((len(objects), 0, 3), np.float32),
    )


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.asarray(corners, np.float32).reshape(-1, 4)


def test_a_frame_counted_by_hand():
    truth = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10))
    class_ids = np.asarray([0, 0, 1, 2])
    seen = found(
        (0, 0.9, (0, 0, 10, 9)),  # the first cat
        (0, 0.8, (0, 0, 10, 10)),  # the same once more: too many
        (1, 0.7, (20, 0, 30, 10)),  # the second cat, taken for a dog
        (1, 0.2, (40, 0, 50, 10)),  # the dog, but too unsure
        (2, 0.6, (64.9, 0, 75, 10)),  # beside the bird: too little overlap
    )
    matched = match(truth, seen)
    assert matched.found.tolist() == [0, 2, -1, -1]
    assert matched.extra.tolist() == [False, True, False, False, True]
    matrix = ConfusionMatrix(NAMES)
    matrix.add(class_ids, seen, matched)
    assert matrix.categories == ("cat", "dog", "bird", "background")
    assert matrix.rows() == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 1, 0]]
    assert all(type(value) is int for row in matrix.rows() for value in row)


def test_empty_frames():
    matrix = ConfusionMatrix(NAMES)
    nothing, one = found(), found((1, 0.9, (0, 0, 5, 5)))
    matrix.add(np.zeros(0, int), nothing, match(boxes(), nothing))
    assert not matrix.counts.any()
    matrix.add(np.zeros(0, int), one, match(boxes(), one))
    matrix.add(np.asarray([2]), nothing, match(boxes((0, 0, 5, 5)), nothing))
    assert matrix.rows() == [[0] * 4, [0] * 4, [0, 0, 0, 1], [0, 1, 0, 0]]


@pytest.mark.parametrize("names", [("background",), ("background", "(background)", "cat")])
def test_no_name_stands_twice(names: tuple[str, ...]):
    categories = ConfusionMatrix(names).categories
    assert len(set(categories)) == len(names) + 1


def _box(draw: st.DrawFn) -> tuple[float, float, float, float]:
    x, y = draw(st.integers(0, 30)), draw(st.integers(0, 10))
    return x, y, x + draw(st.integers(4, 14)), y + draw(st.integers(4, 14))


@st.composite
def _frames(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Detections]:
    count = draw(st.integers(0, 5))
    truth = boxes(*[_box(draw) for _ in range(count)])
    class_ids = np.asarray([draw(st.integers(0, 2)) for _ in range(count)], int)
    scores = draw(st.lists(st.integers(1, 99), max_size=7, unique=True))
    objects = [
        (draw(st.integers(0, 2)), score / 100 + 0.001, _box(draw))
        for score in sorted(scores, reverse=True)
    ]
    return truth, class_ids, found(*objects)


@settings(max_examples=200, deadline=None)
@given(_frames())
def test_it_counts_as_ultralytics_does(frame: tuple[np.ndarray, np.ndarray, Detections]):
    ultralytics_env.prepare()
    import torch
    from ultralytics.utils.metrics import ConfusionMatrix as Theirs

    truth, class_ids, seen = frame
    theirs = Theirs(names=dict(enumerate(NAMES)))
    theirs.process_batch(
        {
            "cls": torch.from_numpy(seen.class_ids),
            "conf": torch.from_numpy(seen.scores),
            "bboxes": torch.from_numpy(seen.xyxy),
        },
        {"cls": torch.from_numpy(class_ids), "bboxes": torch.from_numpy(truth)},
    )
    ours = ConfusionMatrix(NAMES)
    ours.add(class_ids, seen, match(truth, seen))
    # Theirs has a row for what was found.
    assert ours.counts.tolist() == theirs.matrix.T.astype(int).tolist()
