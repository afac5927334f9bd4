"""DeepLabCut's CSV: its own files read, ours read by another reader, and what is refused."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas
import pytest
import sleap_io
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import BadInput, BadLabels
from components.labeling.formats import deeplabcut, recognise
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels, labelled_objects
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec, read_yolo_labels
from tests.helpers.pose_sets import SIZES, assert_same, label_sets, write_images

ROOT = Path(__file__).resolve().parents[3]
OPENFIELD = Path(os.environ.get("ACTVERSE_TEST_OPENFIELD", ROOT.parent / "shared/data/openfield"))

POSE = WantedLabels(task="pose", names=("mouse",), keypoints=("nose", "tail"))
TWO = WantedLabels(task="pose", names=("mouse", "rat"), keypoints=("nose", "tail"))
SPEC = LabelSpec(task="pose", names=("mouse",), keypoints=("nose", "tail"))
SPEC_TWO = LabelSpec(task="pose", names=("rat", "mouse"), keypoints=("tail", "nose"))

SINGLE = """\
scorer,me,me,me,me
bodyparts,nose,nose,tail,tail
coords,x,y,x,y
labeled-data/v/a.png,10,20,30,40
labeled-data/v/b.png,,,30.5,8
"""
THREE_COLUMNS = """\
scorer,,,me,me,me,me
bodyparts,,,nose,nose,tail,tail
coords,,,x,y,x,y
labeled-data,v,a.png,10,20,30,40
labeled-data,v,b.png,,,30.5,8
"""
SEVERAL = """\
scorer,,,me,me,me,me,me,me,me,me,me,me
individuals,,,mouse1,mouse1,mouse1,mouse1,rat_2,rat_2,rat_2,rat_2,single,single
bodyparts,,,nose,nose,tail,tail,nose,nose,tail,tail,corner,corner
coords,,,x,y,x,y,x,y,x,y,x,y
labeled-data,v,a.png,10,20,30,40,50,8,55,9,1,1
labeled-data,v,b.png,,,,,5,6,nan,nan,,
"""


def _csv(folder: Path, text: str, name: str = "CollectedData_me.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    sizes = {**SIZES, **dict.fromkeys("abc", (64, 48))}
    return write_images(tmp_path_factory.mktemp("images"), sizes)


def _objects(labels: LabelSet, stem: str) -> list[LabelledObject]:
    frame = labels.frames[stem]
    return labelled_objects(frame.labels, labels.spec, frame.size_wh)


def _rounded(item: LabelledObject) -> dict[str, tuple[float, float, int]]:
    return {name: (round(x, 3), round(y, 3), v) for name, (x, y, v) in item.keypoints.items()}


@pytest.mark.skipif(not OPENFIELD.is_dir(), reason=f"no open-field mice in {OPENFIELD}")
def test_real_mice_have_the_points_of_their_yolo_labels():
    path = OPENFIELD / "labels.csv"
    frames = {file.stem: file for file in (OPENFIELD / "frames").iterdir()}
    assert recognise(path) == "deeplabcut"
    labels = deeplabcut.read(path, WantedLabels(task="pose", names=("mouse",)), frames)
    assert labels.spec.keypoints == ("snout", "leftear", "rightear", "tailbase")
    assert sorted(labels.frames) == deeplabcut.names(path)
    assert len(labels.frames) == 116
    for stem, frame in labels.frames.items():
        yolo = read_yolo_labels(OPENFIELD / "labels" / f"{stem}.txt", labels.spec)
        assert np.allclose(frame.labels.keypoints_xyvn, yolo.keypoints_xyvn, atol=2e-6), stem


@pytest.mark.parametrize("text", [SINGLE, THREE_COLUMNS, THREE_COLUMNS.replace("\n", "\r\n")])
@pytest.mark.parametrize("head", ["", "\ufeff"])
def test_one_animal(tmp_path: Path, images: dict[str, Path], text: str, head: str):
    path = _csv(tmp_path, head + text)
    assert recognise(path) == "deeplabcut"
    assert deeplabcut.names(path) == ["a", "b"]
    labels = deeplabcut.read(path, POSE, images)
    (first,), (second,) = _objects(labels, "a"), _objects(labels, "b")
    assert _rounded(first) == {"nose": (10, 20, 2), "tail": (30, 40, 2)}
    assert _rounded(second) == {"tail": (30.5, 8, 2)}
    assert first.xyxy == pytest.approx((8, 18, 32, 42), abs=1e-3)
    assert first.name == "mouse"


def test_key_points_are_known_by_name(tmp_path: Path, images: dict[str, Path]):
    wanted = WantedLabels(task="pose", names=("mouse",), keypoints=("ear", "tail", "nose"))
    labels = deeplabcut.read(_csv(tmp_path, SINGLE), wanted, images)
    assert labels.frames["a"].labels.keypoints_xyvn[0, :, 0] * 64 == pytest.approx([0, 30, 10])


def test_individuals_called_after_classes(tmp_path: Path, images: dict[str, Path]):
    labels = deeplabcut.read(_csv(tmp_path, SEVERAL), TWO, images)
    assert [item.name for item in _objects(labels, "a")] == ["mouse", "rat"]
    assert [item.name for item in _objects(labels, "b")] == ["rat"]
    assert _rounded(_objects(labels, "b")[0]) == {"nose": (5, 6, 2)}
    # One class takes them all; no animal has the arena's corner.
    assert deeplabcut.read(_csv(tmp_path, SEVERAL), POSE, images).objects == {"mouse": 3}
    nobody = deeplabcut.read(_csv(tmp_path, SEVERAL), WantedLabels(task="pose"), images)
    assert (nobody.spec.names, nobody.spec.keypoints) == (("animal",), ("nose", "tail"))


def test_a_detect_task_gets_boxes_around_the_points(tmp_path: Path, images: dict[str, Path]):
    labels = deeplabcut.read(_csv(tmp_path, SINGLE), WantedLabels(names=("mouse",)), images)
    assert labels.frames["a"].labels.keypoints_xyvn.shape == (1, 0, 3)
    assert _objects(labels, "a")[0].xyxy == pytest.approx((8, 18, 32, 42), abs=1e-3)


def test_a_detect_task_refuses_points_outside(tmp_path: Path, images: dict[str, Path]):
    path = _csv(tmp_path, SINGLE.replace("30,40", "300,40"))
    with pytest.raises(BadLabels, match="the key point tail lies at 300, 40, outside"):
        deeplabcut.read(path, WantedLabels(names=("mouse",)), images)


def test_a_row_without_points_is_no_negative(tmp_path: Path, images: dict[str, Path]):
    path = _csv(tmp_path, SINGLE + "labeled-data/v/c.png,,,NaN,nan\n,,,,\n")
    assert deeplabcut.names(path) == ["a", "b"]
    assert sorted(deeplabcut.read(path, POSE, images).frames) == ["a", "b"]


def test_paths_of_windows(tmp_path: Path, images: dict[str, Path]):
    path = _csv(tmp_path, SINGLE.replace("labeled-data/v/", "labeled-data\\v\\"))
    assert deeplabcut.names(path) == ["a", "b"]


@pytest.mark.parametrize("spec", [SPEC, SPEC_TWO])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_round_trip_keeps_everything(
    images: dict[str, Path], spec: LabelSpec, data: st.DataObject
):
    labels = data.draw(label_sets(spec))
    wanted = WantedLabels(task="pose", names=spec.names, keypoints=spec.keypoints)
    with TemporaryDirectory() as folder:
        deeplabcut.write(labels, Path(folder))
        assert recognise(Path(folder)) == "deeplabcut"
        assert deeplabcut.names(Path(folder)) == sorted(labels.frames)
        assert_same(deeplabcut.read(Path(folder), wanted, images), labels)
        assert_same(deeplabcut.read(Path(folder) / deeplabcut.FILE, wanted, images), labels)


@pytest.mark.parametrize("several", [False, True])
def test_another_reader_understands_what_is_written(tmp_path: Path, several: bool):
    animals = [LabelledObject("mouse", (1, 2, 30, 40), {"nose": (3, 4, 2), "tail": (5.5, 6, 1)})]
    if several:
        animals.append(LabelledObject("mouse", (1, 2, 30, 40), {"tail": (7, 8, 2)}))
    frame = LabelledFrame("img001.png", (64, 48), frame_labels(animals, SPEC, (64, 48), "a"))
    deeplabcut.write(LabelSet(SPEC, {"img001": frame}), tmp_path)
    write_images(tmp_path / "labeled-data/actverse", {"img001": (64, 48)})
    (theirs,) = sleap_io.load_dlc(str(tmp_path / deeplabcut.FILE))
    assert theirs.video.filename[theirs.frame_idx].endswith("labeled-data/actverse/img001.png")
    assert [one.skeleton.node_names for one in theirs] == [["nose", "tail"]] * len(animals)
    expected = [[(3, 4), (5.5, 6)], [(np.nan, np.nan), (7, 8)]][: len(animals)]
    for one, points in zip(theirs, expected, strict=True):
        assert np.allclose(one.numpy(), points, atol=1e-3, equal_nan=True)


def test_no_row_is_taken_for_the_head(tmp_path: Path):
    mouse = LabelledObject("mouse", (1, 2, 30, 40), {"nose": (3, 4, 2)})
    frames = {
        stem: LabelledFrame(f"{stem}.png", (64, 48), frame_labels(items, SPEC, (64, 48), stem))
        for stem, items in {"a": [], "b": [mouse], "c": []}.items()
    }
    deeplabcut.write(LabelSet(SPEC, frames), tmp_path)
    # As DeepLabCut's convertcsv2h5 reads it.
    table = pandas.read_csv(tmp_path / deeplabcut.FILE, index_col=0, header=[0, 1, 2])
    assert sorted(path[-5:] for path in table.index) == ["a.png", "b.png", "c.png"]
    assert table.columns.names == ["scorer", "bodyparts", "coords"]


def test_animals_added_in_deeplabcut_get_a_box(tmp_path: Path, images: dict[str, Path]):
    frames = {
        stem: LabelledFrame(f"{stem}.png", (64, 48), frame_labels(items, SPEC, (64, 48), stem))
        for stem, items in {
            "a": [LabelledObject("mouse", (1, 2, 30, 40), {"nose": (3, 4, 2)})],
            "b": [],
        }.items()
    }
    deeplabcut.write(LabelSet(SPEC, frames), tmp_path)
    path = tmp_path / deeplabcut.FILE
    path.write_text(path.read_text().replace("b.png,,,,", "b.png,10,20,30,40"))
    labels = deeplabcut.read(tmp_path, POSE, images)
    assert _objects(labels, "a")[0].xyxy == pytest.approx((1, 2, 30, 40), abs=1e-3)
    assert _objects(labels, "b")[0].xyxy == pytest.approx((8, 18, 32, 42), abs=1e-3)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(BadLabels, match=r"boxes\.csv beside .* has the image b"):
        deeplabcut.names(path)


def test_somebody_elses_boxes_csv_is_let_be(tmp_path: Path, images: dict[str, Path]):
    path = _csv(tmp_path, SINGLE)
    _csv(tmp_path, "id,size\n1,2\n", "boxes.csv")
    assert deeplabcut.read(path, POSE, images).objects == {"mouse": 2}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("a.png,mouse,mouse,1,2,3,4", "boxes.csv, line 2: 7 cells"),
        ("a.png,,mouse,1,2,3,x,[]", "boxes.csv, line 2: .*'x'"),
        ("a.png,,mouse,1,2,3,inf,[]", "boxes.csv, line 2: .*not finite"),
        ("a.png,,mouse,1,2,3,4,{}", "boxes.csv, line 2: .*no list"),
        ("a.png,,mouse,1,2,3,4," + "[" * 100_000, "boxes.csv, line 2|CSV"),
        ("a.png,,mouse,1,2,300,4,[]", "outside the image"),
        ("a.png,,Mouse,1,2,3,4,[]", "written 'mouse'"),
    ],
)
def test_a_companion_that_cannot_be_used(
    tmp_path: Path, images: dict[str, Path], line: str, sentence: str
):
    path = _csv(tmp_path, SINGLE)
    _csv(tmp_path, f"image,individual,class,x1,y1,x2,y2,hidden\n{line}\n", "boxes.csv")
    with pytest.raises(BadLabels, match=sentence):
        deeplabcut.read(path, POSE, images)


_A = "labeled-data/v/a.png,10,20,30,40"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (_A, "labeled-data/v/a.png,10,20,30", "line 4: 4 cells, but the head has 5"),
        (_A, f"{_A},50", "line 4: 6 cells"),
        (_A, "labeled-data/v/a.png,10,20,thirty,40", "line 4: tail: .*'thirty'"),
        (_A, "labeled-data/v/a.png,10,,30,40", "line 4: nose has only one of x and y"),
        (_A, "labeled-data/v/a.png,10,20,64.6,40", "a in .*line 4: the key point tail .*outside"),
        (_A, "labeled-data/v/a.png,10,20,inf,40", "outside"),
        (_A, "labeled-data/v/a.png,10,20,30,-3", "outside"),
        (_A, ",10,20,30,40", "line 4: the row names no image"),
        (_A, f"{_A}\nlabeled-data/w/a.png,1,2,3,4", "image a twice, in the lines 4 and 5"),
        (_A, f"{_A}\nlabeled-data/v/a.jpg,,,,", "twice"),
        ("v/b.png", "v/z.png", "1 of the 2 images .*z"),
        ("nose,nose", "Nose,Nose", "'Nose' is written 'nose'"),
        ("nose,nose", "foot,foot", "'foot' is none of the task's"),
        ("nose,nose", "tail,tail", "has not the head"),
        ("nose,nose", "nose,tail", "has not the head"),
        ("coords,x,y,x,y", "coords,x,y,y,x", "has not the head"),
        ("coords,x,y,x,y", "coords,,,,", "has not the head"),
        ("coords,x,y,x,y", "coords,x,y", "has not the head"),
        ("coords,x,y,x,y", "\ncoords,x,y,x,y", "has not the head"),
        ("bodyparts,nose,nose,tail,tail", "individuals,a,a,a,a\n", "has not the head"),
        ("coords,x,y,x,y", "coords,x,y,likelihood,x", "what a model predicted"),
        (SINGLE[SINGLE.index("coords") :], "", "has not the head"),
        (SINGLE[SINGLE.index("labeled") :], "", "no labelled point at all"),
        (_A, f"{_A}\n\x00" + "x" * 200_000, "cannot be read as CSV|cells"),
    ],
)
def test_bad_files(tmp_path: Path, images: dict[str, Path], old: str, new: str, sentence: str):
    assert old in SINGLE
    path = _csv(tmp_path, SINGLE.replace(old, new))
    with pytest.raises(BadLabels, match=sentence):
        deeplabcut.read(path, POSE, images)


def test_a_class_that_the_file_cannot_tell(tmp_path: Path, images: dict[str, Path]):
    with pytest.raises(BadLabels, match=r"a in .*line 4: nothing tells which of mouse, rat"):
        deeplabcut.read(_csv(tmp_path, SINGLE), TWO, images)
    with pytest.raises(BadLabels, match="the animal bob is"):
        deeplabcut.read(_csv(tmp_path, SEVERAL.replace("rat_2", "bob")), TWO, images)


def test_bytes_that_are_no_text(tmp_path: Path, images: dict[str, Path]):
    path = _csv(tmp_path, SINGLE)
    path.write_bytes(path.read_bytes() + b"\xff\xfe")
    with pytest.raises(BadLabels, match="cannot be read as CSV"):
        deeplabcut.read(path, POSE, images)


def test_what_is_none_of_deeplabcuts(tmp_path: Path):
    for name, text in {"x.csv": "a,b\n1,2\n", "e.csv": "", "scorer.txt": SINGLE}.items():
        assert not deeplabcut.recognises(_csv(tmp_path, text, name))
    (tmp_path / "folder.csv").mkdir()
    assert not deeplabcut.recognises(tmp_path)
    assert not deeplabcut.recognises(tmp_path / "not there.csv")
    with pytest.raises(BadLabels, match="holds no labels of DeepLabCut"):
        deeplabcut.names(tmp_path)


def test_labels_of_two_videos(tmp_path: Path):
    _csv(tmp_path / "v", SINGLE)
    _csv(tmp_path / "w", SINGLE)
    assert deeplabcut.recognises(tmp_path)
    with pytest.raises(BadLabels, match=r"2 files of DeepLabCut .*one at a time"):
        deeplabcut.names(tmp_path)


def test_boxes_alone_cannot_be_written(tmp_path: Path):
    with pytest.raises(BadInput, match="key points only"):
        deeplabcut.write(LabelSet(LabelSpec(names=("mouse",)), {}), tmp_path)
    assert not list(tmp_path.iterdir())
