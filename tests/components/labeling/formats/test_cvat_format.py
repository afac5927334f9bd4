"""CVAT's XML as CVAT writes it; what belongs together; and what is wrong with it."""

from pathlib import Path

import pytest

from components.errors import BadLabels
from components.labeling.formats import cvat
from components.labeling.label_set import LabelSet
from components.labeling.objects import LabelledObject, labelled_objects
from components.labeling.wanted import WantedLabels
from tests.helpers.label_images import make_images

# After CVAT's documentation of the format, with its attributes and their order.
SAMPLE = """\
<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>4</id>
      <name>open field</name>
      <size>3</size>
      <mode>interpolation</mode>
      <overlap>0</overlap>
      <labels>
        <label>
          <name>mouse</name>
          <color>#ff6037</color>
          <type>skeleton</type>
          <attributes></attributes>
          <svg>&lt;circle r="0.75" cx="50" cy="50" /&gt;</svg>
        </label>
        <label>
          <name>nose</name>
          <color>#d12345</color>
          <type>points</type>
          <attributes></attributes>
          <parent>mouse</parent>
        </label>
        <label>
          <name>tail</name>
          <color>#350dea</color>
          <type>points</type>
          <attributes></attributes>
          <parent>mouse</parent>
        </label>
        <label>
          <name>ball</name>
          <color>#00ff00</color>
          <type>rectangle</type>
          <attributes></attributes>
        </label>
        <label>
          <name>good_frame</name>
          <color>#00ff00</color>
          <type>tag</type>
          <attributes></attributes>
        </label>
      </labels>
    </task>
    <dumped>2026-11-23 10:00:00.000000+00:00</dumped>
  </meta>
  <image id="0" name="day 1/a.png" width="100" height="80">
    <skeleton label="mouse" source="manual" z_order="0" group_id="1">
      <points label="nose" source="manual" outside="0" occluded="1" points="12.00,22.50">
      </points>
      <points label="tail" source="manual" outside="1" occluded="0" points="38.00,58.00">
      </points>
      <attribute name="track">7</attribute>
    </skeleton>
    <box label="mouse" source="manual" occluded="0" xtl="10.00" ytl="20.00" xbr="40.00"
         ybr="60.00" z_order="0" group_id="1">
      <attribute name="sex">f</attribute>
    </box>
    <box label="ball" source="auto" occluded="1" xtl="50.10" ytl="5.00" xbr="70.00" ybr="25.25"
         z_order="1">
    </box>
    <tag label="good_frame" source="manual">
    </tag>
  </image>
  <image id="1" name="b.png" width="100" height="80">
  </image>
</annotations>
"""
WANTED = WantedLabels("pose", ("mouse", "ball"), ("nose", "tail"))
BOXES = WantedLabels(names=("mouse", "ball"))


def _save(folder: Path, text: str) -> Path:
    path = folder / "annotations.xml"
    path.write_text(text, encoding="utf-8")
    return path


def _read(folder: Path, text: str, wanted: WantedLabels = WANTED) -> LabelSet:
    return cvat.read(_save(folder, text), wanted, make_images(folder, "a", "b"))


def _objects(labels: LabelSet, stem: str = "a") -> list[LabelledObject]:
    frame = labels.frames[stem]
    return labelled_objects(frame.labels, labels.spec, frame.size_wh)


def _image(*shapes: str) -> str:
    return (
        '<annotations><version>1.1</version><image id="0" name="a.png" width="100" height="80">'
        f"{''.join(shapes)}</image></annotations>"
    )


def _box(label: str, xyxy: tuple[float, ...], more: str = "") -> str:
    x1, y1, x2, y2 = xyxy
    return f'<box label="{label}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" {more}/>'


def _skeleton(label: str, more: str = "", **points: str) -> str:
    inside = "".join(f'<points label="{n}" points="{p}"/>' for n, p in points.items())
    return f'<skeleton label="{label}" {more}>{inside}</skeleton>'


def _point(label: str, points: str, more: str = "") -> str:
    return f'<points label="{label}" points="{points}" {more}/>'


def test_what_cvat_writes_is_read(tmp_path: Path):
    labels = _read(tmp_path, SAMPLE)
    mouse, ball = _objects(labels)
    assert (mouse.name, ball.name) == ("mouse", "ball")
    assert mouse.xyxy == pytest.approx((10, 20, 40, 60), abs=1e-4)
    # Occluded is hidden, outside is not labelled.
    assert mouse.keypoints == {"nose": pytest.approx((12, 22.5, 1), abs=1e-4)}
    assert ball.xyxy == pytest.approx((50.1, 5, 70, 25.25), abs=1e-4)
    assert ball.keypoints == {}
    assert _objects(labels, "b") == []
    assert cvat.names(tmp_path / "annotations.xml") == ["a", "b"]


