"""The gate's decision as pages."""

import math

import pytest

from components.evaluation.comparison import gate_markdown, gate_metrics, gate_page
from components.evaluation.gate import Verdict
from components.evaluation.promotion import Gated
from components.html_page import markdown_text
from tests.helpers.pages import NASTY, read_page

VERSION = "https://mlflow.example/#/models/mice/versions/2"
BETTER, WORSE = {"mAP50": 0.9, "mAP50-95": 0.6}, {"mAP50": 0.8, "mAP50-95": 0.65}


def gated(*, earned: bool, before: int | None = 1, **changed: object) -> Gated:
    values = {"earned": earned, "reason": NASTY, "candidate": BETTER, "champion": WORSE, **changed}
    served = 2 if earned or before is None else before
    return Gated(served, before, Verdict.model_validate(values))


@pytest.mark.parametrize(
    ("decided", "words"),
    [
        (gated(earned=True), "version 2 takes over"),
        (gated(earned=False), "version 1 stays, version 2 did not earn its place"),
        (gated(earned=True, before=None, champion={}), "version 2 takes over"),
        (gated(earned=True, before=2), "version 2 is the champion already"),
    ],
)
def test_both_pages_say_what_was_decided_and_why(decided: Gated, words: str):
    _, text = read_page(gate_page(NASTY, 2, decided, version_url=VERSION), VERSION)
    assert f"{NASTY}: {words}" in text
    assert text.count(NASTY) == 3, "title, heading and reason"
    page = gate_markdown(NASTY, 2, decided, version_url=VERSION)
    assert page.startswith(f"# {markdown_text(NASTY)}: {words}\n")
    assert f"({VERSION})" in page
    assert "<script" not in page.replace("\\<script", "")


def test_the_figures_stand_side_by_side_with_the_gain():
    decided = gated(earned=False)
    _, text = read_page(gate_page("mice", 2, decided))
    for figure in ("0.9000", "0.8000", "+0.1000", "0.6000", "0.6500", "-0.0500"):
        assert figure in text
    assert "| 0.6000 | 0.6500 | -0.0500 |" in gate_markdown("mice", 2, decided)
    assert gate_metrics(decided) == pytest.approx(
        {
            "candidate mAP50": 0.9,
            "candidate mAP50-95": 0.6,
            "champion mAP50": 0.8,
            "champion mAP50-95": 0.65,
            "gain mAP50": 0.1,
            "gain mAP50-95": -0.05,
            "promoted": 0.0,
        }
    )


def test_figures_that_are_no_numbers_are_left_out():
    decided = gated(earned=False, candidate={"mAP50": math.nan}, champion={"mAP50": 0.5})
    assert gate_metrics(decided) == {"champion mAP50": 0.5, "promoted": 0.0}
    assert "not a number" in read_page(gate_page("mice", 2, decided))[1]
    nothing = gated(earned=False, candidate={}, champion={})
    read_page(gate_page("mice", 2, nothing))
    assert "|" not in gate_markdown("mice", 2, nothing)
