"""COCO files: as pycocotools reads and other tools write them; and what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.errors import BadLabels
from components.labeling.formats import coco
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels, labelled_objects
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec
from tests.helpers.label_images import make_images

WANTED = WantedLabels(names=("mouse",))
POSE = WantedLabels("pose", ("mouse",), ("nose", "tail"))


def _coco(**changes: Any) -> dict[str, Any]:
    """One image of 100 x 80 with one mouse."""
    image = {"id": 7, "file_name": "videos/a.png", "width": 100, "height": 80}
    annotation = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 40]}
    return {
        "info": {"year": 2026},
        "categories": [{"id": 3, "name": "mouse", "supercategory": "animal"}],
        "images": [image],
        "annotations": [annotation],
    } | changes


def _annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 40]} | changes


def _save(folder: Path, data: dict[str, Any]) -> Path:
    path = folder / "labels.json"
    path.write_text(json.dumps(data))
    return path


def _read(folder: Path, data: dict[str, Any], wanted: WantedLabels = WANTED) -> LabelSet:
    return coco.read(_save(folder, data), wanted, make_images(folder, "a", "b"))


def _objects(labels: LabelSet, stem: str = "a") -> list[LabelledObject]:
    frame = labels.frames[stem]
    return labelled_objects(frame.labels, labels.spec, frame.size_wh)


def test_a_box_is_read_and_an_image_without_any_is_a_confirmed_negative(tmp_path: Path):
    data = _coco()
    data["images"].append({"id": 8, "file_name": "b.png", "width": 100, "height": 80})
    labels = _read(tmp_path, data)
    assert _objects(labels)[0].xyxy == pytest.approx((10, 20, 40, 60), abs=1e-4)
    assert _objects(labels, "b") == []
    assert coco.names(tmp_path / "labels.json") == ["a", "b"]


def test_what_cvat_exports_of_a_skeleton_is_read(tmp_path: Path):
    # The lists and attributes that CVAT's "COCO Keypoints 1.0" has, in its order.
    data = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "version": "", "year": ""},
        "categories": [
            {
                "id": 1,
                "name": "mouse",
                "supercategory": "",
                "keypoints": ["tail", "nose"],
                "skeleton": [[1, 2]],
            }
        ],
        "images": [
            {
                "id": 1,
                "width": 100,
                "height": 80,
                "file_name": "a.png",
                "license": 0,
                "flickr_url": "",
                "coco_url": "",
                "date_captured": 0,
            }
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "segmentation": [],
                "area": 600.0,
                "bbox": [10.0, 20.0, 20.0, 30.0],
                "iscrowd": 0,
                "attributes": {"occluded": False, "keyframe": True},
                "keypoints": [12.5, 22.0, 1, 28.0, 48.0, 2],
                "num_keypoints": 2,
            }
        ],
    }
    item = _objects(_read(tmp_path, data, POSE))[0]
    assert item.xyxy == pytest.approx((10, 20, 30, 50), abs=1e-4)
    assert item.keypoints["tail"] == pytest.approx((12.5, 22, 1), abs=1e-4)
    assert item.keypoints["nose"] == pytest.approx((28, 48, 2), abs=1e-4)


def test_key_points_without_names_count_by_the_task_s(tmp_path: Path):
    data = _coco(annotations=[_annotation(keypoints=[11, 21, 2, 0, 0, 0])])
    item = _objects(_read(tmp_path, data, POSE))[0]
    assert item.keypoints == {"nose": pytest.approx((11, 21, 2), abs=1e-4)}


def test_a_pose_without_a_box_gets_one(tmp_path: Path):
    pose = [20, 20, 2, 40, 40, 2]
    data = _coco(annotations=[_annotation(bbox=None, keypoints=pose)])
    assert _objects(_read(tmp_path, data, POSE))[0].xyxy == pytest.approx((18, 18, 42, 42))


def test_a_box_is_drawn_around_polygons(tmp_path: Path):
    polygons = [[10, 20, 30, 20, 30, 25], [12, 22, 14, 50, 8, 30]]
    data = _coco(annotations=[_annotation(bbox=[], segmentation=polygons)])
    found = _objects(_read(tmp_path, data))[0]
    assert found.xyxy == pytest.approx((8, 20, 30, 50), abs=1e-4)


def test_a_crowd_is_no_object_and_no_negative_either(tmp_path: Path):
    crowd = _annotation(iscrowd=1, segmentation={"counts": [0, 8000], "size": [80, 100]})
    data = _coco(annotations=[crowd, _annotation(id=2, image_id=8), crowd | {"image_id": 8}])
    data["images"].append({"id": 8, "file_name": "b.png", "width": 100, "height": 80})
    labels = _read(tmp_path, data)
    assert labels.frames.keys() == {"b"}
    assert labels.skipped == {"a"}
    assert len(_objects(labels, "b")) == 1
    assert coco.names(tmp_path / "labels.json") == ["b"]


def test_a_category_that_nothing_is_of_may_be_any(tmp_path: Path):
    data = _coco()
    data["categories"].append({"id": 0, "name": "animal", "keypoints": None})
    assert _read(tmp_path, data).spec.names == ("mouse",)
    assert _read(tmp_path, data, WantedLabels()).spec.names == ("animal", "mouse")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"categories": [{"id": 3, "name": "Mouse"}]}, "'Mouse' is written 'mouse' in the task"),
        ({"categories": [{"id": 3, "name": "rat"}]}, "the class 'rat' is none of the task's"),
        ({"categories": []}, "there is no category 3"),
        ({"categories": [{"id": 3, "name": "mouse"}] * 2}, "two categories of one id"),
        ({"categories": [{"id": 3}]}, r"at categories\.0\.name"),
        ({"images": []}, "the image 7, which is not among its images"),
        (
            {"images": [{"id": 7, "file_name": "a.png", "width": 640, "height": 480}]},
            r"a\.png in labels\.json: .* 640 x 480, but a\.png has 100 x 80",
        ),
        (
            {"images": [{"id": 7, "file_name": "z.png", "width": 100, "height": 80}]},
            r"1 of the 1 images that labels\.json labels belong to no image .*\(z\)",
        ),
        (
            {"images": [{"id": i, "file_name": f"{i}/a.png"} for i in (7, 8)]},
            r"7/a\.png and 8/a\.png in labels\.json share a name",
        ),
        ({"images": [{"id": 7, "file_name": "a.png"}] * 2}, "two images of one id"),
        ({"images": [{"id": 7, "file_name": ".."}]}, "names an image"),
        ({"annotations": [_annotation(bbox=[90, 20, 30, 40])]}, "outside the image of 100 x 80"),
        ({"annotations": [_annotation(bbox=[10, 20, 0, 40])]}, "has no area"),
        ({"annotations": [_annotation(bbox=[10, 20, -5, 40])]}, "has no area"),
        ({"annotations": [_annotation(bbox=[10, 20, 1e999, 40])]}, "outside the image"),
        ({"annotations": [_annotation(bbox=[10, 20, 30])]}, "has 3 values; write 4"),
        ({"annotations": [_annotation(bbox=["x", 2, 3, 4])]}, r"at annotations\.0\.bbox\.0"),
        ({"annotations": [_annotation(bbox=None)]}, "has no bbox"),
        (
            {"annotations": [_annotation(bbox=None, segmentation={"counts": "x", "size": [1, 1]})]},
            "its segmentation is none of polygons",
        ),
        ({"annotations": None}, "at annotations"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], sentence: str):
    with pytest.raises(BadLabels, match=sentence):
        _read(tmp_path, _coco(**changes))


@pytest.mark.parametrize(
    ("keypoints", "sentence"),
    [
        ([1, 2, 2], r"3 values for the key points of mouse, but 2 key points \(nose, tail\)"),
        ([11, 21, 3, 0, 0, 0], "the visibility of the key point nose is 3"),
        ([11, 210, 2, 0, 0, 0], "the key point nose lies at 11, 210, outside"),
    ],
)
def test_key_points_that_cannot_be_used_are_named(tmp_path: Path, keypoints, sentence: str):
    with pytest.raises(BadLabels, match=sentence):
        _read(tmp_path, _coco(annotations=[_annotation(keypoints=keypoints)]), POSE)


@pytest.mark.parametrize("wrong", ["Nose", "ear"])
def test_a_key_point_of_another_name_is_named(tmp_path: Path, wrong: str):
    category = {"id": 3, "name": "mouse", "keypoints": [wrong, "tail"]}
    points = [_annotation(keypoints=[11, 21, 2, 0, 0, 0])]
    with pytest.raises(BadLabels, match=f"the key point '{wrong}' is"):
        _read(tmp_path, _coco(categories=[category], annotations=points), POSE)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(_coco()).encode()[:-40],
        json.dumps(_coco()).replace("mouse", "m\udcfcse").encode("utf-8", "surrogateescape"),
        json.dumps(_coco()).encode()[:-1] + b"," + b'"x":' + b"[" * 5000,
    ],
)
def test_json_that_is_cut_off_or_no_utf_8_is_recognised_and_named(tmp_path: Path, content: bytes):
    path = tmp_path / "labels.json"
    path.write_bytes(content.replace(b"\\udcfc", b"\xfc"))
    assert coco.recognises(path)
    with pytest.raises(BadLabels, match=r"labels\.json cannot be read as COCO"):
        coco.names(path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(_coco()), encoding="utf-8-sig")
    assert coco.recognises(path)
    assert coco.names(path) == ["a"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'[{"annotations": [{}]}]', b'{"categories": [], "info": {}}']
)
def test_other_json_is_not_recognised(tmp_path: Path, content: bytes):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert not coco.recognises(path)


def test_what_is_written_is_what_pycocotools_reads(tmp_path: Path):
    from pycocotools.coco import COCO

    spec = LabelSpec(task="pose", names=("rat", "mouse"), keypoints=("nose", "tail"))
    item = LabelledObject("mouse", (10, 20, 40, 60), {"tail": (12, 30, 1)})
    labels = frame_labels([item], spec, (100, 80), "a")
    nothing = frame_labels([], spec, (100, 80), "b")
    frames = {
        "a": LabelledFrame("a.png", (100, 80), labels),
        "b": LabelledFrame("b.png", (100, 80), nothing),
    }
    coco.write(LabelSet(spec, frames), tmp_path)
    loaded = COCO(str(tmp_path / "annotations" / "person_keypoints_default.json"))
    assert [image["file_name"] for image in loaded.imgs.values()] == ["a.png", "b.png"]
    (found,) = loaded.loadAnns(loaded.getAnnIds(catIds=loaded.getCatIds(["mouse"])))
    assert loaded.imgs[found["image_id"]]["file_name"] == "a.png"
    assert found["bbox"] == pytest.approx([10, 20, 30, 40], abs=1e-3)
    assert found["area"] == pytest.approx(1200, abs=0.1)
    assert found["keypoints"] == pytest.approx([0, 0, 0, 12, 30, 1], abs=1e-3)
    assert found["num_keypoints"] == 1
    assert loaded.loadCats([found["category_id"]])[0]["keypoints"] == ["nose", "tail"]


def test_categories_that_differ_only_in_their_case_are_no_two_classes(tmp_path: Path):
    data = _coco()
    data["categories"].append({"id": 4, "name": "Mouse"})
    with pytest.raises(BadLabels, match="class names 'mouse' and 'Mouse' repeat one name"):
        _read(tmp_path, data, WantedLabels())
    # Where the task names its own, one that nothing is of may be any.
    assert len(_objects(_read(tmp_path, data))) == 1
