"""A selection as it lies in a file."""

from pathlib import Path

import pytest

from components.errors import BadInput, NotFound
from components.video.selection.options import SelectionOptions
from components.video.selection.selection import SelectedFrame, Selection


def test_it_reads_what_it_wrote(tmp_path: Path) -> None:
    selection = Selection(
        options=SelectionOptions(strategy="active", number=3, min_seconds_apart=1.5, seed=4),
        fps=29.97,
        frame_count=100,
        frames=(SelectedFrame(index=3, timestamp=0.1, strategy="diverse", score=0.25),),
        note="1 of the 3",
    )
    selection.write(tmp_path / "frames")
    assert Selection.read(tmp_path / "frames") == selection
    assert [path.name for path in (tmp_path / "frames").iterdir()] == ["selection.json"]


def test_none_and_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="select frames first"):
        Selection.read(tmp_path)
    (tmp_path / "selection.json").write_text('{"frames": [')
    with pytest.raises(BadInput, match="not a selection"):
        Selection.read(tmp_path)
