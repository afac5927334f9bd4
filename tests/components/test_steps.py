"""A step's report: what a watcher can read while it runs and after."""

import json
from pathlib import Path

import pytest

from components.errors import BadVideo
from components.files import whole_file
from components.steps import read_reports, reported


def test_a_running_step_tells_how_far_it_is(tmp_path: Path):
    with reported("train", tmp_path) as progress:
        progress(1, 4, epoch=1)
        (report,) = read_reports(tmp_path)
        assert (report.state, report.percent, report.facts) == ("running", 25.0, {"epoch": 1})
    (report,) = read_reports(tmp_path)
    assert (report.state, report.percent, report.error) == ("succeeded", 100.0, "")
    assert report.ended >= report.started > 0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (BadVideo("The video is empty."), "The video is empty."),
        (ZeroDivisionError("by zero"), "The step train broke: ZeroDivisionError: by zero"),
    ],
)
def test_a_failed_step_keeps_its_sentence(tmp_path: Path, error: Exception, sentence: str):
    with pytest.raises(type(error)), reported("train", tmp_path):
        raise error
    (report,) = read_reports(tmp_path)
    assert (report.state, report.error) == ("failed", sentence)


def test_reports_are_given_in_the_order_of_their_steps(tmp_path: Path):
    for step in ("train", "export", "deploy"):
        with reported(step, tmp_path):
            pass
    assert [report.step for report in read_reports(tmp_path)] == ["train", "export", "deploy"]


def test_a_report_that_is_being_written_is_not_read(tmp_path: Path):
    with reported("train", tmp_path):
        pass
    with whole_file(tmp_path / "train.json") as beside:
        beside.touch()
        assert [report.step for report in read_reports(tmp_path)] == ["train"]
        beside.write_text(json.dumps({"step": "train"}))
        assert [report.state for report in read_reports(tmp_path)] == ["succeeded"]


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b'{"step": 1}',
        b'{"state": "failed"}',
        b'{"step": "train", "started": "soon"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_report_that_is_none_is_left_out_and_logged(
    text: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with reported("export", tmp_path):
        pass
    (tmp_path / "train.json").write_bytes(text)
    assert [report.step for report in read_reports(tmp_path)] == ["export"]
    assert "train.json cannot be read" in caplog.text
