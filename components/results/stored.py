"""The result files of a stored analysis, written beside its chunks and kept there."""

from pathlib import Path
from typing import Any

from components.frame_results import chunk_paths
from components.pipeline_step import PipelineStep
from components.results.notebook import write_notebook
from components.results.overlay import write_overlay
from components.results.results_csv import write_csv
from components.results.results_json import write_json


def write_stored_tables(step: PipelineStep, video_id: str) -> dict[str, Any]:
    """Write results.csv and results.json.

    Raises:
        NotFound: if the video was not analysed.
        Unavailable, StorageFull: if the storage does not take them.
    """
    results = _analysed(step, video_id)
    files = [write_csv(results), write_json(results)]
    for path in files:
        step.storage.keep(path)
    return {"files": [path.name for path in files], "chunks": sum(1 for _ in chunk_paths(results))}


def write_stored_overlay(step: PipelineStep, video_id: str) -> dict[str, Any]:
    """Write overlaid_results.mp4; raises as ``write_stored_tables`` and ``write_overlay`` do."""
    results, video = _analysed(step, video_id), _video(step, video_id)
    path = write_overlay(video, results, step.progress)
    step.storage.keep(path)
    return {"files": [path.name]}


def write_stored_notebook(step: PipelineStep, video_id: str) -> dict[str, Any]:
    """Write report.ipynb; raises as ``write_stored_tables`` and ``write_notebook`` do."""
    results, video = _analysed(step, video_id), _video(step, video_id)
    path = write_notebook(results, video)
    step.storage.keep(path)
    return {"files": [path.name]}


def _analysed(step: PipelineStep, video_id: str) -> Path:
    results = step.layout.results(video_id)
    step.storage.bring(results / "chunks")
    return results


def _video(step: PipelineStep, video_id: str) -> Path:
    return step.storage.bring(step.layout.video(video_id) / "video.mp4")
