"""Pre-annotation of frames, with a model of this process and through a real Triton."""

import json
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from components.analysis.preannotate import preannotate
from components.errors import ActverseError, BadInput, BadLabels, NotFound
from components.onnx_model import OnnxModel
from components.serving.client import TritonModel
from components.serving.control import TritonControl
from components.serving.repository import ModelRepository
from tests.helpers.squares import COLOURS_BGR, ColourModel
from tests.helpers.tiny_onnx import draw_frame, write_tiny_model

CHOICES = {"confidence": 0.25, "iou": 0.7}


def write_image(path: Path, wh: tuple[int, int], red: tuple[int, int, int, int] | None) -> None:
    """A grey image with a red rectangle of these corners."""
    image = np.full((wh[1], wh[0], 3), 120, np.uint8)
    if red:
        # Its last row and column are drawn too.
        cv2.rectangle(image, red[:2], (red[2] - 1, red[3] - 1), COLOURS_BGR["red"], -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def numbers(path: Path) -> list[list[float]]:
    return [[float(field) for field in line.split()] for line in path.read_text().splitlines()]


def test_findings_stand_relative_to_each_image(model: ColourModel, tmp_path: Path):
    frames, target = tmp_path / "frames", tmp_path / "target"
    # Of several sizes, the second group more than one batch long.
    write_image(frames / "a.png", (128, 128), (32, 64, 64, 128))
    for number in range(9):
        write_image(frames / f"b{number}.png", (128, 96), (16 + 4 * number, 24, 64, 72))
    write_image(frames / "c.png", (128, 96), None)
    told = []
    counts = preannotate(
        frames,
        target,
        model,
        progress=lambda done, total: told.append((done, total)),
        **CHOICES,
    )
    assert counts == {"images": 11, "objects": 10}
    (found,) = numbers(target / "a.txt")
    expected = [0, 0.375, 0.75, 0.25, 0.5, 0.25, 0.5, 0.9, 0.5, 1, 0.2, 0.95]
    assert found == pytest.approx(expected, abs=1e-5)
    for number in range(9):
        (found,) = numbers(target / f"b{number}.txt")
        left = 16 + 4 * number
        assert found[1:5] == pytest.approx(
            [(left + 64) / 256, 0.5, (64 - left) / 128, 0.5], abs=1e-5
        )
    assert (target / "c.txt").read_text() == ""
    assert (target / "classes.txt").read_text() == "red\ngreen\n"
    about = json.loads((target / "predictions.json").read_text())
    assert about["keypoints"] == ["head", "tail"]
    assert len(list(target.iterdir())) == 13
    assert told == [(1, 11), (9, 11), (11, 11)]
    assert model.batch_sizes == [1, 8, 2]


def test_without_key_points_a_line_has_six_numbers(tmp_path: Path):
    write_image(tmp_path / "frames" / "a.png", (128, 96), (16, 24, 64, 72))
    preannotate(tmp_path / "frames", tmp_path / "target", ColourModel("detect"), **CHOICES)
    (found,) = numbers(tmp_path / "target" / "a.txt")
    assert found == pytest.approx([0, 40 / 128, 0.5, 48 / 128, 0.5, 0.95], abs=1e-5)


def test_the_lines_are_in_the_tasks_own_classes_and_key_points(model: ColourModel, tmp_path: Path):
    frames, target = tmp_path / "frames", tmp_path / "target"
    write_image(frames / "a.png", (128, 96), (16, 24, 64, 72))
    image = cv2.imread(str(frames / "a.png"))
    cv2.rectangle(image, (80, 20), (110, 60), COLOURS_BGR["green"], -1)
    cv2.imwrite(str(frames / "a.png"), image)
    facts = preannotate(
        frames,
        target,
        model,
        name="global",
        version=7,
        task="pose",
        names=["Green", "blue", "red"],
        keypoints=["tail", "ear", "head"],
        **CHOICES,
    )
    assert facts == {"images": 1, "objects": 1, "left_out": {"green": 1}}
    (found,) = numbers(target / "a.txt")
    # The tail is the lower right corner, the head the upper left one; nobody knows of an ear.
    points = [0.5, 0.75, 0.2, 0, 0, 0, 0.125, 0.25, 0.9]
    assert found == pytest.approx([2, 40 / 128, 0.5, 48 / 128, 0.5, *points, 0.95], abs=1e-5)
    assert (target / "classes.txt").read_text() == "Green\nblue\nred\n"
    assert json.loads((target / "predictions.json").read_text()) == {
        "model": "global",
        "version": 7,
        "confidence": 0.25,
        "keypoints": ["tail", "ear", "head"],
    }


@pytest.mark.parametrize(("of_model", "of_task"), [("pose", "detect"), ("detect", "pose")])
def test_where_one_side_knows_no_key_points_there_are_boxes(
    tmp_path: Path, of_model: str, of_task: Literal["detect", "pose"]
):
    frames, target = tmp_path / "frames", tmp_path / "target"
    write_image(frames / "a.png", (128, 96), (16, 24, 64, 72))
    asked = {"keypoints": ["head", "tail"]} if of_task == "pose" else {}
    preannotate(frames, target, ColourModel(of_model), task=of_task, **asked, **CHOICES)
    (found,) = numbers(target / "a.txt")
    assert found == pytest.approx([0, 40 / 128, 0.5, 48 / 128, 0.5, 0.95], abs=1e-5)
    assert json.loads((target / "predictions.json").read_text())["keypoints"] == []


def test_served_and_local_model_find_the_same(triton, tmp_path: Path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for seed in range(10):
        cv2.imwrite(str(frames / f"f{seed}.png"), draw_frame((192, 144), seed=seed)[0])
    repository = ModelRepository(triton.settings)
    write_tiny_model(repository.onnx("preannotating", 1), task="pose")
    repository.write_config("preannotating", {1})
    TritonControl(triton.url).load("preannotating")
    with TritonModel(triton.url, "preannotating", 1, shared_memory=True) as served:
        counts = preannotate(frames, tmp_path / "served", served, **CHOICES)
    local = OnnxModel(repository.onnx("preannotating", 1))
    assert preannotate(frames, tmp_path / "local", local, **CHOICES) == counts
    assert counts["objects"] >= 15
    for path in sorted((tmp_path / "local").iterdir()):
        assert (tmp_path / "served" / path.name).read_text() == path.read_text()


@pytest.mark.parametrize(
    ("content", "error", "sentence"),
    [(None, BadLabels, "not there"), ([], BadInput, "no image"), (["b.png"], BadInput, r"b\.png")],
)
def test_frames_that_cannot_be_used_leave_the_older_result(
    model: ColourModel,
    tmp_path: Path,
    content: list[str] | None,
    error: type[ActverseError],
    sentence: str,
):
    frames, target = tmp_path / "frames", tmp_path / "target"
    target.mkdir()
    (target / "older.txt").write_text("0")
    if content is not None:
        frames.mkdir()
    for name in content or []:
        write_image(frames / "a.png", (128, 96), None)
        (frames / name).write_text("no image")
    with pytest.raises(error, match=sentence):
        preannotate(frames, target, model, **CHOICES)
    assert [path.name for path in tmp_path.iterdir() if path != frames] == ["target"]
    assert [path.name for path in target.iterdir()] == ["older.txt"]


def test_a_model_that_is_not_served_is_named(triton, tmp_path: Path):
    write_image(tmp_path / "frames" / "a.png", (128, 96), None)
    with (
        TritonModel(triton.url, "nobody", 1, shared_memory=False) as model,
        pytest.raises(NotFound, match="nobody"),
    ):
        preannotate(tmp_path / "frames", tmp_path / "target", model, **CHOICES)
    assert not (tmp_path / "target").exists()
