"""A step's report: what a watcher can read while it runs and after."""

import json
import threading
from pathlib import Path

import pytest

from components.errors import BadVideo, StorageFull
from components.files import whole_file
from components.steps import read_reports, reported
from tests.helpers.servers import wait_until


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


def test_a_silent_step_tells_that_it_is_alive(tmp_path: Path):
    def seen() -> float:
        (report,) = read_reports(tmp_path)
        return report.seen

    stored: list[Path] = []
    with reported("train", tmp_path, stored.append, beat_seconds=0.01):
        begun = seen()
        wait_until(lambda: seen() > begun, what="a sign of life")
    written = len(stored)
    assert written > 2
    (report,) = read_reports(tmp_path)
    assert (report.state, report.seen) == ("succeeded", pytest.approx(report.ended, abs=1))
    assert "train" not in {thread.name for thread in threading.enumerate()}
    assert len(stored) == written


def test_a_sign_of_life_that_cannot_be_written_does_not_end_the_step_or_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    told: list[Path] = []

    def full(path: Path) -> None:
        told.append(path)
        if len(told) == 2:
            raise StorageFull("The disk is full: free some space.")

    with reported("train", tmp_path, full, beat_seconds=0.01):
        wait_until(lambda: len(told) > 3, what="a further sign of life")
    assert "The disk is full" in caplog.text


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
