"""The parity report as an HTML page: the verdict, the worst differences, and every frame's."""

import math

from components.charts import bar_chart
from components.export.parity_report import ParityReport
from components.html_page import Element, card, element, facts, html_page, link, table

_MOST_BARS = 200


def parity_page(report: ParityReport, *, run_url: str = "") -> str:
    """The page of a parity check, whether it has passed or not."""
    passed = report.passed
    return html_page(
        "Does model.onnx behave like model.pt?",
        element(
            "p",
            element("strong", "Passed. " if passed else "Failed. "),
            element(
                "span",
                "Every finding has its partner, and no difference is above what is allowed."
                if passed
                else f"{report.fault}.",
            ),
            class_=f"verdict {'good' if passed else 'bad'}",
        ),
        element("p", report.note, class_="soft") if report.note else None,
        facts(
            [
                ("held-out frames", report.frames),
                ("findings matched", report.matched),
                ("compared by", report.basis),
                ("confidence", f"{report.confidence:g}"),
                ("IoU of the suppression", f"{report.iou:g}"),
            ]
        ),
        element("p", link(run_url, "The training's run in MLflow")) if run_url else None,
        element("h2", "The worst of all frames"),
        _worst(report),
        element("h2", "Frame by frame"),
        element("div", *_charts(report), class_="grid"),
        element(
            "details",
            element("summary", "The figures of each frame"),
            table(
                ["frame", "size", "matched", "alone", "box, px", "score", "key point, px"],
                [
                    [
                        one.frame,
                        f"{one.width} x {one.height}",
                        one.matched,
                        one.unmatched,
                        one.box_error,
                        one.score_error,
                        one.keypoint_error,
                    ]
                    for one in report.per_frame
                ],
            ),
        ),
    )


def _worst(report: ParityReport) -> Element:
    rows: list[tuple[str, float, float, float]] = [
        ("findings without a partner", report.unmatched, report.batch_unmatched, 0),
        ("box corner, px", report.box_error, report.batch_box_error, report.tolerance_box_px),
        ("score", report.score_error, report.batch_score_error, report.tolerance_score),
        (
            "key point, px",
            report.keypoint_error,
            report.batch_keypoint_error,
            report.tolerance_keypoint_px,
        ),
    ]
    return table(
        ["difference", "to model.pt", "in batches to single frames", "allowed", ""],
        [
            [name, alone, batched, allowed, _verdict(max(alone, batched, key=_badness), allowed)]
            for name, alone, batched, allowed in rows
        ],
    )


def _badness(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _verdict(value: float, allowed: float) -> Element:
    good = value <= allowed
    return element("span", "within" if good else "too much", class_="good" if good else "bad")


def _charts(report: ParityReport) -> list[Element]:
    shown = report.per_frame[:_MOST_BARS]
    charts = [
        ("Box corner, px", [one.box_error for one in shown], report.tolerance_box_px),
        ("Score", [one.score_error for one in shown], report.tolerance_score),
    ]
    if any(one.keypoint_error for one in shown):
        allowed = report.tolerance_keypoint_px
        charts.append(("Key point, px", [one.keypoint_error for one in shown], allowed))
    names = [one.frame for one in shown]
    return [
        card(
            title,
            bar_chart(
                list(zip(names, values, strict=True)),
                what=f"{title}: greatest difference in each frame; {allowed:g} is allowed",
                allowed=allowed,
            ),
        )
        for title, values, allowed in charts
    ]
