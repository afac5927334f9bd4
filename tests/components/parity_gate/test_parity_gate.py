"""The gate between export and registration, and its face as a pipeline component."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.errors import BadInput, NotFound, ParityFailed
from components.export.parity_report import FrameParity, ParityReport
from components.parity_gate.component import parity
from components.parity_gate.parity_gate import require_parity
from components.settings import Settings
from components.steps import read_reports

FIGURES: dict[str, Any] = {
    "matched": 7,
    "unmatched": 0,
    "box_error": 0.01,
    "score_error": 0.001,
    "keypoint_error": 0.0,
}
MISS = {"passed": False, "fault": "frame_3.png: a box corner lies 3 px apart, 0.5 px are allowed"}


def write_report(export: Path, **changed: Any) -> ParityReport:
    """An export's folder as far as the gate looks at it."""
    report = ParityReport(
        **{
            **FIGURES,
            "passed": True,
            "basis": "findings",
            "fault": "",
            "note": "",
            "confidence": 0.25,
            "iou": 0.7,
            "frames": 1,
            "tolerance_box_px": 0.5,
            "tolerance_score": 0.01,
            "tolerance_keypoint_px": 0.5,
            "batch_unmatched": 0,
            "batch_box_error": 0.0,
            "batch_score_error": 0.0,
            "batch_keypoint_error": 0.0,
            "per_frame": (FrameParity(frame="frame_3.png", width=64, height=48, **FIGURES),),
            **changed,
        }
    )
    export.mkdir()
    (export / "model.onnx").write_bytes(b"onnx")
    (export / "parity.json").write_text(report.model_dump_json())
    return report


def test_an_export_that_passed_goes_on(tmp_path: Path):
    report = write_report(tmp_path / "export")
    assert require_parity(tmp_path / "export") == report


@pytest.mark.parametrize("error", [3.0, math.inf, math.nan])
def test_a_miss_goes_no_further_whatever_its_figure(error: float, tmp_path: Path):
    write_report(tmp_path / "export", **MISS, box_error=error)
    with pytest.raises(ParityFailed, match=r"frame_3\.png: a box corner lies 3 px") as caught:
        require_parity(tmp_path / "export")
    found = caught.value.report.box_error
    assert found == error or (math.isnan(found) and math.isnan(error))


@pytest.mark.parametrize("missing", ["model.onnx", "parity.json"])
def test_what_was_never_proven_goes_no_further(missing: str, tmp_path: Path):
    write_report(tmp_path / "export")
    (tmp_path / "export" / missing).unlink()
    with pytest.raises(NotFound, match=f"has no {missing}: export the model again"):
        require_parity(tmp_path / "export")


@pytest.mark.parametrize("content", ["", "{}", '{"passed": true}', "[1]"])
def test_a_report_that_cannot_be_read_is_no_proof(content: str, tmp_path: Path):
    write_report(tmp_path / "export")
    (tmp_path / "export" / "parity.json").write_text(content)
    with pytest.raises(BadInput, match=r"parity\.json is no parity report"):
        require_parity(tmp_path / "export")


def passes(export: Path, home: Path) -> tuple[dsl.Metrics, dict[str, Any]]:
    """Run the component's function; its metrics and its step report."""
    metrics = dsl.Metrics(name="metrics", uri=str(home / "metrics"))
    try:
        parity.python_func(
            task_id="t1", onnx=dsl.Model(name="onnx", uri=str(export)), metrics=metrics
        )
    finally:
        (report,) = read_reports(Settings().layout.step_reports("t1"))
    return metrics, report.__dict__


def test_the_component_tells_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path))
    write_report(tmp_path / "export", note="Few frames.")
    metrics, report = passes(tmp_path / "export", tmp_path)
    assert metrics.metadata["matched"] == 7
    assert all(isinstance(value, int | float) for value in metrics.metadata.values())
    json.dumps(metrics.metadata, allow_nan=False)
    assert (report["state"], report["percent"]) == ("succeeded", 100.0)
    assert report["facts"]["warning"] == "Few frames."


def test_the_component_fails_in_the_gates_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path))
    write_report(tmp_path / "export", **MISS)
    with pytest.raises(ParityFailed):
        passes(tmp_path / "export", tmp_path)
    (report,) = read_reports(Settings().layout.step_reports("t1"))
    assert report.state == "failed"
    assert MISS["fault"] in report.error
