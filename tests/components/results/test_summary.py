"""The summary of many videos."""

import html
import json
from pathlib import Path

import pytest

from components.errors import StepFailed
from components.pipeline_step import pipeline_step
from components.results.summary import keep_summary, summarise
from components.video_outcome import VideoOutcome

FOUND = {
    "model": "mice",
    "version": 3,
    "frames": 10,
    "detections": 20,
    "identities": 2,
    "chunks": 1,
}
ODD = "The file <b>x</b> | y is `broken`:\nsee [z](javascript:1)."


def good(part: str, *files: str) -> VideoOutcome:
    return VideoOutcome(
        id="good", source="users/a/good.mp4", facts={"analyse": FOUND, part: {"files": list(files)}}
    )


BAD = VideoOutcome(id="bad", source="users/a/bad.mp4", failed_in="fetch", error=ODD)
HALF = VideoOutcome(id="half", facts={"analyse": FOUND})
OUTCOMES = [
    good("tables", "results.csv", "results.json"),
    BAD,
    HALF,
    good("overlay", "overlaid_results.mp4"),
    BAD,
    HALF.model_copy(update={"failed_in": "overlay", "error": "No space is left."}),
    good("notebook", "report.ipynb"),
    BAD,
    HALF,
]


def test_each_video_is_listed_once_with_its_sentence_and_its_files():
    said = summarise("run-1", OUTCOMES)
    good_one, bad, half = said.as_json()["results"]
    assert good_one["state"] == "succeeded"
    assert good_one["files"] == [
        "overlaid_results.mp4",
        "report.ipynb",
        "results.csv",
        "results.json",
    ]
    assert (bad["state"], bad["error"]) == ("failed", ODD)
    assert (half["failed_in"], half["error"]) == ("overlay", "No space is left.")
    assert said.metrics() == {"videos": 3, "failed": 2, "frames": 20, "detections": 40}
    said.check()


def test_the_table_holds_and_makes_no_markup_of_what_a_video_says():
    said = summarise("run-1", OUTCOMES)
    page = said.markdown()
    assert "1 of 3 videos analysed" in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 3
    assert all(row.replace("\\|", "").count("|") == 8 for row in rows)
    assert "<b>" not in page.replace("\\<", "")
    assert "[z]" not in page
    assert "<b>" not in said.html()
    assert html.escape(ODD) in said.html()


def test_only_where_all_have_failed_the_run_fails_with_the_first_ones_sentence():
    with pytest.raises(StepFailed, match=r"None of the 1 videos.*bad.*fetch.*is `broken`"):
        summarise("run-1", [BAD, BAD, BAD]).check()
    with pytest.raises(StepFailed, match="no videos"):
        summarise("run-1", []).check()


def test_it_is_kept_beside_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path))
    with pipeline_step("summary", "run-1") as step:
        keep_summary(summarise("run-1", OUTCOMES), step)
        stored = b"".join(step.storage.read("inference_results/run-1/summary.json"))
    assert json.loads(stored)["failed"] == 2
