"""Labels that come as a folder: looked through, named, checked and brought to the task."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from components.errors import BadLabels
from components.labeling.folder import import_labels, resolve_spec, scan_label_folder
from components.labels import LabelSpec

SPEC = LabelSpec(names=("disc", "square"))
DISC, SQUARE = "0 0.5 0.5 0.2 0.2\n", "1 0.25 0.25 0.1 0.1\n"


def _labels(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, text in texts.items():
        (folder / f"{stem}.txt").write_text(text)
    return folder


def _images(folder: Path, *stems: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        cv2.imwrite(str(folder / f"{stem}.jpg"), np.zeros((8, 8, 3), np.uint8))
    return folder


def test_labels_named_after_frames_ask_for_those_frames(tmp_path: Path):
    folder = _labels(tmp_path, frame_000004=DISC, frame_000010=SQUARE)
    assert scan_label_folder(folder).frames_needed() == ["frame_000004", "frame_000010"]


def test_labels_with_images_ask_for_no_frames(tmp_path: Path):
    folder = _images(_labels(tmp_path, a=DISC), "a", "b")
    assert scan_label_folder(folder).frames_needed() == []


@pytest.mark.parametrize("inner", [("images", "labels"), (".", ".")])
def test_labels_and_their_images_are_brought_whole(tmp_path: Path, inner: tuple[str, str]):
    source = tmp_path / "source"
    _images(source / inner[0], "a", "b")
    _labels(source / inner[1], a=DISC + SQUARE, b="")
    (source / "classes.txt").write_text("disc\nsquare\n")
    target = tmp_path / "target"
    counts = import_labels(scan_label_folder(source), target, tmp_path / "none", SPEC)
    assert counts == {"images": 2, "objects": 2, "disc": 1, "square": 1}
    assert sorted(p.name for p in target.glob("*.txt")) == ["a.txt", "b.txt"]
    assert sorted(p.name for p in (target / "images").iterdir()) == ["a.jpg", "b.jpg"]
    assert (target / "a.txt").read_text() == DISC + SQUARE


def test_one_bad_label_brings_nothing(tmp_path: Path):
    folder = _labels(tmp_path / "labels", frame_000000=DISC, frame_000001="9 0.5 0.5 0.1 0.1\n")
    frames = _images(tmp_path / "frames", "frame_000000", "frame_000001")
    with pytest.raises(BadLabels, match="class 9 is unknown"):
        import_labels(scan_label_folder(folder), tmp_path / "target", frames, SPEC)
    assert not (tmp_path / "target").exists()


def test_labels_without_their_image_are_named_and_bring_nothing(tmp_path: Path):
    folder = _images(_labels(tmp_path / "labels", a=DISC, b=DISC), "a")
    with pytest.raises(BadLabels, match=r"1 of 2 label files belong to no image or frame \(b\)"):
        import_labels(scan_label_folder(folder), tmp_path / "target", tmp_path / "none", SPEC)
    assert not (tmp_path / "target").exists()


def test_class_names_come_from_the_caller_then_the_folder(tmp_path: Path):
    folder = _labels(tmp_path, a=DISC)
    with pytest.raises(BadLabels, match="--names"):
        resolve_spec(scan_label_folder(folder), task="detect")
    (folder / "classes.txt").write_text("mouse\n\n")
    assert resolve_spec(scan_label_folder(folder), task="detect").names == ("mouse",)
    (folder / "data.yaml").write_text("names: {0: rat, 1: cat}\n")
    scanned = scan_label_folder(folder)
    assert resolve_spec(scanned, task="detect").names == ("rat", "cat")
    assert resolve_spec(scanned, task="detect", names=("dog",)).names == ("dog",)


def test_key_points_come_from_data_yaml(tmp_path: Path):
    folder = _labels(tmp_path, a=DISC)
    (folder / "data.yaml").write_text("names: [mouse]\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\n")
    spec = resolve_spec(scan_label_folder(folder), task="pose")
    assert spec.keypoints == ("point_0", "point_1")
    assert spec.flip_idx == (1, 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("names: [a\n", "cannot be read"),
        ("names: [a, a]\n", "repeat"),
        ("- 1\n", "cannot be read"),
    ],
)
def test_a_data_yaml_that_cannot_be_used_is_named(tmp_path: Path, text: str, sentence: str):
    folder = _labels(tmp_path, a=DISC)
    (folder / "data.yaml").write_text(text)
    with pytest.raises(BadLabels, match=sentence):
        resolve_spec(scan_label_folder(folder), task="detect")
