"""The parity report as a page, of a real export and of ones that miss."""

import math

import pytest

from components.export.export import ExportResult
from components.export.parity_page import parity_page
from components.export.parity_report import ParityReport
from tests.helpers.pages import NASTY, read_page

RUN = "https://mlflow.example/#/experiments/1/runs/abc"


@pytest.mark.parametrize("task", ["detect", "pose"])
def test_a_real_export_passes(task: str, exported: dict[str, ExportResult]):
    report = exported[task].report
    tags, text = read_page(parity_page(report, run_url=RUN), RUN)
    assert "Passed. " in text
    assert "too much" not in text
    drawings = [a["aria-label"] or "" for tag, a in tags if tag == "svg"]
    assert [one.split(":")[0] for one in drawings] == [
        "Box corner, px",
        "Score",
        *(["Key point, px"] if task == "pose" else []),
    ]
    assert all(one.frame in text for one in report.per_frame)


def failed(report: ParityReport, error: float) -> ParityReport:
    first, *others = report.per_frame
    return report.model_copy(
        update={
            "passed": False,
            "fault": f"{NASTY}: a box corner lies too far apart",
            "note": NASTY,
            "box_error": error,
            "per_frame": (first.model_copy(update={"frame": NASTY, "box_error": error}), *others),
        }
    )


@pytest.mark.parametrize("error", [3.0, math.inf, math.nan])
def test_a_miss_is_said_and_marked(error: float, exported: dict[str, ExportResult]):
    tags, text = read_page(parity_page(failed(exported["detect"].report, error)))
    assert f"Failed. {NASTY}: a box corner lies too far apart." in text
    assert text.count("too much") == 1
    bars = [a.get("fill") for tag, a in tags if tag == "rect"]
    assert bars.count("var(--bad)") == 1
