import csv
import json

from components.frame_results import write_chunk, write_metadata
from components.results.results_csv import write_csv
from components.results.results_json import write_json


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
            assert (row["id"], row["class"]) == (entry["ids"][i], entry["classes"][i])
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
