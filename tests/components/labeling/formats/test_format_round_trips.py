"""YOLO, COCO and CVAT: what is written is read back, to a thousandth of a pixel."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.labeling.formats import FormatName, open_format
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels, labelled_objects
from components.labeling.opened import opened_labels
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec

SIZE = (1920, 1080)
PICTURE = cv2.imencode(".png", np.zeros((SIZE[1], SIZE[0]), np.uint8))[1].tobytes()
POSE = LabelSpec(
    task="pose", names=("mouse", "Ratte <ä>"), keypoints=("nose", "tail", "ear"), flip_idx=(0, 1, 2)
)
DETECT = LabelSpec(names=("mouse", "Ratte <ä>", "unused & unseen"))

_x, _y = st.floats(0, SIZE[0]), st.floats(0, SIZE[1])


@st.composite
def _objects(draw: st.DrawFn, spec: LabelSpec) -> LabelledObject:
    left, top = draw(st.floats(0, SIZE[0] - 2)), draw(st.floats(0, SIZE[1] - 2))
    right, bottom = draw(st.floats(left + 1, SIZE[0])), draw(st.floats(top + 1, SIZE[1]))
    points = {
        name: draw(st.none() | st.tuples(_x, _y, st.sampled_from([1, 2])))
        for name in spec.keypoints
    }
    return LabelledObject(
        draw(st.sampled_from(spec.names)),
        (left, top, right, bottom),
        {name: point for name, point in points.items() if point},
    )


def _sets(spec: LabelSpec) -> st.SearchStrategy[dict[str, list[LabelledObject]]]:
    stems = st.sampled_from(["frame_000000", "frame_000120", "a b.c", "ü"])
    return st.dictionaries(stems, st.lists(_objects(spec), max_size=3), min_size=1)


def _round_trip(
    format: FormatName, spec: LabelSpec, objects: dict[str, list[LabelledObject]], folder: Path
) -> None:
    frames = {
        stem: LabelledFrame(f"{stem}.png", SIZE, frame_labels(items, spec, SIZE, stem))
        for stem, items in objects.items()
    }
    written, images = folder / "written", folder / "images"
    written.mkdir()
    images.mkdir()
    for frame in frames.values():
        (images / frame.file).write_bytes(PICTURE)
    open_format(format).write(LabelSet(spec, frames), written)
    with opened_labels(written, format) as labels:
        assert open_format(format).recognises(labels.path)
        assert labels.names() == labels.frames_needed() == sorted(frames)
        # By the labels' own names, since the task names none.
        back = labels.read(WantedLabels(spec.task), {p.stem: p for p in images.iterdir()})
    assert (back.spec.names, back.spec.keypoints) == (spec.names, spec.keypoints)
    assert back.frames.keys() == frames.keys()
    for stem, frame in back.frames.items():
        assert (frame.file, frame.size_wh) == (frames[stem].file, SIZE)
        found = labelled_objects(frame.labels, spec, SIZE)
        assert [item.name for item in found] == [item.name for item in objects[stem]]
        for item, before in zip(found, objects[stem], strict=True):
            np.testing.assert_allclose(item.xyxy, before.xyxy, rtol=0, atol=1e-3)
            assert item.keypoints.keys() == before.keypoints.keys()
            for name, point in item.keypoints.items():
                np.testing.assert_allclose(point, before.keypoints[name], rtol=0, atol=1e-3)


FORMATS = pytest.mark.parametrize("format", ["yolo", "coco", "cvat"])


@FORMATS
def test_poses_are_read_back_as_they_were_written(format: FormatName, tmp_path_factory):
    @settings(max_examples=25, deadline=None)
    @given(_sets(POSE))
    def holds(objects: dict[str, list[LabelledObject]]) -> None:
        _round_trip(format, POSE, objects, tmp_path_factory.mktemp("set"))

    holds()


@FORMATS
def test_boxes_are_read_back_as_they_were_written(format: FormatName, tmp_path_factory):
    @settings(max_examples=25, deadline=None)
    @given(_sets(DETECT))
    def holds(objects: dict[str, list[LabelledObject]]) -> None:
        _round_trip(format, DETECT, objects, tmp_path_factory.mktemp("set"))

    holds()
