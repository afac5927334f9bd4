"""Held-out frames with what is labelled and found in them, and their page."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.dataset.held_out import held_out_images
from components.detections import Detections
from components.evaluation.confusion import ConfusionMatrix
from components.evaluation.held_out import SAMPLES, HeldOutLook, Sample, look_at_held_out
from components.evaluation.samples import MOST_BYTES, samples_page
from components.labels import LabelSpec
from components.onnx_model import OnnxModel
from tests.helpers.blobs import make_blind
from tests.helpers.pages import NASTY, read_page
from tests.helpers.tiny_onnx import SPECS, write_tiny_model

RUN = "https://mlflow.example/#/experiments/1/runs/abc"


def look(model: Path, dataset: Path, spec: LabelSpec) -> HeldOutLook:
    served = OnnxModel(model, threads=1)
    return look_at_held_out(
        lambda frame: served.detect([frame], confidence=0.01, iou=0.7)[0], dataset, spec
    )


@pytest.mark.parametrize("task", ["detect", "pose"])
def test_a_good_model_is_shown_beside_the_labels(task: str, blobs: dict[str, Path], tmp_path: Path):
    write_tiny_model(tmp_path / "model.onnx", task=task)
    seen = look(tmp_path / "model.onnx", blobs[task], SPECS[task])
    assert (seen.frames, seen.held_out, len(seen.samples)) == (6, 6, 6)
    counts = seen.confusion.counts
    assert np.trace(counts[:-1, :-1]) > 0
    tags, text = read_page(samples_page(seen, SPECS[task].names, run_url=RUN), RUN)
    assert sum(tag == "image" for tag, _ in tags) == 6
    assert sum(tag == "use" for tag, _ in tags) == 6, "a picture stands there once, shown twice"
    assert "Nothing reaches" not in text
    dots = [a for tag, a in tags if tag == "path" and a.get("stroke-linecap") == "round"]
    assert bool(dots) == (task == "pose")


def test_frames_in_which_the_model_errs_are_among_those_shown(
    blobs: dict[str, Path], tmp_path: Path
):
    write_tiny_model(tmp_path / "model.onnx", task="detect")
    make_blind(tmp_path / "model.onnx", 0)
    seen = look(tmp_path / "model.onnx", blobs["detect"], SPECS["detect"])
    background = len(SPECS["detect"].names)
    assert seen.confusion.counts[0, background] == seen.confusion.counts[0].sum() > 0
    assert sum(int(one.missed.sum()) for one in seen.samples) == seen.confusion.counts[0].sum()
    _, text = read_page(samples_page(seen, SPECS["detect"].names))
    assert "missed" in text


def test_what_a_weak_model_suspects_is_shown_and_said(blobs: dict[str, Path]):
    spec = SPECS["detect"]

    def unsure(frame: np.ndarray) -> Detections:
        box = np.asarray([[10, 10, 40, 40]], np.float32)
        return Detections(
            box, np.asarray([0.07], np.float32), np.zeros(1, np.int64), np.zeros((1, 0, 3))
        )

    seen = look_at_held_out(unsure, blobs["detect"], spec)
    assert seen.confidence == 0.05
    assert all(len(one.found) == 1 for one in seen.samples)
    assert not seen.confusion.counts[:, :-1].any(), "what is unsure does not count"
    _, text = read_page(samples_page(seen, spec.names))
    assert "Nothing reaches a confidence of 0.25" in text


def test_a_model_that_finds_nothing_has_a_page_too(blobs: dict[str, Path]):
    spec = SPECS["pose"]
    empty = Detections(
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int64),
        np.zeros((0, len(spec.keypoints), 3), np.float32),
    )
    seen = look_at_held_out(lambda frame: empty, blobs["pose"], spec)
    assert seen.confusion.counts[:-1, -1].sum() == seen.confusion.counts.sum() > 0
    assert "The model finds nothing at all" in read_page(samples_page(seen, spec.names))[1]


def _huge(number: int, objects: int, points: int) -> Sample:
    """Noise, which is what JPEG can make least small."""
    rng = np.random.default_rng(number)
    picture = rng.integers(0, 256, (560, 560, 3), np.uint8)
    found = Detections(
        rng.uniform(0, 560, (objects, 4)).astype(np.float32),
        np.full(objects, 0.9, np.float32),
        np.zeros(objects, np.int64),
        rng.uniform(0, 560, (objects, points, 3)).astype(np.float32),
    )
    alone = np.ones(objects, bool)
    return Sample(f"{NASTY}{number}.jpg", picture, found, found, alone, alone)


@pytest.mark.parametrize(("count", "objects", "points"), [(12, 300, 20), (12, 300, 300)])
def test_the_page_has_a_bounded_size(count: int, objects: int, points: int):
    samples = tuple(_huge(number, objects, points) for number in range(count))
    seen = HeldOutLook(count, count, ConfusionMatrix((NASTY,)), 0.25, samples)
    page = samples_page(seen, [NASTY], run_url=RUN)
    assert len(page.encode()) <= MOST_BYTES
    tags, text = read_page(page, RUN)
    shown = sum(tag == "image" for tag, _ in tags)
    assert shown == count if points == 20 else 0 < shown < count
    assert NASTY in text
    assert re.search(r"labelled, 260 more", text)


def test_many_huge_frames_are_shown_small_and_few(blobs: dict[str, Path], tmp_path: Path):
    dataset = tmp_path / "dataset"
    for part in ("images", "labels"):
        (dataset / part / "val").mkdir(parents=True)
    for number in range(40):
        large = np.full((1200, 1600, 3), number, np.uint8)
        cv2.imwrite(str(dataset / "images" / "val" / f"frame_{number:06d}.png"), large)
        label = "0 0.5 0.5 0.1 0.1\n" if number % 2 else ""
        (dataset / "labels" / "val" / f"frame_{number:06d}.txt").write_text(label)
    assert len(held_out_images(dataset)) == 40
    spec = LabelSpec(names=("a",))
    middle = Detections(
        np.asarray([[720, 540, 880, 660]], np.float32),
        np.asarray([0.9], np.float32),
        np.zeros(1, np.int64),
        np.zeros((1, 0, 3), np.float32),
    )
    seen = look_at_held_out(lambda frame: middle, dataset, spec)
    assert seen.confusion.rows() == [[20, 0], [20, 0]]
    assert len(seen.samples) == SAMPLES
    assert {max(one.picture_bgr.shape) for one in seen.samples} == {560}
    names = [one.name for one in seen.samples]
    assert names == sorted(names)
    (labelled, *_) = [one for one in seen.samples if len(one.truth)]
    assert labelled.truth.xyxy == pytest.approx(labelled.found.xyxy, abs=0.1)
    assert labelled.found.xyxy[0] == pytest.approx([252, 189, 308, 231], abs=0.1)
