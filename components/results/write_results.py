"""All files of a task's results at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components.results.notebook import write_notebook
from components.results.overlay import write_overlay
from components.results.results_csv import write_csv
from components.results.results_json import write_json
from components.steps import Progress, no_progress


def write_results(video: Path, results: Path, progress: Progress = no_progress) -> list[Path]:
    """Write results.csv, results.json, overlaid_results.mp4 and report.ipynb side by side.

    Returns:
        Their paths, in that order.

    Raises:
        NotFound: if no analysis lies in ``results``.
        BadVideo: if the video cannot be read.
        StorageFull: when the disk is full.
    """
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="results") as pool:
        # The overlay takes by far the longest: it begins first.
        overlay = pool.submit(write_overlay, video, results, progress)
        table = pool.submit(write_csv, results)
        entries = pool.submit(write_json, results)
        notebook = pool.submit(write_notebook, results, video)
        return [task.result() for task in (table, entries, overlay, notebook)]
