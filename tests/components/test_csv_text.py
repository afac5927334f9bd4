"""Names in CSV files: no spreadsheet runs one, and every reader of ours has it back."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.csv_text import csv_text, from_csv_text
from components.labeling.formats import deeplabcut
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels, labelled_objects
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec
from tests.corpus.requests import FORMULAS, HARMLESS_TEXTS
from tests.helpers.pose_sets import write_images
from tests.helpers.spreadsheets import RUN, cells_run


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text_and_comes_back(text: str):
    cell = csv_text(text)
    assert not RUN.match(cell)
    assert not any(RUN.match(part) for part in re.split(r"[;,|\t]", cell))
    assert from_csv_text(cell) == text


@pytest.mark.parametrize("text", HARMLESS_TEXTS)
def test_what_is_no_formula_stays_as_it_is(text: str):
    assert csv_text(text) == text == from_csv_text(text)


@given(st.text(alphabet="=+-@'\"; ,|\t\r\nab\uff1d", max_size=12) | st.text(max_size=20))
def test_any_text_comes_back(text: str):
    assert from_csv_text(csv_text(text)) == text
    stream = io.StringIO()
    csv.writer(stream).writerow(["x", csv_text(text)])
    (row,) = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    assert from_csv_text(row[1]) == text


@pytest.mark.parametrize("name", ["=1+1", "-nose", "+a", "@b", "a;=1", "＝1"])
def test_deeplabcuts_files_have_no_formula_and_are_read_back(tmp_path: Path, name: str):
    spec = LabelSpec(task="pose", names=(name, "rat"), keypoints=(name, "tail"))
    size = (64, 48)
    objects = [
        LabelledObject(name, (1.0, 2.0, 30.0, 40.0), {name: (5.0, 6.0, 2), "tail": (7.0, 8.0, 1)}),
        LabelledObject("rat", (3.0, 2.0, 30.0, 40.0), {name: (9.0, 6.0, 1)}),
    ]
    labels = frame_labels(objects, spec, size, "here")
    given = LabelSet(spec, {"=a": LabelledFrame("=a.png", size, labels)})
    folder = tmp_path / "labels"
    folder.mkdir()
    deeplabcut.write(given, folder)
    for file in folder.glob("*.csv"):
        assert cells_run(file) == []
    images = write_images(tmp_path / "images", {"=a": size})
    wanted = WantedLabels("pose", spec.names, spec.keypoints)
    read = deeplabcut.read(folder, wanted, images)
    found = labelled_objects(read.frames["=a"].labels, spec, size)
    assert [one.name for one in found] == [name, "rat"]
    assert set(found[0].keypoints) == {name, "tail"}
    assert found[0].keypoints["tail"][2] == 1
    assert np.allclose(found[1].keypoints[name][:2], (9.0, 6.0), atol=0.1)
    # DeepLabCut's own way of reading it still works.
    table = pandas.read_csv(folder / deeplabcut.FILE, index_col=0, header=[0, 1, 2, 3])
    assert table.to_numpy(dtype=float).shape[0] == 1
