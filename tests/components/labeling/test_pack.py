"""Labels as one archive."""

import zipfile
from pathlib import Path

import pytest

from components.errors import BadInput
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels
from components.labeling.opened import opened_labels
from components.labeling.pack import pack_labels
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec
from tests.helpers.label_images import make_images

SPEC = LabelSpec(names=("mouse",))
SIZE = 100, 80


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    return make_images(tmp_path / "frames", "a", "b", "unlabelled")


@pytest.fixture
def labels() -> LabelSet:
    some = frame_labels([LabelledObject("mouse", (10, 20, 40, 60))], SPEC, SIZE, "")
    none = frame_labels([], SPEC, SIZE, "")
    frames = {"a": some, "b": none}
    return LabelSet(SPEC, {s: LabelledFrame(f"{s}.png", SIZE, one) for s, one in frames.items()})


@pytest.mark.parametrize("form", ["yolo", "coco", "cvat"])
def test_an_archive_holds_the_labels_and_images_if_asked(tmp_path, images, labels, form):
    pack_labels(labels, form, tmp_path / "bare.zip")
    pack_labels(labels, form, tmp_path / "full.zip", images)
    with (
        zipfile.ZipFile(tmp_path / "bare.zip") as bare,
        zipfile.ZipFile(tmp_path / "full.zip") as full,
    ):
        pictures = {"images/a.png", "images/b.png"}
        assert set(full.namelist()) - set(bare.namelist()) == pictures
        assert full.read("images/a.png") == images["a"].read_bytes()
    with opened_labels(tmp_path / "full.zip") as opened:
        assert (opened.format, opened.images.keys()) == (form, {"a", "b"})
        read = opened.read(WantedLabels())
    assert (read.frames.keys(), read.objects) == ({"a", "b"}, {"mouse": 1})


def test_nothing_is_left_of_an_archive_that_failed(tmp_path, images, labels):
    images["a"].unlink()
    with pytest.raises(FileNotFoundError):
        pack_labels(labels, "yolo", tmp_path / "new" / "labels.zip", images)
    with pytest.raises(BadInput):
        pack_labels(labels, "deeplabcut", tmp_path / "new" / "labels.zip")
    assert list((tmp_path / "new").iterdir()) == []
