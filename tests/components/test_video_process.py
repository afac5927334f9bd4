"""What kills the process of one video's step is an outcome of that video."""

import os
import re
import signal
from pathlib import Path

import pytest

from components.settings import Settings
from components.steps import read_reports
from components.video_outcome import VideoOutcome
from components.video_process import settle_apart
from tests.helpers.deadly import end_by, leave, own_process, refuse

FRESH = VideoOutcome(id="v", source="https://host/v.mp4")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path))


def test_it_is_done_in_another_process_that_prints_where_this_one_does(
    capfd: pytest.CaptureFixture[str],
):
    done = settle_apart(FRESH, "fetch", own_process, frames=3)
    assert not done.failed
    assert done.facts["fetch"]["frames"] == 3
    assert done.facts["fetch"]["pid"] != os.getpid()
    assert "printed by the work" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGSEGV, r"signal 11 \(Segmentation fault\), the video may be broken"),
        (signal.SIGKILL, r"signal 9 \(Killed\), for want of memory .* ACTVERSE_ANALYSIS_MEMORY"),
    ],
)
def test_a_signal_that_ends_it_is_an_outcome_and_in_the_report(
    number: signal.Signals, told: str, capfd: pytest.CaptureFixture[str]
):
    failed = settle_apart(FRESH, "fetch", end_by, number=number)
    assert failed.failed_in == "fetch"
    assert re.search(told, failed.error)
    [report] = read_reports(Settings().layout.step_reports("v"))
    assert (report.step, report.state, report.error) == ("fetch", "failed", failed.error)
    # Where it was.
    assert ("deadly.py" in capfd.readouterr().err) == (number == signal.SIGSEGV)


def test_a_process_that_leaves_without_a_word_is_an_outcome():
    assert "ended with 7" in settle_apart(FRESH, "fetch", leave, code=7).error
    assert "ended with 0" in settle_apart(FRESH, "fetch", leave, code=0).error


def test_a_failure_is_passed_on_and_no_process_is_begun():
    failed = settle_apart(FRESH, "fetch", refuse)
    assert (failed.failed_in, failed.error) == ("fetch", "It is cut off.")
    assert settle_apart(failed, "analyse", lambda step: pytest.fail("begun")) == failed
