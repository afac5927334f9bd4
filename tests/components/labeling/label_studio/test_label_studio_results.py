"""What we write for Label Studio and what it writes for us, without a server."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import BadLabels
from components.labeling.formats import open_format, recognise
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.label_studio.annotations import counting, labels_of, skipped
from components.labeling.label_studio.backend import project_title
from components.labeling.label_studio.label_config import label_config, names_of
from components.labeling.label_studio.results import result_of
from components.labeling.label_studio.tasks import import_task, read_findings
from components.labeling.objects import LabelledObject, frame_labels, labelled_objects
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec

SIZE = 640, 480
MICE = LabelSpec(names=("mouse", "rat"))
POSE = LabelSpec(task="pose", names=("mouse",), keypoints=("nose", "tail", "ear"))
POSES = LabelSpec(task="pose", names=("mouse", "rat"), keypoints=("nose", "tail", "ear"))
WHERE = "frame_000007"

_names = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), min_size=1),
    min_size=1,
    unique=True,
)


@settings(deadline=None)
@given(_names, _names)
def test_names_survive_the_configuration(names: list[str], points: list[str]) -> None:
    assert names_of(label_config(names, points)) == (tuple(names), tuple(points))
    assert names_of(label_config(names)) == (tuple(names), ())


def test_colours_and_keys_differ_and_points_can_be_hidden() -> None:
    from defusedxml import ElementTree

    root = ElementTree.fromstring(label_config([f"c{i}" for i in range(12)], ["nose", "tail"]))
    labels = list(root.iter("Label"))
    keys = [label.get("hotkey") for label in labels if label.get("hotkey")]
    assert len(keys) == len(set(keys)) == 12
    assert len({label.get("background") for label in labels}) == 14
    (choices,) = root.iter("Choices")
    assert (choices.get("perRegion"), choices.get("whenTagName")) == ("true", "point")
    assert not list(ElementTree.fromstring(label_config(["a"])).iter("Choices"))


def test_names_that_xml_cannot_hold_are_refused() -> None:
    with pytest.raises(BadLabels, match=r"x\\x01"):
        label_config(["x\x01"])
    for config in ("<View>", '<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>'):
        with pytest.raises(BadLabels, match="cannot be read"):
            names_of(config)


@st.composite
def _objects(draw: st.DrawFn) -> list[LabelledObject]:
    found = []
    for _ in range(draw(st.integers(0, 4))):
        left, top = draw(st.floats(0, 600)), draw(st.floats(0, 440))
        right, bottom = draw(st.floats(left + 1, 640)), draw(st.floats(top + 1, 480))
        points = {
            name: (draw(st.floats(0, 640)), draw(st.floats(0, 480)), draw(st.sampled_from([1, 2])))
            for name in draw(st.lists(st.sampled_from(POSES.keypoints), unique=True))
        }
        name = draw(st.sampled_from(POSES.names))
        found.append(LabelledObject(name, (left, top, right, bottom), points))
    return found


def assert_same(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(one.class_ids, other.class_ids)
    np.testing.assert_allclose(one.boxes_cxcywhn, other.boxes_cxcywhn, atol=1e-6)
    np.testing.assert_allclose(one.keypoints_xyvn, other.keypoints_xyvn, atol=1e-6)


@settings(deadline=None)
@given(_objects())
def test_objects_are_read_back_as_they_were_written(objects: list[LabelledObject]) -> None:
    before = frame_labels(objects, POSES, SIZE, WHERE)
    result = json.loads(json.dumps(result_of(objects, SIZE)))
    assert_same(labels_of({"result": result}, POSES, SIZE, WHERE), before)
    ids = [item["id"] for item in result if item["type"] != "choices"]
    assert len(ids) == len(set(ids))
    assert result == result_of(objects, SIZE)


@settings(deadline=None, max_examples=25)
@given(_objects())
def test_an_exported_file_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, objects: list[LabelledObject]
) -> None:
    folder = tmp_path_factory.mktemp("export")
    image = folder / "frame_000007.png"
    cv2.imwrite(str(image), np.zeros((480, 640), np.uint8))
    frame = LabelledFrame(image.name, SIZE, frame_labels(objects, POSES, SIZE, WHERE))
    written = folder / "written"
    written.mkdir()
    module = open_format("label-studio")
    module.write(LabelSet(POSES, {WHERE: frame}, frozenset({"frame_000008"})), written)
    assert recognise(written) == "label-studio"
    assert module.names(written) == [WHERE]
    images = {WHERE: image, "frame_000008": image}
    found = module.read(written, WantedLabels(task="pose"), images)
    assert found.spec == POSES
    assert found.skipped == {"frame_000008"}
    assert found.frames[WHERE].file == image.name
    assert_same(found.frames[WHERE].labels, frame.labels)


def box(name: str, left: float, top: float, right: float, bottom: float, **more: Any) -> Any:
    """A region in percent, as a person draws it."""
    value = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0}
    return {
        "id": more.pop("id", f"{name}{left}"),
        "type": "rectanglelabels",
        "value": value | {"rectanglelabels": [name]} | more,
    }


def point(name: str, x: float, y: float, **more: Any) -> Any:
    return {
        "id": f"{name}{x}{y}",
        "type": "keypointlabels",
        "value": {"x": x, "y": y, "width": 0.5, "keypointlabels": [name]},
    } | more


def objects_in(
    *result: Any, spec: LabelSpec = POSE, size: tuple[int, int] = (100, 100)
) -> list[LabelledObject]:
    labels = labels_of({"result": list(result)}, spec, size, WHERE)
    return labelled_objects(labels, spec, size)


def test_a_point_belongs_to_its_parent_else_the_smallest_box_around_it_else_the_nearest() -> None:
    large, small = box("mouse", 0, 0, 90, 90), box("mouse", 40, 40, 60, 60)
    inner = point("nose", 50, 50)
    first, second = objects_in(large, small, inner)
    assert (first.keypoints, list(second.keypoints)) == ({}, ["nose"])
    first, second = objects_in(large, small, inner | {"parentID": large["id"]})
    assert (list(first.keypoints), second.keypoints) == (["nose"], {})
    # The one that names its parent comes first, wherever it stands.
    first, second = objects_in(
        large, small, inner, point("nose", 51, 51) | {"parentID": small["id"]}
    )
    assert first.keypoints["nose"][:2] == pytest.approx((50, 50))
    assert second.keypoints["nose"][:2] == pytest.approx((51, 51))
    # A second nose in the small box is the large one's.
    first, second = objects_in(large, small, inner, point("nose", 45, 45))
    assert first.keypoints["nose"][:2] == pytest.approx((45, 45))
    left, right = box("mouse", 0, 0, 20, 20), box("mouse", 60, 0, 80, 20)
    first, second = objects_in(left, right, point("tail", 45, 10), point("tail", 55, 10))
    assert (list(first.keypoints), list(second.keypoints)) == (["tail"], ["tail"])
    assert second.keypoints["tail"][0] == pytest.approx(45)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ([box("mouse", 0, 0, 20, 20), *[point("nose", x, 10) for x in (5, 6)]], "one more|more"),
        (
            [box("mouse", 0, 0, 9, 9), point("nose", 5, 5), point("nose", 6, 6)],
            "more than there are boxes",
        ),
        (
            [box("mouse", 0, 0, 20, 20), box("mouse", 60, 0, 80, 20), point("nose", 40, 10)],
            "two boxes",
        ),
        ([point("nose", 5, 5), point("nose", 6, 6)], "several objects and no box"),
        ([box("mouse", 0, 0, 20, 20) | {"type": "polygonlabels"}], "polygonlabels"),
        ([box("mouse", 0, 0, 20, 20, rectanglelabels=[])], "no label"),
        ([box("mouse", 0, 0, 20, 20, rectanglelabels=["mouse", "rat"])], "several labels"),
        ([box("Mouse", 0, 0, 20, 20)], "written 'mouse'"),
        ([box("cat", 0, 0, 20, 20)], "'cat' is none"),
        ([box("mouse", 90, 0, 120, 20)], "outside"),
        ([box("mouse", 20, 0, 20, 20)], "no area"),
        ([box("mouse", 0, 0, 20, 20) | {"image_rotation": 90}], "turned"),
        ([{"type": "rectanglelabels"}], "not as Label Studio writes it"),
        ([{"type": "rectanglelabels", "value": {"x": None, "rectanglelabels": ["mouse"]}}], "not"),
        (["x"], "not as Label Studio writes it"),
        ([box("mouse", float("nan"), 0, 20, 20)], "outside"),
    ],
)
def test_what_is_wrong_is_said_with_the_frame(result: list[Any], said: str) -> None:
    with pytest.raises(BadLabels, match=f"frame_000007.*({said})"):
        objects_in(*result)


def test_points_without_a_box_are_one_object_of_the_one_class() -> None:
    (found,) = objects_in(point("nose", 20, 20), point("tail", 40, 40))
    assert found.name == "mouse"
    assert found.xyxy == pytest.approx((18, 18, 42, 42))
    with pytest.raises(BadLabels, match="says of what"):
        objects_in(point("nose", 20, 20), spec=POSES)


def test_a_turned_box_counts_as_the_upright_one_around_it() -> None:
    # A quarter to the right, around its left top corner.
    (found,) = objects_in(box("mouse", 50, 25, 70, 35, rotation=90), size=(200, 100))
    assert found.xyxy == pytest.approx((90, 25, 100, 65), abs=1e-4)
    (found,) = objects_in(box("mouse", 80, 80, 100, 100, rotation=45))
    assert found.xyxy == pytest.approx((80 - 14.1421, 80, 94.1421, 100), abs=1e-3)


def test_labels_and_shapes_of_their_own_are_read_and_remarks_are_not() -> None:
    shape = box("mouse", 10, 10, 20, 20, id="a")
    value = {key: shape["value"][key] for key in ("x", "y", "width", "height")}
    (found,) = objects_in(
        {"id": "a", "type": "rectangle", "value": value},
        {"id": "a", "type": "labels", "value": value | {"labels": ["mouse"]}},
        {"id": "b", "type": "choices", "value": {"choices": ["blurred"]}},
        {"id": "c", "type": "textarea", "value": {"text": ["hm"]}},
        {"type": "relation", "from_id": "a", "to_id": "a"},
    )
    assert found.xyxy == pytest.approx((10, 10, 20, 20))
    assert objects_in() == []


def test_points_are_no_matter_in_detection() -> None:
    (found,) = objects_in(box("rat", 0, 0, 9, 9), point("x", 5, 5), point("x", 6, 6), spec=MICE)
    assert (found.name, found.keypoints) == ("rat", {})
    with pytest.raises(BadLabels, match="draw it"):
        objects_in(point("x", 5, 5), spec=MICE)


def submitted(number: int, minute: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "updated_at": f"2026-01-01T10:{minute:02}:00Z",
        "was_cancelled": False,
        "ground_truth": False,
    } | more


def test_the_annotation_that_counts() -> None:
    old, new = submitted(2, 5), submitted(1, 6)
    cancelled = submitted(3, 59, was_cancelled=True)
    truth = submitted(4, 1, ground_truth=True)
    assert counting([new, old, cancelled]) is new
    assert counting([new, truth, old]) is truth
    assert counting([submitted(1, 5), old]) is old
    assert counting([cancelled]) is None
    assert counting([]) is None
    assert counting([truth | {"was_cancelled": True}, old]) == old
    # An export may name another zone, or no time at all.
    east = submitted(9, 0) | {"updated_at": "2026-01-01T11:05:30.5+01:00"}
    assert counting([old, east]) is east
    assert counting([{"id": 7, "result": []}, old]) is old
    assert [skipped(each) for each in ([], [cancelled], [cancelled, old])] == [False, True, False]


def test_findings_come_in_the_tasks_words(tmp_path: Path) -> None:
    path = tmp_path / "frame_000007.txt"
    path.write_text("1 .5 .5 .5 .5 .9\n0 .2 .2 .2 .2 .8\n2 .9 .9 .4 .4 .7\n")
    found = read_findings(path, ["dog", "mouse", "rat"], MICE, (100, 100))
    assert [one.object.name for one in found] == ["mouse", "rat"]
    assert [one.score for one in found] == [0.9, 0.7]
    assert found[1].object.xyxy == pytest.approx((70, 70, 100, 100))
    path.write_text("0 .5 .5 .5 .5 .1 .1 .9 .2 .2 .9 .3 .3 .24 .9\n")
    (animal,) = read_findings(path, ["mouse"], POSE, (100, 100))
    assert animal.object.name == "mouse"
    assert animal.object.keypoints == {
        "nose": (pytest.approx(10), pytest.approx(10), 2),
        "tail": (pytest.approx(20), pytest.approx(20), 2),
    }
    assert read_findings(path, ["animal"], POSES, (100, 100)) == []
    (bare,) = read_findings(path, ["mouse"], LabelSpec(names=("mouse",)), (100, 100))
    assert bare.object.keypoints == {}
    for text in ("0 .5\n", "3 .5 .5 .5 .5 .9\n", "0 .5 .5 x .5 .9\n", "0 .5 .5 nan .5 .9\n"):
        path.write_text(text)
        with pytest.raises(BadLabels, match=r"frame_000007\.txt, line 1"):
            read_findings(path, ["animal"], MICE, (100, 100))


def test_a_task_without_findings_has_no_prediction() -> None:
    assert import_task("x", "frame_1", SIZE) == {
        "data": {"image": "x", "frame": "frame_1", "width": 640, "height": 480}
    }


def test_titles_keep_the_task() -> None:
    assert project_title("a-t-1", "t-1") == "a-t-1"
    assert project_title("x" * 45 + "-t-0123", "t-0123") == "x" * 43 + "-t-0123"
    # An id that is too long for it gives way to a digest.
    first, second = (project_title(f"x-{'t' * count}", "t" * count) for count in (60, 61))
    assert first != second
    assert max(len(first), len(second)) <= 50


def export(folder: Path, *tasks: Any) -> Path:
    file = folder / "project-1.json"
    file.write_text(json.dumps(tasks))
    return file


def exported(image: str, *result: Any, **more: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": list(result)} | more]}


@pytest.mark.parametrize(
    "image",
    [
        "/data/local-files/?d=frames/t-1/frame_000120.jpg",
        "/data/upload/1/abc123-frame_000120.jpg",
        "/data/upload/1/0a1b2c3d-frame_000120.jpg",
        "s3://bucket/a/frame_000120.jpg",
        "https://host/a%20b/frame_000120.jpg?signature=x.png",
        "C:\\mice\\frame_000120.jpg",
        "frame_000120.jpg",
    ],
)
def test_images_of_an_export_are_known_by_their_names(tmp_path: Path, image: str) -> None:
    picture = tmp_path / "frame_000120.jpg"
    cv2.imwrite(str(picture), np.zeros((48, 64), np.uint8))
    file = export(
        tmp_path,
        exported(image, box("rat", 0, 0, 50, 50)),
        {"id": 2, "data": {"image": "other.jpg"}, "annotations": []},
    )
    module = open_format("label-studio")
    assert module.names(file) == ["frame_000120"]
    found = module.read(file, WantedLabels(), {picture.stem: picture})
    assert found.objects == {"rat": 1}
    assert found.frames.keys() == {"frame_000120"}


def test_an_export_that_cannot_be_used_is_refused_whole(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    cv2.imwrite(str(picture), np.zeros((48, 64), np.uint8))
    module = open_format("label-studio")
    images = {"a": picture}
    file = export(tmp_path, exported("a.jpg", box("rat", 0, 0, 150, 50)))
    with pytest.raises(BadLabels, match=r"a in project-1\.json.*outside"):
        module.read(file, WantedLabels(), images)
    file = export(tmp_path, exported("b.jpg", box("rat", 0, 0, 50, 50)))
    with pytest.raises(BadLabels, match="b"):
        module.read(file, WantedLabels(), images)
    file = export(tmp_path, {"data": {"text": "x"}, "annotations": [{"result": []}]})
    with pytest.raises(BadLabels, match="names no image"):
        module.names(file)
    with pytest.raises(BadLabels, match="names no image"):
        module.read(file, WantedLabels(), images)
    # All but the first is no annotation of anything.
    file = export(tmp_path, exported("a.jpg", 1, "x", {"value": 3}))
    with pytest.raises(BadLabels, match="a in"):
        module.read(file, WantedLabels(names=("rat",)), images)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[{}]", '[{"data": {}}]', "[" * 9999, '[{"a'])
def test_other_json_is_not_taken_for_an_export(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    assert not open_format("label-studio").recognises(file)
    with pytest.raises(BadLabels):
        open_format("label-studio").names(file)
