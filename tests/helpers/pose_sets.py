"""Small label sets, and the images that they belong to."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st

from components.labeling.label_set import LabelledFrame, LabelSet
from components.labels import FrameLabels, LabelSpec

SIZES = {"frame_000000": (64, 48), "frame_000007": (100, 80), "img 3.b": (64, 48), "ü": (640, 480)}


def write_images(folder: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Path]:
    """A black PNG of each size, by stem."""
    folder.mkdir(parents=True, exist_ok=True)
    images = {}
    for stem, (width, height) in sizes.items():
        images[stem] = folder / f"{stem}.png"
        cv2.imwrite(str(images[stem]), np.zeros((height, width, 3), np.uint8))
    return images


@st.composite
def label_sets(draw: st.DrawFn, spec: LabelSpec) -> LabelSet:
    """Labels of some images of ``SIZES``, negatives and objects without key points among them."""
    frames = {}
    for stem in draw(st.lists(st.sampled_from(sorted(SIZES)), min_size=1, unique=True)):
        count = draw(st.integers(0, 3))
        labels = FrameLabels(
            np.array([draw(st.integers(0, len(spec.names) - 1)) for _ in range(count)], np.int64),
            np.array([draw(_boxes()) for _ in range(count)], np.float32).reshape(count, 4),
            np.array(
                [draw(_points()) for _ in range(count * len(spec.keypoints))], np.float32
            ).reshape(count, len(spec.keypoints), 3),
        )
        frames[stem] = LabelledFrame(f"{stem}.png", SIZES[stem], labels)
    return LabelSet(spec, frames)


@st.composite
def _boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    near = draw(st.floats(0, 0.9)), draw(st.floats(0, 0.9))
    far = draw(st.floats(near[0] + 0.01, 1)), draw(st.floats(near[1] + 0.01, 1))
    centre = [(a + b) / 2 for a, b in zip(near, far, strict=True)]
    return centre[0], centre[1], far[0] - near[0], far[1] - near[1]


def _points() -> st.SearchStrategy[tuple[float, float, int]]:
    place = st.floats(0, 1)
    return st.just((0.0, 0.0, 0)) | st.tuples(place, place, st.sampled_from([1, 2]))


def assert_same(read: LabelSet, written: LabelSet) -> None:
    """Every image, class, box, point and visibility, to a hundred-thousandth of the image."""
    assert (read.spec.task, read.spec.names) == (written.spec.task, written.spec.names)
    assert (read.spec.keypoints, read.spec.flip_idx) == (
        written.spec.keypoints,
        written.spec.flip_idx,
    )
    assert read.frames.keys() == written.frames.keys()
    for stem, expected in written.frames.items():
        found = read.frames[stem]
        assert (found.file, found.size_wh) == (expected.file, expected.size_wh)
        ours, theirs = found.labels, expected.labels
        assert ours.class_ids.tolist() == theirs.class_ids.tolist()
        assert np.allclose(ours.boxes_cxcywhn, theirs.boxes_cxcywhn, atol=1e-5)
        assert np.allclose(ours.keypoints_xyvn[..., :2], theirs.keypoints_xyvn[..., :2], atol=1e-5)
        assert np.array_equal(ours.keypoints_xyvn[..., 2], theirs.keypoints_xyvn[..., 2])
