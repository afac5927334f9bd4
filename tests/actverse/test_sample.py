"""The sample video: repeatable, and its truth lies where the shapes are drawn."""

from pathlib import Path

import numpy as np
import pytest

from actverse.sample import NAMES, make_sample
from components.detections import box_iou
from components.labels import read_yolo_labels
from components.video.convert import conversion_reason
from components.video.probe import probe_video
from components.video.reader import read_frames


def corners(boxes_cxcywhn: np.ndarray, wh: tuple[int, int]) -> np.ndarray:
    scale = np.asarray([*wh, *wh])
    half = boxes_cxcywhn[:, 2:] / 2
    centre = boxes_cxcywhn[:, :2]
    return np.concatenate([centre - half, centre + half], axis=1) * scale


def test_video_is_what_it_says(tmp_path: Path) -> None:
    truth = make_sample(tmp_path / "sample.mp4", frames=30, wh=(240, 180))
    facts = probe_video(tmp_path / "sample.mp4")
    assert (facts.frame_count, facts.fps) == (len(truth.frames), truth.fps) == (30, 30)
    assert (facts.width, facts.height) == truth.wh == (240, 180)
    assert conversion_reason(facts) == ""
    assert truth.spec.names == NAMES


def test_same_seed_draws_the_same_and_another_seed_another(tmp_path: Path) -> None:
    def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
        truth = make_sample(tmp_path / "sample.mp4", seed=seed, frames=3, wh=(160, 120))
        pictures = [frame.bgr for frame in read_frames(tmp_path / "sample.mp4")]
        return np.stack(pictures), np.stack([f.boxes_cxcywhn for f in truth.frames])

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_truth_is_fit_to_learn_from(tmp_path: Path, seed: int) -> None:
    truth = make_sample(tmp_path / "sample.mp4", seed=seed, frames=360, wh=(160, 120))
    overlaps = []
    for frame in truth.frames:
        assert sorted(frame.class_ids) == [0, 0, 1, 1, 2, 2]
        xyxy = corners(frame.boxes_cxcywhn, (1, 1))
        assert xyxy.min() >= 0
        assert xyxy.max() <= 1
        iou = box_iou(xyxy, xyxy)
        np.fill_diagonal(iou, 0)
        overlaps.append(iou.max())
    assert max(overlaps) < 0.2, "they may touch"
    assert np.mean(overlaps) < 0.03, "but stay apart mostly"
    centres = np.stack([frame.boxes_cxcywhn[:, :2] for frame in truth.frames])
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=2)
    assert steps.max() < 0.03, "motion is smooth"
    assert np.ptp(centres, axis=0).max(axis=1).min() > 0.1, "each one gets about"


def test_boxes_hold_the_shapes_to_the_pixel(tmp_path: Path) -> None:
    path = tmp_path / "sample.mp4"
    truth = make_sample(path, frames=40)
    for frame in read_frames(path, wanted=[0, 20, 39]):
        # The fills are the only strong colours.
        bgr = frame.bgr.astype(int)
        vivid = np.ptp(bgr, axis=2) > 60
        inside = np.zeros(vivid.shape, bool)
        for x1, y1, x2, y2 in corners(truth.frames[frame.index].boxes_cxcywhn, truth.wh):
            left, top, right, bottom = round(x1), round(y1), round(x2), round(y2)
            shape = vivid[top:bottom, left:right]
            inside[top:bottom, left:right] = True
            rows, columns = shape.any(axis=1), shape.any(axis=0)
            # Only the dark rim lies between the fill and the box.
            assert rows.mean() > 0.75
            assert columns.mean() > 0.75
        assert (vivid & ~inside).sum() <= 0.002 * vivid.sum()


def test_labels_are_written_for_the_frames_asked_for(tmp_path: Path) -> None:
    truth = make_sample(tmp_path / "sample.mp4", frames=20, wh=(160, 120))
    paths = truth.write_labels(tmp_path / "labels", [3, 17])
    assert [path.name for path in paths] == ["frame_000003.txt", "frame_000017.txt"]
    assert sorted((tmp_path / "labels").iterdir()) == paths
    for path, index in zip(paths, (3, 17), strict=True):
        labels = read_yolo_labels(path, truth.spec)
        assert np.array_equal(labels.class_ids, truth.frames[index].class_ids)
        assert np.allclose(labels.boxes_cxcywhn, truth.frames[index].boxes_cxcywhn, atol=1e-6)
