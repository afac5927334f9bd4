"""YOLO folders: their own names, or the task's; and what is wrong with them."""

import os
from pathlib import Path

import pytest

from components.errors import BadLabels
from components.labeling.formats import yolo
from components.labeling.objects import labelled_objects
from components.labeling.wanted import WantedLabels
from components.labels import read_yolo_labels
from tests.helpers.label_images import make_images

ROOT = Path(__file__).parents[4]
DATA = Path(os.environ.get("ACTVERSE_TEST_OPENFIELD", ROOT.parent / "shared/data/openfield"))
DISC, SQUARE = "0 0.5 0.5 0.2 0.25\n", "1 0.25 0.25 0.1 0.125\n"
POSE = "0 0.5 0.5 0.2 0.25 0.45 0.5 2 0.55 0.5 1\n"
WANTED = WantedLabels(names=("disc", "square"))
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 13)
)
"""600 bytes that are merged 9 ** 12 times."""


def _folder(path: Path, **texts: str) -> Path:
    for stem, text in texts.items():
        file = path / "labels" / f"{stem}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def _objects(path: Path, wanted: WantedLabels, images: dict[str, Path]):
    labels = yolo.read(path, wanted, images)
    return labels.spec, {
        stem: labelled_objects(frame.labels, labels.spec, frame.size_wh)
        for stem, frame in labels.frames.items()
    }


def test_ids_count_by_the_task_s_names_where_the_folder_names_none(tmp_path: Path):
    folder = _folder(tmp_path / "set", a=DISC + SQUARE, b="")
    images = make_images(tmp_path, "a", "b", "c")
    spec, found = _objects(folder, WANTED, images)
    assert spec.names == ("disc", "square")
    assert [item.name for item in found["a"]] == ["disc", "square"]
    assert found["a"][0].xyxy == pytest.approx((40, 30, 60, 50), abs=1e-4)
    assert found["b"] == []
    assert yolo.names(folder) == ["a", "b"]


@pytest.mark.parametrize("file", ["classes.txt", "labels/classes.txt", "obj.names", "data.yaml"])
def test_ids_count_by_the_folder_s_own_names(tmp_path: Path, file: str):
    folder = _folder(tmp_path / "set", a=DISC)
    named = "names: {0: square, 1: disc}\n" if file == "data.yaml" else "square\ndisc\n\n"
    (folder / file).write_text(named)
    images = make_images(tmp_path, "a")
    spec, found = _objects(folder, WANTED, images)
    assert spec.names == WANTED.names
    assert [item.name for item in found["a"]] == ["square"]
    assert _objects(folder, WantedLabels(), images)[0].names == ("square", "disc")


def test_a_name_that_the_task_does_not_have_is_refused_only_where_it_is_used(tmp_path: Path):
    folder = _folder(tmp_path / "set", a=SQUARE)
    images = make_images(tmp_path, "a")
    (folder / "classes.txt").write_text("rat\ndisc\n")
    assert _objects(folder, WANTED, images)[1]["a"][0].name == "disc"
    (folder / "classes.txt").write_text("disc\nrat\n")
    with pytest.raises(BadLabels, match=r"a\.txt: the class 'rat' is none of the task's"):
        yolo.read(folder, WANTED, images)
    (folder / "classes.txt").write_text("disc\nSquare\n")
    with pytest.raises(BadLabels, match="'Square' is written 'square'"):
        yolo.read(folder, WANTED, images)


def test_key_points_are_put_in_the_task_s_order_by_name(tmp_path: Path):
    folder = _folder(tmp_path / "set", a=POSE)
    (folder / "data.yaml").write_text(
        "names: [mouse]\nkpt_shape: [2, 3]\nkpt_names: {0: [left, right]}\nflip_idx: [1, 0]\n"
    )
    images = make_images(tmp_path, "a")
    wanted = WantedLabels("pose", ("mouse",), ("right", "left"))
    spec, found = _objects(folder, wanted, images)
    assert (spec.keypoints, spec.flip_idx) == (("right", "left"), (1, 0))
    assert found["a"][0].keypoints["left"] == pytest.approx((45, 40, 2), abs=1e-4)
    assert found["a"][0].keypoints["right"] == pytest.approx((55, 40, 1), abs=1e-4)
    assert _objects(folder, WantedLabels("pose"), images)[0].keypoints == ("left", "right")


def test_key_points_without_names_are_numbered(tmp_path: Path):
    folder = _folder(tmp_path / "set", a=POSE)
    (folder / "data.yaml").write_text("names: [mouse]\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\n")
    spec, _ = _objects(folder, WantedLabels("pose"), make_images(tmp_path, "a"))
    assert (spec.keypoints, spec.flip_idx) == (("point_0", "point_1"), (1, 0))


