"""Labels as people give them: found in files, folders and archives of any layout."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from components.errors import BadLabels
from components.labeling.formats import open_format
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels
from components.labeling.opened import opened_labels
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec
from tests.helpers.label_images import make_images

SPEC = LabelSpec(names=("disc",))
SIZE = (100, 80)
WANTED = WantedLabels(names=("disc",))
YOLO = "0 0.25 0.5 0.3 0.5\n"


def _write(format: str, folder: Path, *stems: str) -> Path:
    labels = frame_labels([LabelledObject("disc", (10, 20, 40, 60))], SPEC, SIZE, "")
    frames = {stem: LabelledFrame(f"{stem}.png", SIZE, labels) for stem in stems or ("a", "b")}
    folder.mkdir(parents=True, exist_ok=True)
    open_format(format).write(LabelSet(SPEC, frames), folder)  # type: ignore[arg-type]
    return folder


FORMATS = pytest.mark.parametrize("format", ["yolo", "coco", "cvat"])


@FORMATS
@pytest.mark.parametrize("top", ["", "my labels/"])
@pytest.mark.parametrize("packed", ["", "zip", "gztar"])
def test_labels_with_their_images_are_found(tmp_path: Path, format: str, top: str, packed: str):
    path = tmp_path / "given"
    _write(format, path / top)
    make_images(path / top / "images", "a", "b", "c")
    (path / "__MACOSX").mkdir()
    (path / ".DS_Store").write_bytes(b"\0")
    (path / top / "LICENSE.md").write_text("Free.")
    if packed:
        path = Path(shutil.make_archive(str(tmp_path / "archive"), packed, path))
    with opened_labels(path) as labels:
        assert labels.format == format
        assert labels.images.keys() == {"a", "b", "c"}
        assert labels.names() == ["a", "b"]
        assert labels.frames_needed() == []
        # By its own names, which stand beside the labels.
        assert labels.read(WantedLabels()).objects == {"disc": 2}
        place = labels.path
    assert place.exists() == (not packed)


@FORMATS
def test_labels_without_images_ask_for_frames(tmp_path: Path, format: str):
    _write(format, tmp_path / "given", "frame_000004", "frame_000010")
    frames = make_images(tmp_path / "frames", "frame_000004", "frame_000010", "frame_000020")
    with opened_labels(tmp_path / "given") as labels:
        assert labels.frames_needed() == ["frame_000004", "frame_000010"]
        assert labels.read(WANTED, frames).frames.keys() == {"frame_000004", "frame_000010"}
        with pytest.raises(BadLabels, match="belong to no image"):
            labels.read(WANTED)


@pytest.mark.parametrize("format", ["coco", "cvat"])
def test_one_file_is_enough(tmp_path: Path, format: str):
    (path,) = (p for p in _write(format, tmp_path / "given").rglob("*.*") if p.is_file())
    images = make_images(path.parent, "a", "b")
    with opened_labels(path) as labels:
        assert (labels.path, labels.format, labels.images) == (path, format, {})
        assert labels.frames_needed() == ["a", "b"]
        assert labels.read(WANTED, images).objects == {"disc": 2}


def test_yolo_goes_before_all_other_formats_unless_one_is_named(tmp_path: Path):
    for format in ("cvat", "coco", "yolo"):
        _write(format, tmp_path)
    with opened_labels(tmp_path) as labels:
        assert (labels.format, labels.path) == ("yolo", tmp_path)
    with opened_labels(tmp_path, "cvat") as labels:
        assert (labels.format, labels.path) == ("cvat", tmp_path / "annotations.xml")


def test_a_flat_folder_of_text_named_after_frames_is_yolo(tmp_path: Path):
    (tmp_path / "frame_000004.txt").write_text(YOLO)
    (tmp_path / "frame_000010.txt").write_text("")
    with opened_labels(tmp_path) as labels:
        assert (labels.format, labels.frames_needed()) == (
            "yolo",
            ["frame_000004", "frame_000010"],
        )


def test_two_files_of_one_format_are_refused(tmp_path: Path):
    for name in ("train", "val"):
        (_write("coco", tmp_path / name) / "annotations").rename(tmp_path / f"{name}_annotations")
    with (
        pytest.raises(BadLabels, match=r"2 label files of the format coco \(.*train.*val"),
        opened_labels(tmp_path),
    ):
        pass


def test_nothing_at_all_is_said(tmp_path: Path):
    make_images(tmp_path / "images", "a")
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(BadLabels, match="holds no label file of a format known"):
        opened_labels(tmp_path).__enter__()
    with pytest.raises(BadLabels, match=r"known here \(coco\)"):
        opened_labels(tmp_path, "coco").__enter__()
    with pytest.raises(BadLabels, match=r"notes\.json is of no label format"):
        opened_labels(tmp_path / "notes.json").__enter__()
    with pytest.raises(BadLabels, match=r"no labels at .*gone"):
        opened_labels(tmp_path / "gone").__enter__()


def test_a_named_format_has_its_own_fault_told(tmp_path: Path):
    (tmp_path / "labels.json").write_text('{"ima')
    with (
        pytest.raises(BadLabels, match=r"labels\.json cannot be read as COCO"),
        opened_labels(tmp_path / "labels.json", "coco") as labels,
    ):
        labels.names()


def test_faults_in_an_archive_name_the_archive_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (tmp_path / "given" / "labels").mkdir(parents=True)
    (tmp_path / "given" / "labels" / "a.txt").write_text("7 0.5 0.5 0.1 0.1\n")
    make_images(tmp_path / "given" / "images", "a")
    path = Path(shutil.make_archive(str(tmp_path / "mine"), "zip", tmp_path / "given"))
    with (
        pytest.raises(BadLabels, match=r"^labels/a\.txt, line 1: class 7 is unknown"),
        opened_labels(path) as labels,
    ):
        labels.read(WANTED)
    with (
        pytest.raises(BadLabels, match=r"^Nobody names the classes of mine\.zip"),
        opened_labels(path) as labels,
    ):
        labels.read(WantedLabels())
    assert not list(temporary.iterdir())


def test_images_that_share_a_name_are_refused(tmp_path: Path):
    make_images(tmp_path / "x", "a")
    make_images(tmp_path / "y", "a")
    image = {"id": 1, "file_name": "x/a.png"}
    data = {"images": [image], "annotations": [], "categories": []}
    (tmp_path / "labels.json").write_text(json.dumps(data))
    with pytest.raises(BadLabels, match="share a name"):
        opened_labels(tmp_path).__enter__()
