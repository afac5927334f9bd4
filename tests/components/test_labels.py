"""YOLO label files: read, refused with file and line, and written back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import BadLabels
from components.labels import FrameLabels, LabelSpec, format_yolo_labels, read_yolo_labels

DETECT = LabelSpec(names=("mouse", "rat"))
POSE = LabelSpec(task="pose", names=("mouse",), keypoints=("snout", "tail"))


def _file(folder: Path, text: str) -> Path:
    path = folder / "a.txt"
    path.write_text(text)
    return path


def test_boxes_are_read(tmp_path: Path):
    labels = read_yolo_labels(_file(tmp_path, "1 0.5 0.25 0.1 0.2\n\n0 1 0 1 1\n"), DETECT)
    assert labels.class_ids.tolist() == [1, 0]
    assert np.allclose(labels.boxes_cxcywhn, [[0.5, 0.25, 0.1, 0.2], [1, 0, 1, 1]])
    assert labels.keypoints_xyvn.shape == (2, 0, 3)


def test_a_mark_of_the_encoding_is_no_number(tmp_path: Path):
    marked = tmp_path / "a.txt"
    marked.write_text("0 0.5 0.5 0.1 0.1\n", encoding="utf-8-sig")
    assert read_yolo_labels(marked, DETECT).class_ids.tolist() == [0]


def test_an_empty_file_is_a_confirmed_negative(tmp_path: Path):
    assert len(read_yolo_labels(_file(tmp_path, "\n"), DETECT)) == 0


def test_key_points_come_with_or_without_visibility(tmp_path: Path):
    text = "0 .5 .5 .2 .2 .4 .4 1 0 0 0\n0 .5 .5 .2 .2 .4 .4 0 0\n"
    labels = read_yolo_labels(_file(tmp_path, text), POSE)
    assert labels.keypoints_xyvn[:, :, 2].tolist() == [[1, 0], [2, 0]]


@pytest.mark.parametrize(
    ("spec", "line", "sentence"),
    [
        (DETECT, "2 .5 .5 .1 .1", "class 2 is unknown"),
        (DETECT, "-1 .5 .5 .1 .1", "class -1 is unknown"),
        (DETECT, "0.5 .5 .5 .1 .1", "class 0.5 is unknown"),
        (DETECT, "nan .5 .5 .1 .1", "class nan is unknown"),
        (DETECT, "0 .5 .5 .1", "4 values"),
        (DETECT, "0 .5 .5 .1 .1 .9", "6 values"),
        (DETECT, "mouse .5 .5 .1 .1", "numbers only"),
        (DETECT, "0 1.01 .5 .1 .1", "outside 0 to 1"),
        (DETECT, "0 .5 -0.01 .1 .1", "outside 0 to 1"),
        (DETECT, "0 .5 .5 nan .1", "outside 0 to 1"),
        (DETECT, "0 .5 .5 inf .1", "outside 0 to 1"),
        (DETECT, "0 .5 .5 0 .1", "no area"),
        (POSE, "0 .5 .5 .1 .1 .5 .5 2", "8 values"),
        (POSE, "0 .5 .5 .1 .1 .5 .5 2 .5 1.5 2", "outside 0 to 1"),
        (POSE, "0 .5 .5 .1 .1 .5 .5 3 .5 .5 2", "visibility"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, spec, line, sentence):
    with pytest.raises(BadLabels, match=r"a\.txt, line 2") as caught:
        read_yolo_labels(_file(tmp_path, f"\n{line}\n"), spec)
    assert sentence in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadLabels, match=r"a\.txt"):
        read_yolo_labels(path, DETECT)


_share = st.integers(0, 10**6).map(lambda n: n / 10**6)
_size = st.integers(1, 10**6).map(lambda n: n / 10**6)
_point = st.tuples(_share, _share, st.integers(0, 2))
_objects = st.lists(st.tuples(_share, _share, _size, _size, _point, _point), max_size=5)


@given(objects=_objects)
def test_what_is_written_is_read_back(tmp_path_factory, objects):
    labels = FrameLabels(
        class_ids=np.zeros(len(objects), np.int64),
        boxes_cxcywhn=np.asarray([o[:4] for o in objects], np.float32).reshape(-1, 4),
        keypoints_xyvn=np.asarray([o[4:] for o in objects], np.float32).reshape(-1, 2, 3),
    )
    path = tmp_path_factory.mktemp("labels") / "a.txt"
    path.write_text(format_yolo_labels(labels))
    back = read_yolo_labels(path, POSE)
    np.testing.assert_allclose(back.boxes_cxcywhn, labels.boxes_cxcywhn, atol=1e-6)
    np.testing.assert_allclose(back.keypoints_xyvn, labels.keypoints_xyvn, atol=1e-6)


@pytest.mark.parametrize(
    "spec",
    [
        {"names": ()},
        {"names": ("a", "a")},
        {"names": ("a",), "task": "pose"},
        {"names": ("a",), "keypoints": ("x",)},
        {"names": ("a",), "task": "pose", "keypoints": ("x", "y"), "flip_idx": (0, 0)},
    ],
)
def test_a_spec_that_does_not_fit_together_is_refused(spec):
    with pytest.raises(ValueError):
        LabelSpec(**spec)
