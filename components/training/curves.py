"""A training's curves as a page: losses and figures on the held-out block, by epoch."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.charts import MOST_POINTS, legend, line_chart, thinned
from components.errors import BadInput, NotFound
from components.html_page import Element, card, element, facts, html_page, link, table
from components.training.metric_names import clean_name
from components.training.result import PLOTS, TrainingResult

HISTORY = f"{PLOTS}/results.csv"
_SUBJECTS = (("Boxes", ""), ("Key points", "pose_"))


@dataclass(frozen=True)
class History:
    """What was noted after each epoch.

    Attributes:
        epochs: from 1, rising.
        series: values by name, see ``metric_names``; one for each epoch, and not a number
            where there was none.
    """

    epochs: tuple[int, ...]
    series: Mapping[str, tuple[float, ...]]


def read_history(folder: Path) -> History:
    """The history of the training in ``folder``, from Ultralytics' own table.

    Raises:
        NotFound: if there is none.
        BadInput: if it cannot be read.
    """
    path = Path(folder) / HISTORY
    try:
        with path.open(encoding="utf-8", newline="") as file:
            # A training that went on after a break notes an epoch again: the last word counts.
            rows = {int(float(row["epoch"])): row for row in csv.DictReader(file)}
        epochs = tuple(sorted(rows))
        names = [name for name in (rows[epochs[0]] if epochs else {}) if name and "/" in name]
        series = {
            clean_name(name): tuple(float(rows[epoch][name]) for epoch in epochs) for name in names
        }
    except FileNotFoundError as error:
        raise NotFound(f"No table of epochs lies in {path}: train again.") from error
    except (OSError, KeyError, TypeError, ValueError, OverflowError, csv.Error) as error:
        raise BadInput(f"{path} is not a training's table of epochs: train again.") from error
    return History(epochs, series)


def curves_page(result: TrainingResult, history: History, *, run_url: str = "") -> str:
    """The page of a training: what it reached, and how it came there."""
    charts = [*_metric_charts(result, history), *_loss_charts(result, history)]
    if not charts:
        charts = [element("p", "No epoch left a figure.", class_="soft")]
    return html_page(
        f"Training of {', '.join(result.spec.names)}",
        facts(_facts(result)),
        element("p", link(run_url, "The run in MLflow, with all its figures")) if run_url else None,
        element("p", result.start_reason, class_="soft") if result.start_reason else None,
        element("div", *charts, class_="grid"),
        _all_figures(history),
    )


def _facts(result: TrainingResult) -> list[tuple[str, str]]:
    named = [(name, result.metrics.get(name)) for name in ("mAP50-95", "mAP50", "pose_mAP50-95")]
    words = {"pose_mAP50-95": "key points' mAP50-95"}
    return [
        *(
            (words.get(name, name), f"{value:.3f}")
            for name, value in named
            if value is not None and math.isfinite(value)
        ),
        ("epochs", f"{result.epochs} of {result.settings.epochs}"),
        ("best epoch", str(result.best_epoch)),
        ("model", f"{result.settings.model}, {result.imgsz} px"),
        ("began", result.start or "from scratch"),
        ("time", _time(result.seconds)),
    ]


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _metric_charts(result: TrainingResult, history: History) -> list[Element]:
    charts = []
    for subject, prefix in _SUBJECTS:
        for title, names in (("mAP", ("mAP50", "mAP50-95")), ("", ("precision", "recall"))):
            found = {
                name: history.series[key]
                for name in names
                if (key := f"metrics/{prefix}{name}") in history.series
            }
            title = title or " and ".join(found)
            if found:
                charts.append(_chart(f"{subject}: {title}", found, result, history, top=1.0))
    return charts


def _loss_charts(result: TrainingResult, history: History) -> list[Element]:
    charts = []
    for key in history.series:
        group, _, name = key.partition("/")
        if group != "train":
            continue
        found = {"training": history.series[key]}
        if held_out := history.series.get(f"val/{name}"):
            found["held-out"] = held_out
        charts.append(_chart(name.replace("_", " "), found, result, history))
    return charts


def _chart(
    title: str,
    series: Mapping[str, Sequence[float]],
    result: TrainingResult,
    history: History,
    top: float | None = None,
) -> Element:
    best = result.best_epoch
    said = f"{title} by epoch, {' and '.join(series)}; the best epoch is {best}"
    drawn = line_chart(
        history.epochs, series, what=said, top=top, mark=best, mark_name=f"best: {best}"
    )
    return card(title, legend(list(series)), drawn)


def _all_figures(history: History) -> Element:
    names = [name for name in history.series if not name.startswith("lr/")]
    places = thinned(len(history.epochs))
    rows: list[list[Element | str | float]] = [
        [history.epochs[i], *(history.series[name][i] for name in names)] for i in places
    ]
    every = f"{len(rows)} of {len(history.epochs)} epochs" if len(rows) > MOST_POINTS else ""
    return element(
        "details",
        element("summary", "The figures of each epoch"),
        table(["epoch", *names], rows, every),
    )
