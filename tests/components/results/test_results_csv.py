import csv
import json

import pandas
import pytest

from components.csv_text import from_csv_text
from components.frame_results import FrameResult, write_chunk, write_metadata
from components.labels import LabelSpec
from components.results.results_csv import write_csv
from components.results.results_json import write_json
from tests.helpers.spreadsheets import cells_run


def test_the_table_tells_the_same_as_results_json_in_source_pixels(analysed) -> None:
    entries = json.loads(write_json(analysed.results).read_text())["results"]
    with write_csv(analysed.results).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    assert list(rows[0]) == [
        *("frame", "timestamp", "id", "class", "score", "x1", "y1", "x2", "y2"),
        *("nose_x", "nose_y", "nose_score", "nose_smoothed_x", "nose_smoothed_y"),
        *("tail_x", "tail_y", "tail_score", "tail_smoothed_x", "tail_smoothed_y"),
    ]
    told = iter(rows)
    for entry in entries:
        for i, box in enumerate(entry["boxes"]):
            row = next(told)
            assert int(row["frame"]) == entry["frame"]
            assert float(row["timestamp"]) == entry["timestamp"]
            assert row["id"] == entry["ids"][i]
            assert from_csv_text(row["class"]) == entry["classes"][i]
            assert [float(row[name]) for name in ("x1", "y1", "x2", "y2")] == box
            # The nose is the box's first corner, the tail its last.
            assert [float(row[name]) for name in ("nose_x", "nose_y")] == box[:2]
            assert [float(row[name]) for name in ("tail_smoothed_x", "tail_smoothed_y")] == box[2:]
            assert float(row["tail_score"]) == entry["keypoints_score"][i][1]
    assert next(told, None) is None


def test_a_detection_task_has_no_key_point_columns(detect_analysis) -> None:
    lines = write_csv(detect_analysis).read_text().splitlines()
    assert lines[0] == "frame,timestamp,id,class,score,x1,y1,x2,y2"
    assert lines[1] == "0,0.0,,mouse,0.9,10.0,20.0,40.0,50.0"


def test_writing_again_replaces_the_table_whole(analysed) -> None:
    long = write_csv(analysed.results).read_text()
    write_metadata(analysed.results, analysed.metadata)
    write_chunk(analysed.results, 0, [analysed.frames[1]])
    assert len(write_csv(analysed.results).read_text()) < len(long)
    assert {path.name for path in analysed.results.iterdir()} == {"chunks", "results.csv"}


@pytest.mark.parametrize("name", ["=1+1", "-2+3+cmd|' /C calc'!D2", "@SUM(A1)", "a;=1+1", "\t=1"])
def test_results_csv_has_no_formula_and_its_numbers_are_numbers(analysed, name: str):
    labels = LabelSpec(task="pose", names=(name, "mouse"), keypoints=(name, "tail"))
    metadata = analysed.metadata.model_copy(update={"labels": labels})
    frame: FrameResult = analysed.frames[1]
    frame = frame.model_copy(
        update={
            "classes": [name] * len(frame.classes),
            "boxes": [[-4.5, -1.0, 10.0, 12.0]] * len(frame.boxes),
        }
    )
    write_metadata(analysed.results, metadata)
    write_chunk(analysed.results, 0, [frame])
    file = write_csv(analysed.results)
    assert cells_run(file) == []
    table = pandas.read_csv(file)
    table = table[table["frame"] == frame.frame]
    assert len(table) == len(frame.classes)
    assert (table["x1"] == -4.5).all()
    assert {from_csv_text(cell) for cell in table["class"]} == {name}
    assert from_csv_text(table.columns[9]) == f"{name}_x"
