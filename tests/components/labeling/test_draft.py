"""Labels in one file, and back."""

from pathlib import Path

import numpy as np
import pytest

from components.errors import BadInput, NotFound
from components.labeling.draft import load_draft, save_draft
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labels import FrameLabels, LabelSpec

POSE = LabelSpec(task="pose", names=("mouse", "rat"), keypoints=("left", "right"), flip_idx=(1, 0))


def _random(n: int, points: int) -> FrameLabels:
    rng = np.random.default_rng(n)
    visible = rng.integers(0, 3, (n, points, 1))
    return FrameLabels(
        rng.integers(0, 2, n),
        rng.random((n, 4), np.float32),
        np.concatenate([rng.random((n, points, 2)), visible], axis=2).astype(np.float32),
    )


@pytest.mark.parametrize("spec", [POSE, LabelSpec(names=("mouse", "rat"))])
def test_kept_labels_come_back_exactly(tmp_path: Path, spec: LabelSpec):
    frames = {
        f"image {n}": LabelledFrame(
            f"image {n}.jpg", (640 + n, 480), _random(n, len(spec.keypoints))
        )
        for n in (0, 1, 3)
    }
    save_draft(LabelSet(spec, frames, frozenset({"b", "a"})), tmp_path / "new" / "draft.json")
    back = load_draft(tmp_path / "new" / "draft.json")
    assert (back.spec, back.skipped, back.faults) == (spec, {"a", "b"}, {})
    assert list(back.frames) == list(frames)
    for stem, frame in frames.items():
        there = back.frames[stem]
        assert (there.file, there.size_wh) == (frame.file, frame.size_wh)
        for part in ("class_ids", "boxes_cxcywhn", "keypoints_xyvn"):
            before, after = getattr(frame.labels, part), getattr(there.labels, part)
            assert (after.dtype, after.shape) == (before.dtype, before.shape)
            assert np.array_equal(after, before)


def test_what_is_no_draft_is_said(tmp_path: Path):
    path = tmp_path / "draft.json"
    with pytest.raises(NotFound, match="No labels are kept"):
        load_draft(path)
    save_draft(LabelSet(POSE, {"a": LabelledFrame("a.jpg", (8, 8), _random(2, 2))}), path)
    half = path.read_text()[:-20]
    for text in (half, "{}", "[]", ""):
        path.write_text(text)
        with pytest.raises(BadInput, match="cannot be read as kept labels"):
            load_draft(path)
