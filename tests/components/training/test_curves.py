"""A training's page, its figures and its summary."""

from pathlib import Path

import pytest

from components.errors import BadInput, NotFound
from components.labels import LabelSpec
from components.training.curves import curves_page, read_history
from components.training.result import TrainingResult
from components.training.settings import TrainingSettings
from components.training.summary import training_markdown, training_metrics
from tests.helpers.pages import NASTY, read_page

RUN = "https://mlflow.example/#/experiments/1/runs/abc"
POSE = LabelSpec(task="pose", names=("fish",), keypoints=("head", "tail"))
HEAD = (
    "epoch,time,train/box_loss,train/pose_loss,metrics/precision(B),metrics/recall(B),"
    "metrics/mAP50(B),metrics/mAP50-95(B),metrics/mAP50(P),metrics/mAP50-95(P),val/box_loss,"
    "val/pose_loss,lr/pg0\n"
)


def result(spec: LabelSpec = POSE, **changed: object) -> TrainingResult:
    values = {
        "run_id": "abc",
        "spec": spec,
        "settings": TrainingSettings(epochs=4),
        "imgsz": 320,
        "dataset_digest": "d",
        "epochs": 3,
        "best_epoch": 2,
        "metrics": {"mAP50": 0.9, "mAP50-95": 0.5, "pose_mAP50-95": 0.4},
        "seconds": 3725.0,
    }
    return TrainingResult.model_validate({**values, **changed})


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    (tmp_path / "plots").mkdir()
    rows = [f"{e},{e},{3 / e},nan,0.5,0.6,{e / 10},0.1,0.2,0.3,1e400,2,0.001\n" for e in (1, 2, 3)]
    (tmp_path / "plots" / "results.csv").write_text(HEAD + "".join(rows))
    return tmp_path


def test_the_history_has_every_figure_by_its_clean_name(trained: Path):
    history = read_history(trained)
    assert history.epochs == (1, 2, 3)
    assert history.series["metrics/mAP50"] == (0.1, 0.2, 0.3)
    assert history.series["metrics/pose_mAP50-95"] == (0.3, 0.3, 0.3)
    assert {"train/box_loss", "val/box_loss", "lr/pg0"} <= history.series.keys()
    assert "time" not in history.series


def test_an_epoch_that_was_noted_twice_counts_once(trained: Path):
    table = trained / "plots" / "results.csv"
    table.write_text(table.read_text() + "3,9,7,7,0,0,0.77,0,0,0,0,0,0\n")
    history = read_history(trained)
    assert history.epochs == (1, 2, 3)
    assert history.series["metrics/mAP50"] == (0.1, 0.2, 0.77)


@pytest.mark.parametrize("text", ["epoch,train/x\none,2\n", "epoch,train/x\n1\n", "a,b\n1,2\n"])
def test_a_broken_table_is_named(trained: Path, text: str):
    (trained / "plots" / "results.csv").write_text(text)
    with pytest.raises(BadInput, match=r"results\.csv"):
        read_history(trained)
    (trained / "plots" / "results.csv").unlink()
    with pytest.raises(NotFound):
        read_history(trained)


def test_the_page_draws_boxes_key_points_and_losses_with_the_best_epoch(trained: Path):
    page = curves_page(result(), read_history(trained), run_url=RUN)
    tags, text = read_page(page, RUN)
    drawings = [a["aria-label"] for tag, a in tags if tag == "svg"]
    assert [(one or "").split(" by epoch")[0] for one in drawings] == [
        "Boxes: mAP",
        "Boxes: precision and recall",
        "Key points: mAP",
        "box loss",
        "pose loss",
    ]
    assert text.count("best: 2") == 5
    assert "3 of 4" in text
    assert "1 h 2 min" in text
    assert RUN in text, "where a click opens nothing, the address is there to be copied"


def test_a_page_of_no_epoch_says_so(trained: Path):
    (trained / "plots" / "results.csv").write_text(HEAD)
    _, text = read_page(curves_page(result(epochs=0, best_epoch=0), read_history(trained)))
    assert "No epoch left a figure." in text


def test_names_of_users_stay_text(trained: Path):
    spec = LabelSpec(names=(NASTY,))
    told = result(spec, start=NASTY, start_reason=NASTY)
    _, text = read_page(curves_page(told, read_history(trained)))
    assert text.count(NASTY) == 4
    assert "<script" not in training_markdown(told, run_url=RUN).replace("\\<script", "")


def test_the_figures_are_finite_and_the_summary_leads_to_the_run():
    told = result(metrics={"mAP50": 0.9, "mAP50-95": float("inf"), "recall": float("nan")})
    assert training_metrics(told) == {
        "mAP50": 0.9,
        "epochs": 3.0,
        "best_epoch": 2.0,
        "seconds": 3725.0,
    }
    page = training_markdown(result(), run_url=RUN)
    assert f"[The run in MLflow]({RUN})" in page
    assert "| mAP50\\-95 | 0.5000 |" in page or "| mAP50-95 | 0.5000 |" in page