def test_classes_and_key_points_are_named_by_the_file_where_the_task_does_not(tmp_path: Path):
    spec = _read(tmp_path, SAMPLE, WantedLabels("pose")).spec
    assert (spec.names, spec.keypoints) == (("mouse", "ball"), ("nose", "tail"))
    without_list = _image(
        _box("mouse", (10, 20, 40, 60)),
        _skeleton("mouse", nose="12,22"),
        _point("tail", "30,40"),
        _box("ball", (50, 5, 70, 25)),
    )
    labels = _read(tmp_path, without_list, WantedLabels("pose"))
    assert (labels.spec.names, labels.spec.keypoints) == (("mouse", "ball"), ("nose", "tail"))
    assert _objects(labels)[0].keypoints.keys() == {"nose", "tail"}


def test_boxes_alone_are_read_for_detection(tmp_path: Path):
    labels = _read(tmp_path, SAMPLE, BOXES)
    assert [item.name for item in _objects(labels)] == ["mouse", "ball"]
    assert labels.spec.keypoints == ()


LEFT, RIGHT, BOTH = (10, 10, 40, 40), (50, 10, 80, 40), (5, 5, 85, 60)


def test_what_lies_in_one_box_alone_belongs_to_it(tmp_path: Path):
    text = _image(
        _box("mouse", LEFT),
        _box("mouse", BOTH),
        # In both boxes; but the first one has its skeleton already.
        _skeleton("mouse", nose="20,20", tail="30,30"),
        _skeleton("mouse", nose="60,20", tail="30,30"),
    )
    with pytest.raises(BadLabels, match="a skeleton of mouse is in several boxes"):
        _read(tmp_path, text.replace('points="60,20"', 'points="20,20"'))
    first, second = _objects(_read(tmp_path, text))
    assert first.keypoints["nose"] == pytest.approx((20, 20, 2), abs=1e-4)
    assert second.keypoints["nose"] == pytest.approx((60, 20, 2), abs=1e-4)


def test_points_on_their_own_belong_to_the_box_around_them(tmp_path: Path):
    text = _image(
        _point("nose", "20,20"),
        _point("nose", "60,20", 'occluded="1"'),
        _point("tail", "70,30"),
        _box("mouse", LEFT),
        _box("mouse", RIGHT),
    )
    left, right = _objects(_read(tmp_path, text))
    assert left.keypoints == {"nose": pytest.approx((20, 20, 2), abs=1e-4)}
    assert right.keypoints["nose"] == pytest.approx((60, 20, 1), abs=1e-4)
    assert right.keypoints.keys() == {"nose", "tail"}


def test_a_group_goes_before_the_place(tmp_path: Path):
    text = _image(
        _box("mouse", LEFT, 'group_id="1"'),
        _box("mouse", BOTH, 'group_id="2"'),
        _skeleton("mouse", 'group_id="2"', nose="20,20"),
        _point("nose", "90,70", 'group_id="1"'),
    )
    left, both = _objects(_read(tmp_path, text))
    assert left.keypoints["nose"] == pytest.approx((90, 70, 2), abs=1e-4)
    assert both.keypoints["nose"] == pytest.approx((20, 20, 2), abs=1e-4)


def test_a_box_may_be_called_otherwise_than_its_skeleton(tmp_path: Path):
    # Two labels of a CVAT task cannot share a name.
    text = _image(_box("mouse box", LEFT), _skeleton("mouse", nose="20,20"))
    (item,) = _objects(_read(tmp_path, text))
    assert item.name == "mouse"
    assert item.xyxy == pytest.approx(LEFT, abs=1e-4)


def test_a_skeleton_without_a_box_gets_one(tmp_path: Path):
    text = _image(_skeleton("mouse", nose="20,20", tail="40,40"), _box("ball", LEFT))
    ball, mouse = _objects(_read(tmp_path, text))
    assert (ball.name, ball.keypoints) == ("ball", {})
    assert mouse.xyxy == pytest.approx((18, 18, 42, 42), abs=1e-4)


def test_points_of_a_class_are_its_key_points_in_order(tmp_path: Path):
    text = _image(_point("mouse", "20,20;30,30"), _box("mouse", LEFT))
    (item,) = _objects(_read(tmp_path, text))
    assert item.keypoints["tail"] == pytest.approx((30, 30, 2), abs=1e-4)


def test_for_detection_a_box_is_drawn_around_points_that_have_none(tmp_path: Path):
    text = _image(
        _point("mouse", "20,20;40,30"),
        _box("ball", (15, 15, 45, 45)),
        _point("ball", "60,20;70,30"),
        _box("ball", RIGHT),
    )
    *balls, mouse = _objects(_read(tmp_path, text, BOXES))
    assert [ball.name for ball in balls] == ["ball", "ball"]
    assert (mouse.name, mouse.keypoints) == ("mouse", {})
    assert mouse.xyxy == pytest.approx((18, 18, 42, 32), abs=1e-4)


