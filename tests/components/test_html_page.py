import math

import pytest

from components.charts import bar_chart, line_chart, paired_bars, round_up, thinned
from components.html_page import element, html_page, link, markdown_text, table
from tests.helpers.pages import NASTY, read_page


def test_a_page_is_whole_and_what_users_name_stays_text():
    page = html_page(
        NASTY,
        element("p", NASTY, class_=NASTY),
        table([NASTY], [[NASTY], [0.25], [3]], NASTY),
        link("https://mlflow.example/#/runs/1", NASTY),
    )
    tags, text = read_page(page, "https://mlflow.example/#/runs/1")
    assert text.count(NASTY) == 7, "title, heading, paragraph, caption, head, cell and link"
    assert "0.25" in text
    assert ("meta", "default-src 'none'") in [
        (tag, (attributes.get("content") or "")[:18]) for tag, attributes in tags
    ]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "", "//elsewhere"])
def test_only_web_addresses_become_links(url: str):
    tags, text = read_page(html_page("x", link(url, "the run")))
    assert "a" not in {tag for tag, _ in tags}
    assert "the run" in text


def test_signs_that_no_page_may_hold_do_not_break_it():
    page = html_page("a\0b\x1bc\ud800d")
    page.encode("utf-8")
    assert "a b c?d" in read_page(page)[1]


def test_children_stand_in_their_order():
    made = element("p", "one ", element("b", "two"), " three ", None, element("i", "four"), " five")
    assert "".join(made.itertext()) == "one two three four five"


def test_markdown_takes_a_name_as_text():
    name = "a|b [x](javascript:alert(1)) <script> *c* `d`\n# e"
    assert markdown_text(name) == (
        "a\\|b \\[x\\]\\(javascript:alert\\(1\\)\\) \\<script\\> \\*c\\* \\`d\\` \\# e"
    )


def test_lines_break_where_there_is_no_number():
    values = [1.0, math.nan, 3.0, math.inf, 4.0, 5.0]
    chart = line_chart([1, 2, 3, 4, 5, 6], {"loss": values}, what="loss", mark=5, mark_name="best")
    (path,) = [
        one.get("d") or "" for one in chart.iter("path") if one.get("stroke") == "var(--one)"
    ]
    assert (path.count("M"), path.count("L")) == (3, 1)
    assert len(list(chart.iter("circle"))) == 4
    assert "best" in "".join(chart.itertext())
    read_page(html_page("x", chart))


@pytest.mark.parametrize(
    "values", [[], [math.nan], [0.0], [5.0], [-1.0, 2.0], [1e-9, 1e9], [math.inf, -math.inf]]
)
def test_any_figures_can_be_drawn(values: list[float]):
    x = list(range(1, len(values) + 1))
    read_page(html_page("x", line_chart(x, {"a": values, "b": values}, what="a", mark=1)))
    bars = [(NASTY, abs(value)) for value in values]
    read_page(html_page("x", bar_chart(bars, what="a", allowed=0.5)))
    read_page(html_page("x", paired_bars([(NASTY, v, v) for v in values], what="a")))


def test_a_long_training_is_thinned_but_for_its_best_epoch():
    places = thinned(10_000, 1234)
    assert len(places) <= 403
    assert {0, 1234, 9_999} <= set(places)
    assert thinned(0) == []
    x = list(range(1, 10_001))
    page = html_page("x", line_chart(x, {"a": [1.0] * 10_000}, what="a", mark=1235))
    assert len(page) < 20_000


def test_bars_above_the_limit_are_marked():
    chart = bar_chart([("a", 0.1), ("b", 0.9), ("c", math.nan)], what="x", allowed=0.5)
    fills = [bar.get("fill") for bar in chart.iter("rect")]
    assert fills == ["var(--one)", "var(--bad)", "var(--bad)"]
    heights = [float(bar.get("height") or 0) for bar in chart.iter("rect")]
    assert heights[1] == pytest.approx(9 * heights[0], rel=0.02)


@pytest.mark.parametrize(
    ("value", "axis"), [(0.0, 1), (1.0, 1), (1.2, 2), (2.2, 2.5), (4, 5), (51, 100), (math.nan, 1)]
)
def test_an_axis_ends_at_a_round_number(value: float, axis: float):
    assert round_up(value) == axis
