"""Follows a task in the terminal until its end."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from actverse.client import Client

_POLL_SECONDS = 0.3


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        state: ``succeeded`` or ``failed``.
        error: the failed step's sentence.
        steps: the steps as ``GET /status`` tells them.
    """

    state: str
    error: str
    steps: list[dict[str, Any]]

    def facts(self, step: str) -> dict[str, Any]:
        """What a step said of itself; empty if it did not run."""
        return next((dict(s["facts"]) for s in self.steps if s["name"] == step), {})

    def print_table(self, console: Console) -> None:
        """One row a step: what it did and how long it took."""
        table = Table("step", "", "seconds", "what", box=None, header_style="bold", padding=(0, 2))
        table.columns[2].justify = "right"
        for step in self.steps:
            mark = {"succeeded": "[green]✓[/]", "failed": "[red]✗[/]"}.get(step["state"], "·")
            what = step["error"] or _what(step["name"], step["facts"])
            table.add_row(step["name"], mark, _seconds(step), what)
        console.print(table)


def watch_task(client: Client, task_id: str, console: Console) -> Outcome:
    """Show a task's steps as they go on; return when it has ended.

    Raises:
        Unavailable: if the gateway does not answer.
    """
    bars = Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %  {task.fields[what]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    shown: set[str] = set()
    with bars:
        bar = bars.add_task("", total=100, what="")
        while True:
            status = client.status(task_id)
            for step in status["steps"]:
                if step["state"] == "succeeded" and step["name"] not in shown:
                    shown.add(step["name"])
                    what = _what(step["name"], step["facts"])
                    console.print(f"[green]✓[/] {step['name']:<9} {_seconds(step):>6} s  {what}")
                elif step["state"] == "running" and step["name"] != "training":
                    what = _what(step["name"], step["facts"])
                    bars.update(bar, description=step["name"], completed=step["percent"], what=what)
            if status["state"] in ("succeeded", "failed"):
                return Outcome(status["state"], status["error"], status["steps"])
            time.sleep(_POLL_SECONDS)


def _seconds(step: dict[str, Any]) -> str:
    if not (step["started"] and step["ended"]):
        return ""
    started, ended = (datetime.fromisoformat(step[name]) for name in ("started", "ended"))
    return f"{(ended - started).total_seconds():.1f}"


def _what(name: str, facts: dict[str, Any]) -> str:
    """A step's facts in a few words."""
    if not facts:
        return ""
    match name:
        case "download":
            return f"{facts['bytes'] / 1e6:.1f} MB"
        case "validate":
            return (
                f"{facts['frame_count']} frames, {facts['width']}x{facts['height']}, "
                f"{facts['fps']:.2f} fps, {facts['codec']}"
            )
        case "convert":
            return str(facts["reason"])
        case "extract":
            return f"{facts['frames']} frames"
        case "labels":
            counts = facts["counts"]
            return f"{counts['objects']} objects in {counts['images']} images"
        case "dataset":
            told = f"{facts['train']} to train, {facts['held_out']} held out"
            return "; ".join([told, *facts.get("warnings", ())])
        case "train":
            metrics = {k: v for k, v in facts.get("metrics", {}).items() if "mAP50" in k}
            figures = ", ".join(f"{key} {value:.3f}" for key, value in sorted(metrics.items()))
            epoch = f"epoch {facts['epoch']}/{facts['epochs']}  " if "epoch" in facts else ""
            return epoch + figures
        case "export":
            if "matched" not in facts:
                return ""
            told = (
                f"parity: {facts['matched']} findings matched, boxes within "
                f"{facts['box_error']:.2g} px, scores within {facts['score_error']:.2g}"
            )
            return "; ".join(filter(None, [told, facts.get("warning")]))
        case "register" | "deploy":
            return f"{facts.get('model')} version {facts.get('version')}"
        case "analyse":
            if "detections" not in facts:
                return ""
            return (
                f"{facts['detections']} detections of {facts['identities']} identities in "
                f"{facts['frames']} frames, {facts['frames_per_second']:.0f} frames/s"
            )
        case "results":
            return ", ".join(facts.get("files", []))
    return ""
