"""How the failure of one video travels on."""

from pathlib import Path
from typing import Any

import pytest

from components.errors import BadInput, BadVideo, Refused, Unavailable
from components.pipeline_step import PipelineStep
from components.settings import Settings
from components.steps import read_reports
from components.video_outcome import VideoOutcome, read_outcome, settle

FRESH = VideoOutcome(id="v", source="https://host/v.mp4")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path))
    monkeypatch.setenv("ACTVERSE_PIPELINE_RETRIES", "2")
    return tmp_path


def failing(*errors: Exception) -> Any:
    """Work that fails so often, then succeeds."""
    left = list(errors)

    def work(step: PipelineStep) -> dict[str, Any]:
        if left:
            raise left.pop(0)
        return {"frames": 3}

    return work


def test_facts_are_kept_by_step_and_stored(tmp_path: Path):
    done = settle(FRESH, "fetch", failing(), wait=pytest.fail)
    done = settle(done, "analyse", failing(), wait=pytest.fail)
    assert done.facts == {"fetch": {"frames": 3}, "analyse": {"frames": 3}}
    assert not done.failed
    done.write(tmp_path / "outcome")
    assert read_outcome(tmp_path / "outcome") == done
    reports = read_reports(Settings().layout.step_reports("v"))
    assert [(report.step, report.state) for report in reports] == [
        ("fetch", "succeeded"),
        ("analyse", "succeeded"),
    ]


def test_a_failure_is_passed_on_and_nothing_more_is_done():
    failed = settle(FRESH, "fetch", failing(Refused("It is cut off.")), wait=pytest.fail)
    assert (failed.failed_in, failed.error) == ("fetch", "It is cut off.")
    assert settle(failed, "analyse", pytest.fail, wait=pytest.fail) == failed


def test_what_does_not_answer_is_asked_again_as_often_as_settings_say():
    waits: list[float] = []
    away = Unavailable("It is away.")
    assert not settle(FRESH, "fetch", failing(away, away), wait=waits.append).failed
    assert len(waits) == 2
    assert waits[0] < waits[1]
    failed = settle(FRESH, "fetch", failing(away, away, away), wait=lambda seconds: None)
    assert failed.error == "It is away."


def test_what_nobody_thought_of_is_one_videos_failure_too():
    failed = settle(FRESH, "analyse", failing(ZeroDivisionError("by zero")), wait=pytest.fail)
    assert failed.failed_in == "analyse"
    assert "ZeroDivisionError: by zero" in failed.error


def test_a_sentence_does_not_tell_where_the_storage_lies(home: Path):
    path = Settings().layout.video("v") / "source.mp4"
    failed = settle(FRESH, "fetch", failing(BadVideo(f"{path} is broken.")), wait=pytest.fail)
    assert failed.error == "videos/v/source.mp4 is broken."


def test_an_id_that_is_no_folders_name_is_an_outcome():
    odd = settle(VideoOutcome(id="../v"), "fetch", pytest.fail, wait=pytest.fail)
    assert "'../v'" in odd.error


@pytest.mark.parametrize("text", [None, "", "{}", "\xff"])
def test_what_is_no_outcome_is_refused(text: str | None, tmp_path: Path):
    path = tmp_path / "outcome"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match="no video's outcome"):
        read_outcome(path)
