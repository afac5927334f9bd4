import re
import shutil

import nbclient
import nbformat
import pytest

from components.frame_results import FrameResult, clear_chunks, write_chunk, write_metadata
from components.results.notebook import write_notebook
from components.results.results_csv import write_csv
from components.results.results_json import write_json


def run(path):
    """Execute a notebook headlessly, in its folder; give its cells' outputs."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=resources).execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def images(outputs):
    return sum("image/png" in output.get("data", {}) for cell in outputs for output in cell)


def test_the_report_of_a_pose_analysis_runs_wherever_its_folder_is_taken(analysed, tmp_path):
    for write in (write_csv, write_json):
        write(analysed.results)
    write_notebook(analysed.results, analysed.video)
    moved = tmp_path / "elsewhere"
    shutil.move(analysed.results, moved)

    outputs = run(moved / "report.ipynb")

    text = "".join(
        output["data"].get("text/plain", "")
        for cell in outputs
        for output in cell
        if "data" in output
    )
    assert "squares, version 3" in text
    # 23 of 25 frames: one has no finding and one no identity yet; 2 pixels a frame at 25 / s.
    assert re.search(r"^1 +mouse +23 +0\.92", text, re.MULTILINE), text
    assert "46.0" in text
    assert "50.0" in text
    assert "nose" in text
    assert images(outputs) == 5


def test_the_report_of_a_detection_without_identities_runs(detect_analysis):
    frames = [
        FrameResult(
            frame=i,
            timestamp=i / 25,
            ids=[""],
            boxes=[[i, 2, i + 9, 20]],
            boxes_score=[0.5],
            classes=["rat"],
        )
        for i in range(6)
    ]
    metadata = write_unidentified(detect_analysis, frames)
    assert metadata.labels.task == "detect"
    outputs = run(write_notebook(detect_analysis))
    assert images(outputs) == 4


@pytest.mark.parametrize("count", [1, 5])
def test_the_report_of_an_analysis_that_found_nothing_runs(analysed, count):
    clear_chunks(analysed.results)
    write_metadata(analysed.results, analysed.metadata)
    write_chunk(analysed.results, 0, [FrameResult(frame=i, timestamp=i / 25) for i in range(count)])
    for write in (write_csv, write_json):
        write(analysed.results)
    assert images(run(write_notebook(analysed.results, analysed.video))) == 5


def test_the_report_names_no_place_and_is_the_same_each_time(analysed):
    first = write_notebook(analysed.results, analysed.video).read_text()
    assert write_notebook(analysed.results, analysed.video).read_text() == first
    assert str(analysed.results) not in first
    assert str(analysed.video.parent) not in first


def write_unidentified(folder, frames):
    from components.frame_results import read_metadata

    metadata = read_metadata(folder)
    clear_chunks(folder)
    write_metadata(folder, metadata)
    write_chunk(folder, 0, frames)
    write_csv(folder)
    write_json(folder)
    return metadata
