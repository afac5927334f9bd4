"""What kills the process of one video's step is an outcome of that video."""

import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from components import child_process, video_process
from components.settings import Settings
from components.steps import read_reports
from components.video_outcome import VideoOutcome
from components.video_process import settle_apart
from tests.helpers.deadly import allocate, end_by, leave, own_process, refuse

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


@pytest.mark.parametrize("apart", [False, True], ids=["itself", "a program that it started"])
def test_who_needs_more_memory_than_there_is_is_ended_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
):
    limit_memory(tmp_path, monkeypatch, mebibytes=300)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as bystander:
        before = set(psutil.Process().children(recursive=True))
        failed = settle_apart(FRESH, "analyse", allocate, mebibytes=2000, apart=apart, stays=True)
        assert bystander.poll() is None
        assert set(psutil.Process().children(recursive=True)) == before
        bystander.communicate()
    assert failed.failed_in == "analyse"
    assert re.search(r"more memory than it has \(\d+ MiB\): raise ACTVERSE_ANAL", failed.error)
    [report] = read_reports(Settings().layout.step_reports("v"))
    assert report.error == failed.error


def test_who_needs_less_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    limit_memory(tmp_path, monkeypatch, mebibytes=600)
    done = settle_apart(FRESH, "analyse", allocate, mebibytes=100)
    assert done.facts["analyse"]["mebibytes"] == 100
    (tmp_path / "memory.max").write_text("max\n")
    assert not settle_apart(FRESH, "analyse", allocate, mebibytes=100).failed


def limit_memory(folder: Path, monkeypatch: pytest.MonkeyPatch, mebibytes: int) -> None:
    """Have a container's limit leave so much to the step, beside what this process has."""
    own = psutil.Process().memory_info()
    limit = int((own.rss - own.shared + mebibytes * 2**20) / video_process._MEMORY_SHARE)
    (folder / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(child_process, "_MEMORY_MAX", folder / "memory.max")


def test_a_process_that_leaves_without_a_word_is_an_outcome():
    assert "ended with 7" in settle_apart(FRESH, "fetch", leave, code=7).error
    assert "ended with 0" in settle_apart(FRESH, "fetch", leave, code=0).error


def test_a_failure_is_passed_on_and_no_process_is_begun():
    failed = settle_apart(FRESH, "fetch", refuse)
    assert (failed.failed_in, failed.error) == ("fetch", "It is cut off.")
    assert settle_apart(failed, "analyse", lambda step: pytest.fail("begun")) == failed
