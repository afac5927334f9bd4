"""The promotion gate's decision as pages: a candidate beside the champion, and why."""

import math
from collections.abc import Mapping

from components.charts import legend, paired_bars
from components.evaluation.promotion import Gated
from components.html_page import card, element, facts, html_page, link, markdown_text, table


def gate_metrics(gated: Gated) -> dict[str, float]:
    """The figures of both sides under readable names; what is not a finite number is left out."""
    candidate, champion = gated.verdict.candidate, gated.verdict.champion
    figures = {f"candidate {name}": value for name, value in candidate.items()}
    figures |= {f"champion {name}": value for name, value in champion.items()}
    figures |= {f"gain {name}": gain for name, gain in _gains(candidate, champion).items()}
    figures["promoted"] = float(gated.verdict.earned)
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def gate_markdown(model: str, version: int, gated: Gated, *, version_url: str = "") -> str:
    """The decision as a Markdown page."""
    candidate, champion = gated.verdict.candidate, gated.verdict.champion
    lines = [
        f"# {markdown_text(_decision(model, version, gated))}",
        "",
        markdown_text(gated.verdict.reason),
        "",
    ]
    if version_url:
        lines += [f"[Version {version} in MLflow]({version_url})", ""]
    if candidate:
        gains = _gains(candidate, champion)
        lines += [
            "| on the held-out frames | candidate | champion | gain |",
            "|---|---|---|---|",
            *(
                f"| {markdown_text(name)} | {_figure(value)} | {_figure(champion.get(name))} "
                f"| {_figure(gains.get(name), signed=True)} |"
                for name, value in candidate.items()
            ),
        ]
    return "\n".join(lines) + "\n"


def gate_page(model: str, version: int, gated: Gated, *, version_url: str = "") -> str:
    """The decision as an HTML page."""
    verdict = gated.verdict
    candidate, champion = verdict.candidate, verdict.champion
    gains = _gains(candidate, champion)
    bars = None
    if gains:
        rows = [(name, candidate[name], champion[name]) for name in gains]
        bars = card(
            "Side by side",
            legend(["candidate", "champion"]),
            paired_bars(rows, what="The figures of candidate and champion, 0 to 1"),
        )
    return html_page(
        _decision(model, version, gated),
        element(
            "p",
            element("strong", "Promoted. " if verdict.earned else "Not promoted. "),
            element("span", verdict.reason),
            class_=f"verdict {'good' if verdict.earned else 'bad'}",
        ),
        facts(
            [
                ("candidate", f"version {version}"),
                ("champion before", f"version {gated.champion}" if gated.champion else "none"),
                ("to be served", f"version {gated.version}"),
            ]
        ),
        element("p", link(version_url, f"Version {version} in MLflow")) if version_url else None,
        element("h2", "On the same held-out frames") if candidate else None,
        table(
            ["", "candidate", "champion", "gain"],
            [
                [
                    name,
                    element("span", _figure(value), class_="number"),
                    element("span", _figure(champion.get(name)), class_="number"),
                    element("span", _figure(gains.get(name), signed=True), class_="number"),
                ]
                for name, value in candidate.items()
            ],
        )
        if candidate
        else None,
        element("div", bars, style="max-width:32rem;margin:1rem 0") if bars is not None else None,
    )


def _decision(model: str, version: int, gated: Gated) -> str:
    if gated.champion == version:
        return f"{model}: version {version} is the champion already"
    if gated.verdict.earned:
        return f"{model}: version {version} takes over"
    return f"{model}: version {gated.version} stays, version {version} did not earn its place"


def _gains(candidate: Mapping[str, float], champion: Mapping[str, float]) -> dict[str, float]:
    return {
        name: value - champion[name]
        for name, value in candidate.items()
        if name in champion and math.isfinite(value - champion[name])
    }


def _figure(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not a number"
    return f"{value:+.4f}" if signed else f"{value:.4f}"
