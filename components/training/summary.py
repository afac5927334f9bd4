"""A training's outcome in a few figures and lines."""

import math

from components.html_page import markdown_text
from components.training.result import TrainingResult


def training_metrics(result: TrainingResult) -> dict[str, float]:
    """The figures by the names that the tracking server knows them by, all finite numbers."""
    figures = {
        **result.metrics,
        "epochs": float(result.epochs),
        "best_epoch": float(result.best_epoch),
        "seconds": result.seconds,
    }
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def training_markdown(result: TrainingResult, *, run_url: str = "") -> str:
    """The outcome as a Markdown page, with the way to the run."""
    figures = [
        f"| {markdown_text(name)} | {value:.4f} |" for name, value in sorted(result.metrics.items())
    ]
    lines = [
        f"# {markdown_text(result.settings.model)} learnt "
        f"{markdown_text(', '.join(result.spec.names))}",
        "",
        f"{result.epochs} of {result.settings.epochs} epochs, the best was {result.best_epoch}; "
        f"began {markdown_text(result.start or 'from scratch')}.",
        "",
    ]
    if result.start_reason:
        lines += [f"> {markdown_text(result.start_reason)}", ""]
    if run_url:
        lines += [f"[The run in MLflow]({run_url})", ""]
    return "\n".join([*lines, "| on the held-out frames | |", "|---|---|", *figures]) + "\n"
