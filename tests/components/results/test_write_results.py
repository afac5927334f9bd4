import json
from pathlib import Path

import pytest

from components.errors import BadVideo, NotFound
from components.results.write_results import write_results


def test_all_files_of_the_results_stand_whole_at_the_end(analysed) -> None:
    told = []
    paths = write_results(analysed.video, analysed.results, lambda done, total: told.append(done))
    assert [path.name for path in paths] == [
        "results.csv",
        "results.json",
        "overlaid_results.mp4",
        "report.ipynb",
    ]
    assert {path.name for path in analysed.results.iterdir()} == {
        "chunks",
        *(path.name for path in paths),
    }
    assert told == list(range(1, 26))
    assert len(json.loads(paths[1].read_text())["results"]) == 25


def test_a_missing_video_is_named(analysed, tmp_path: Path) -> None:
    with pytest.raises(BadVideo, match=r"gone\.mp4"):
        write_results(tmp_path / "gone.mp4", analysed.results)


def test_a_missing_analysis_is_named(video: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="No analysis lies in"):
        write_results(video, tmp_path / "empty")
