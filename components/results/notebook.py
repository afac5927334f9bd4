"""report.ipynb: the results to look at and go on from, beside results.csv and results.json.

Its cells stand in ``report_cells.py`` as a script with ``# %%`` marks, so that they are
read, checked and formatted as the Python they are.
"""

import base64
import json
import re
from pathlib import Path

import cv2
import nbformat
import numpy as np

from components.files import write_text
from components.frame_results import read_metadata
from components.letterbox import Letterbox
from components.video.reader import read_frames

CELLS_PATH = Path(__file__).with_name("report_cells.py")
_BACKGROUND_SIDE = 640
_MARK = re.compile(r"^# %%(?: \[(markdown)\])?(?: \[(pose)\])?\n", re.MULTILINE)


def write_notebook(results: Path, video: Path | None = None) -> Path:
    """Write ``report.ipynb`` in a task's results folder, whole.

    It reads ``results.csv`` and ``results.json`` from the folder it lies in, wherever that
    is, and needs pandas and matplotlib.

    Args:
        results: the task's results folder.
        video: the video that was analysed; its first frame becomes the background of the
            trajectories.

    Returns:
        Its path.

    Raises:
        NotFound: if no analysis lies in ``results``.
        BadVideo: if the video cannot be read.
        StorageFull: when the disk is full.
    """
    metadata = read_metadata(results)
    background = "" if video is None else _first_frame(video)
    cells: list[nbformat.NotebookNode] = []
    pieces = _MARK.split(CELLS_PATH.read_text(encoding="utf-8"))[1:]
    for number in range(0, len(pieces), 3):
        markdown, pose, text = pieces[number : number + 3]
        if pose and metadata.labels.task != "pose":
            continue
        if markdown:
            prose = re.sub(r"^# ?", "", text.strip(), flags=re.MULTILINE)
            prose = prose.replace("TASK_ID", metadata.task_id)
            cell = nbformat.v4.new_markdown_cell(prose)
        else:
            cell = nbformat.v4.new_code_cell(text.strip().replace('"BACKGROUND"', repr(background)))
            if background and background in cell.source:
                cell.metadata["jupyter"] = {"source_hidden": True}
        # A random id would make each report differ from the last.
        cell["id"] = f"cell-{len(cells)}"
        cells.append(cell)
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.validate(notebook)
    path = results / "report.ipynb"
    write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return path


def _first_frame(video: Path) -> str:
    """The first frame as base64 of a small JPEG."""
    frame = next(iter(read_frames(video, wanted=[0])))
    height, width = frame.bgr.shape[:2]
    small: np.ndarray = frame.bgr
    if max(width, height) > _BACKGROUND_SIDE:
        wh = Letterbox.of((width, height), _BACKGROUND_SIDE).resized_wh
        small = cv2.resize(frame.bgr, wh, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return base64.b64encode(jpeg.tobytes()).decode("ascii")
