"""COCO's figures of a served model on held-out frames."""

import shutil
from pathlib import Path
from typing import Literal

import onnx
import pytest

from components.errors import BadInput, NotFound
from components.evaluation.evaluate import evaluate
from tests.helpers.blobs import WH, make_blind
from tests.helpers.tiny_onnx import SPECS, write_tiny_model

Task = Literal["detect", "pose"]


def _tiny(folder: Path, task: Task, *blind: int) -> Path:
    path = folder / f"{task}{len(blind)}.onnx"
    write_tiny_model(path, task=task)
    make_blind(path, *blind)
    return path


@pytest.mark.parametrize("task", ["detect", "pose"])
def test_a_model_that_finds_half_scores_half(
    task: Task, blobs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[float, float]] = []
    whole = evaluate(
        _tiny(tmp_path, task), blobs[task], progress=lambda n, of, **_: calls.append((n, of))
    )
    assert (whole.labels, whole.frames, whole.objects) == (SPECS[task], 6, 12)
    assert calls == [(n, 6) for n in range(1, 7)]
    names = {"mAP50", "mAP50-95"}
    assert set(whole.metrics) == names | ({f"pose_{n}" for n in names} if task == "pose" else set())
    assert whole.metrics["mAP50"] == 1
    assert 0 < whole.metrics["mAP50-95"] < 1
    half = evaluate(_tiny(tmp_path, task, 1), blobs[task])
    for name, value in half.metrics.items():
        if name.endswith("mAP50"):
            assert value == pytest.approx(whole.metrics[name] / 2), name
    assert half.score is not None
    assert whole.score is not None
    assert half.score < whole.score
    none = evaluate(_tiny(tmp_path, task), blobs[task], confidence=0.9999)
    assert none.metrics == dict.fromkeys(whole.metrics, 0)
    assert none.score == 0
    assert capsys.readouterr().out == ""


def test_the_score_of_pose_is_the_mean_of_boxes_and_key_points(
    blobs: dict[str, Path], tmp_path: Path
) -> None:
    found = evaluate(_tiny(tmp_path, "pose"), blobs["pose"])
    assert found.score == (found.metrics["mAP50-95"] + found.metrics["pose_mAP50-95"]) / 2


def test_objects_without_key_points_count_as_boxes_only(
    blobs: dict[str, Path], tmp_path: Path
) -> None:
    model = _tiny(tmp_path, "pose")
    whole = evaluate(model, blobs["pose"])
    dataset = tmp_path / "dataset"
    shutil.copytree(blobs["pose"], dataset)
    labels = sorted((dataset / "labels" / "val").iterdir())

    def forget(path: Path) -> None:
        boxes = [line.split()[:5] for line in path.read_text().splitlines()]
        path.write_text("".join(" ".join([*box, *"000000"]) + "\n" for box in boxes))

    forget(labels[0])
    assert evaluate(model, dataset).metrics == whole.metrics
    for path in labels:
        forget(path)
    boxes = {name: value for name, value in whole.metrics.items() if "pose" not in name}
    assert evaluate(model, dataset).metrics == boxes


@pytest.mark.parametrize(("away", "found"), [(10, True), (24, False)])
def test_key_points_may_lie_as_far_away_as_ultralytics_says(
    away: int, found: bool, blobs: dict[str, Path], tmp_path: Path
) -> None:
    # OKS is exp(-d**2 / (2 * 0.53 * box)) for two points; the boxes are 20 to 26 pixels wide.
    # At 10 pixels that is .79 to .87, at 24 pixels .26 to .45.
    dataset = tmp_path / "dataset"
    shutil.copytree(blobs["pose"], dataset)
    for path in (dataset / "labels" / "val").iterdir():
        lines = []
        for line in path.read_text().splitlines():
            values = [float(value) for value in line.split()]
            for y in (6, 9):
                values[y] += (-1 if values[y] > 0.5 else 1) * away / WH[1]
            lines.append(" ".join([str(int(values[0])), *map(str, values[1:])]) + "\n")
        path.write_text("".join(lines))
    metrics = evaluate(_tiny(tmp_path, "pose"), dataset).metrics
    assert metrics["mAP50"] == 1
    if found:
        assert metrics["pose_mAP50"] == 1
        assert 0.5 < metrics["pose_mAP50-95"] < 0.8
    else:
        assert metrics["pose_mAP50"] < 0.1


def test_a_class_that_does_not_occur_counts_for_nothing(
    blobs: dict[str, Path], tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(blobs["detect"], dataset)
    for path in (dataset / "labels" / "val").iterdir():
        red = [line for line in path.read_text().splitlines(keepends=True) if line[0] == "0"]
        path.write_text("".join(red))
    assert evaluate(_tiny(tmp_path, "detect"), dataset).metrics["mAP50"] == 1


def test_where_there_is_nothing_to_measure_there_are_no_figures(
    blobs: dict[str, Path], tmp_path: Path
) -> None:
    other = evaluate(_tiny(tmp_path, "pose"), blobs["detect"])
    assert (other.labels, other.metrics, other.score) == (SPECS["pose"], {}, None)
    dataset = tmp_path / "dataset"
    shutil.copytree(blobs["detect"], dataset)
    for path in (dataset / "labels" / "val").iterdir():
        path.write_text("")
    empty = evaluate(_tiny(tmp_path, "detect"), dataset)
    assert (empty.objects, empty.metrics, empty.score) == (0, {}, None)


def test_what_cannot_be_used_is_named(blobs: dict[str, Path], tmp_path: Path) -> None:
    model = _tiny(tmp_path, "detect")
    with pytest.raises(NotFound, match="no ONNX file"):
        evaluate(tmp_path / "gone.onnx", blobs["detect"])
    with pytest.raises(NotFound, match="No dataset"):
        evaluate(model, tmp_path)
    dataset = tmp_path / "dataset"
    shutil.copytree(blobs["detect"], dataset)
    frame = min((dataset / "images" / "val").iterdir())
    frame.write_bytes(b"no picture")
    with pytest.raises(BadInput, match=f"{frame.name} cannot be read"):
        evaluate(model, dataset)

    narrow = onnx.load(model)
    narrow.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32
    onnx.save(narrow, tmp_path / "narrow.onnx")
    with pytest.raises(BadInput, match=r"narrow\.onnx cannot be run on frame_"):
        evaluate(tmp_path / "narrow.onnx", blobs["detect"])