def test_for_detection_key_points_in_boxes_are_left_out(tmp_path: Path):
    text = _image(
        _box("mouse", LEFT),
        _box("mouse", RIGHT),
        _point("nose", "20,20;60,20"),
        _point("tail", "30,30"),
        _point("mouse", "30,30"),
    )
    left, right = _objects(_read(tmp_path, text, BOXES))
    assert left.xyxy == pytest.approx(LEFT, abs=1e-4)
    assert right.xyxy == pytest.approx(RIGHT, abs=1e-4)


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ([_point("mouse", "20,20")], r"a\.png in annotations\.xml: the point mouse is in no box"),
        ([_point("mouse", "20,20;20,20")], "the point mouse is in no box"),
        ([_point("mouse", "20,20"), _box("ball", LEFT)], "the point mouse is in no box"),
        ([_point("nose", "20,20")], "the point nose is in no box"),
        ([_point("Mouse", "20,20;30,30")], "'Mouse' is written 'mouse'"),
        ([_point("mouse", "20;30")], "the points '20;30' of mouse are none"),
    ],
)
def test_for_detection_no_point_vanishes(tmp_path: Path, shapes: list[str], sentence: str):
    with pytest.raises(BadLabels, match=sentence):
        _read(tmp_path, _image(*shapes), BOXES)


def test_a_box_is_drawn_around_a_polygon(tmp_path: Path):
    text = _image('<polygon label="ball" points="10,20;30,15;20,40"/>')
    assert _objects(_read(tmp_path, text))[0].xyxy == pytest.approx((10, 15, 30, 40), abs=1e-4)


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (
            [_box("Mouse", LEFT)],
            r"a\.png in annotations\.xml: the class 'Mouse' is written 'mouse'",
        ),
        ([_box("rat", LEFT)], "the class 'rat' is none of the task's"),
        ([_box("mouse", (10, 10, 120, 40))], "outside the image of 100 x 80"),
        ([_box("mouse", (10, 10, 10, 40))], "has no area"),
        ([_box("mouse", (40, 10, 10, 40))], "has no area"),
        ([_box("mouse", LEFT, 'rotation="30.0"')], r"turned by 30\.0 degrees"),
        ([_box("mouse", LEFT).replace('xtl="10"', "")], "xtl is None in a box"),
        ([_box("mouse", LEFT).replace('xtl="10"', 'xtl="nan"')], "outside the image"),
        ([_box("mouse", LEFT, 'group_id="x"')], "group_id is 'x'"),
        (['<ellipse label="ball" cx="9" cy="9" rx="2" ry="2"/>'], "the ellipse of ball is no box"),
        ([_skeleton("mouse", Nose="20,20")], "the key point 'Nose' is written 'nose'"),
        ([_skeleton("mouse", ear="20,20")], "the key point 'ear' is none"),
        ([_skeleton("mouse", nose="20")], "the points '20' of nose are none"),
        ([_skeleton("mouse", nose="20,99")], "the key point nose lies at 20, 99"),
        ([_point("mouse", "2,2;3,3;4,4")], r"mouse has 3 points, but 2 key points"),
        ([_point("nose", "20,20")], "the point nose is in no box"),
        ([_point("nose", "20,20"), _box("mouse", RIGHT)], "the point nose is in no box"),
        ([_point("nose", "20,20"), _box("mouse", LEFT), _box("mouse", BOTH)], "several boxes"),
        ([_point("nose", "20,20"), _point("nose", "21,20"), _box("mouse", LEFT)], "twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, shapes: list[str], sentence: str):
    with pytest.raises(BadLabels, match=sentence):
        _read(tmp_path, _image(*shapes))


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ('width="100"', 'width="640"', "of an image of 640 x 80, but a.png has 100 x 80"),
        ('width="100"', "", "width is None"),
        ('width="100"', 'width="100.5"', "a whole number"),
        ("a.png", "z.png", r"labels belong to no image .*\(z\)"),
        ("a.png", "", "names an image ''"),
        ("</annotations>", '<image name="x/a.png"/></annotations>', "share a name"),
        ("<image", '<track id="0" label="mouse"/><image', "CVAT for images 1.1"),
        ("annotations>", "labels>", "its first element is 'labels'"),
        ("image", "picture", "names no image"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, before, after, sentence: str):
    with pytest.raises(BadLabels, match=sentence):
        _read(tmp_path, _image(_box("mouse", LEFT)).replace(before, after))


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "aaaaaaaaaa">'
    '<!ENTITY b "&a;&a;&a;&a;&a;&a;">]><annotations><version>&b;</version></annotations>'
)
STRANGER = BOMB.replace('"aaaaaaaaaa"', 'SYSTEM "file:///etc/passwd"')


@pytest.mark.parametrize(
    "content",
    [
        SAMPLE.encode()[:-30],
        SAMPLE.replace("open field", "öpen").encode("latin-1"),
        SAMPLE.replace('"utf-8"', '"utf-99"').encode(),
        BOMB.encode(),
        STRANGER.encode(),
    ],
)
def test_xml_that_is_broken_or_hostile_is_recognised_and_named(tmp_path: Path, content: bytes):
    path = tmp_path / "annotations.xml"
    path.write_bytes(content)
    assert cvat.recognises(path)
    with pytest.raises(BadLabels, match=r"annotations\.xml cannot be read as XML"):
        cvat.names(path)


def test_other_xml_is_not_recognised(tmp_path: Path):
    path = _save(tmp_path, "<annotation><folder>VOC2007</folder></annotation>")
    assert not cvat.recognises(path)
    assert cvat.recognises(_save(tmp_path, SAMPLE))