def test_boxes_are_taken_from_poses(tmp_path: Path):
    folder = _folder(tmp_path / "set", a=POSE)
    (folder / "data.yaml").write_text("names: [mouse]\nkpt_shape: [2, 3]\n")
    _, found = _objects(folder, WantedLabels(), make_images(tmp_path, "a"))
    assert found["a"][0].xyxy == pytest.approx((40, 30, 60, 50), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("names: [a\n", "cannot be read"),
        ("- 1\n", "cannot be read"),
        ("names: mouse\n", "not a list of texts"),
        ("names: {1: a, 2: b}\n", "do not count from 0 on"),
        ("names: [[a]]\n", "not a list of texts"),
        ("names: [a, a]\n", "repeat"),
        ("names: [a]\nkpt_shape: [3, 3]\nkpt_names: [x]\n", "3 key points and kpt_names 1"),
        ("names: [a]\nkpt_shape: [3, 3]\n", "3 key points, but the task has 2"),
        ("names: [a]\nkpt_names: [x, y]\nflip_idx: [0]\n", "flip_idx"),
        ("names: [caf\udce9]\n", "cannot be read"),
        ("a: &a [x]\nnames: *a\n", r"data\.yaml cannot be read .*the alias \*a; write out"),
        pytest.param(MERGED, "the alias", id="merged"),
        pytest.param("#" * 2**18 + "\n", "larger than 262144 bytes", id="large"),
    ],
)
def test_a_data_yaml_that_cannot_be_used_is_named(tmp_path: Path, text: str, sentence: str):
    folder = _folder(tmp_path / "set", a=POSE)
    (folder / "data.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadLabels, match=sentence):
        yolo.read(folder, WantedLabels("pose", ("a",), ("x", "y")), make_images(tmp_path, "a"))


def test_nobody_naming_the_classes_is_said(tmp_path: Path):
    folder = _folder(tmp_path / "set", a=DISC)
    with pytest.raises(BadLabels, match="--names"):
        yolo.read(folder, WantedLabels(), make_images(tmp_path, "a"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("9 0.5 0.5 0.1 0.1\n", r"a\.txt, line 1: class 9 is unknown"),
        ("0 0.5 0.5 0 0.1\n", r"line 1: the box has no area"),
        ("0 0.5 1.5 0.1 0.1\n", r"line 1: a coordinate lies outside"),
        ("0 0.01 0.5 0.5 0.1\n", r"a\.txt: a box of disc lies at -24, 36, outside the image"),
        (POSE, "11 values, but a detect label here has 5"),
        ("0 0.5 0.5 0.1 nan\n", "outside"),
    ],
)
def test_a_label_that_cannot_be_used_is_named(tmp_path: Path, text: str, sentence: str):
    folder = _folder(tmp_path / "set", a=text)
    with pytest.raises(BadLabels, match=sentence):
        yolo.read(folder, WANTED, make_images(tmp_path, "a"))


def test_labels_of_images_that_are_not_there_are_named(tmp_path: Path):
    folder = _folder(tmp_path / "set", a=DISC, b=DISC)
    with pytest.raises(BadLabels, match=r"1 of the 2 images .* \(b\)"):
        yolo.read(folder, WANTED, make_images(tmp_path, "a"))


def test_an_image_that_is_none_is_named(tmp_path: Path):
    folder = _folder(tmp_path / "set", a=DISC)
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(BadLabels, match=r"a\.png cannot be read"):
        yolo.read(folder, WANTED, {"a": tmp_path / "a.png"})


def test_a_folder_without_labels_is_none(tmp_path: Path):
    make_images(tmp_path / "images", "a")
    (tmp_path / "classes.txt").write_text("mouse\n")
    assert not yolo.recognises(tmp_path)
    with pytest.raises(BadLabels, match="holds no label file"):
        yolo.names(tmp_path)
    (tmp_path / "LICENSE-MIT.txt").write_text("Permission is hereby granted\n")
    assert not yolo.recognises(tmp_path)
    (tmp_path / "a.txt").write_text("oops")
    assert yolo.recognises(tmp_path)


def test_a_set_in_parts_with_a_readme_is_read(tmp_path: Path):
    # As Roboflow exports one.
    images = {}
    for part, stem in [("train", "a"), ("valid", "b")]:
        _folder(tmp_path / "set" / part, **{stem: DISC})
        images |= make_images(tmp_path / "set" / part / "images", stem)
    (tmp_path / "set" / "README.roboflow.txt").write_text("Exported in 2026\n")
    (tmp_path / "set" / "data.yaml").write_text("names: ['disc']\nnc: 1\n")
    assert yolo.recognises(tmp_path / "set")
    assert _objects(tmp_path / "set", WantedLabels(), images)[1].keys() == {"a", "b"}


def test_the_open_field_s_labels_are_read_as_they_stand():
    if not DATA.is_dir():
        pytest.skip("the open field is not here")
    wanted = WantedLabels("pose", ("mouse",), ("snout", "leftear", "rightear", "tailbase"))
    images = {path.stem: path for path in (DATA / "frames").iterdir()}
    labels = yolo.read(DATA / "labels", wanted, images)
    assert len(labels.frames) == len(list((DATA / "labels").iterdir())) == 116
    for stem, frame in labels.frames.items():
        there = read_yolo_labels(DATA / "labels" / f"{stem}.txt", labels.spec)
        assert frame.labels.boxes_cxcywhn == pytest.approx(there.boxes_cxcywhn, abs=1e-6)
        assert frame.labels.keypoints_xyvn == pytest.approx(there.keypoints_xyvn, abs=1e-6)
