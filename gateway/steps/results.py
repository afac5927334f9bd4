"""The result files: each a step of its own, written and uploaded side by side."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.files import remove_leftovers
from components.steps import Progress
from gateway.steps.context import StepContext


def write_csv(context: StepContext) -> dict[str, Any]:
    """results.csv."""
    from components.results.results_csv import write_csv as write

    return _written(context, lambda results, video, progress: write(results))


def write_json(context: StepContext) -> dict[str, Any]:
    """results.json."""
    from components.results.results_json import write_json as write

    return _written(context, lambda results, video, progress: write(results))


def write_overlay(context: StepContext) -> dict[str, Any]:
    """overlaid_results.mp4."""
    from components.results.overlay import write_overlay as write

    return _written(context, lambda results, video, progress: write(video, results, progress))


def write_notebook(context: StepContext) -> dict[str, Any]:
    """report.ipynb."""
    from components.results.notebook import write_notebook as write

    return _written(context, lambda results, video, progress: write(results, video))


def keep_chunks(context: StepContext) -> dict[str, Any]:
    """chunks/: written by the analysis; kept once more, whole."""
    from components.frame_results import chunk_paths

    results = _analysed(context)
    context.storage.keep(results / "chunks", progress=context.progress)
    return {"file": "chunks", "chunks": sum(1 for _ in chunk_paths(results))}


def settle(context: StepContext) -> dict[str, Any]:
    """Remove half files of killed parts, now that no part writes any more; list the results."""
    remove_leftovers(context.layout.results(context.task_id))
    files = [str(context.facts[part]["file"]) for part in ("csv", "json", "overlay", "notebook")]
    return {"files": sorted(files), "chunks": context.facts["chunks"]["chunks"]}


def _written(context: StepContext, write: Callable[[Path, Path, Progress], Path]) -> dict[str, Any]:
    results = _analysed(context)
    path = write(results, context.storage.bring(context.video), context.progress)
    context.storage.keep(path)
    return {"file": path.name, "bytes": path.stat().st_size}


def _analysed(context: StepContext) -> Path:
    """The task's results folder with the chunks of its analysis."""
    results = context.layout.results(context.task_id)
    context.storage.bring(results / "chunks")
    return results
