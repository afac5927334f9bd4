"""What surrounds a component's step."""

from pathlib import Path

import pytest

from components import pipeline_step as module
from components.pipeline_step import pipeline_step
from components.steps import read_report
from tests.helpers.servers import wait_until


def test_a_step_that_is_silent_for_long_is_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ACTVERSE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    with pipeline_step("train", "t-0123456789ab") as step:
        path = step.layout.step_reports("t-0123456789ab") / "train.json"
        begun = read_report(path).seen
        wait_until(lambda: read_report(path).seen > begun, what="a sign of life")
