"""A label file that would fill the memory is refused before anybody reads it."""

import shutil
from pathlib import Path

import pytest

from components.errors import TooLarge
from components.labeling import text_size
from components.labeling.formats import FORMATS, open_format
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels
from components.labeling.opened import opened_labels
from components.labeling.text_size import MAX_BYTES, MAX_PLAIN_BYTES, check_text
from components.labels import LabelSpec


@pytest.fixture(params=["labels.json", "annotations.xml", "frame_000001.txt", "data.yaml"])
def large(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file that takes no room on the disk."""
    path = tmp_path / "given" / request.param
    path.parent.mkdir()
    with path.open("wb") as file:
        file.write(b'{"images": [], "annotations": []}')
        file.truncate(MAX_BYTES + 1)
    return path


@pytest.mark.parametrize("whole", [True, False])
def test_a_large_label_file_is_refused(large: Path, whole: bool):
    with (
        pytest.raises(TooLarge, match=rf"{large.name} is larger"),
        opened_labels(large.parent if whole else large),
    ):
        pass


def test_large_images_and_videos_may_lie_beside(tmp_path: Path):
    (tmp_path / "frame_000001.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with (tmp_path / "video.mp4").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    shutil.copyfile(tmp_path / "frame_000001.txt", tmp_path / "frame_000002.txt")
    with opened_labels(tmp_path) as labels:
        assert labels.names() == ["frame_000001", "frame_000002"]


def test_the_text_of_one_image_may_be_less(tmp_path: Path):
    with (tmp_path / "frame_000001.txt").open("wb") as file:
        file.truncate(MAX_PLAIN_BYTES + 1)
    with pytest.raises(TooLarge, match=r"frame_000001\.txt is larger than the 8388608 bytes"):
        check_text(tmp_path / "frame_000001.txt")


@pytest.mark.parametrize(
    ("name", "dense"),
    [
        ("labels.json", "[],"),
        ("labels.json", '{"a":1},'),
        ("annotations.xml", "<a/>"),
        ("annotations.xml", '<a b=""/>'),
        ("labels.csv", "a,1,1\n"),
        ("labels.csv", "a,1,1\r"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_small_file_that_is_read_into_much_memory_is_refused(
    tmp_path: Path, name: str, dense: str, whole: bool
):
    (tmp_path / name).write_text(dense * (32 * 2**20 // len(dense)), newline="")
    with (
        pytest.raises(TooLarge, match=rf"{name} holds so much that it would take more than"),
        opened_labels(tmp_path if whole else tmp_path / name),
    ):
        pass


def test_twenty_thousand_labelled_frames_are_no_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # A hundredth of each: the frames, and the memory.
    monkeypatch.setattr(text_size, "MAX_MEMORY", text_size.MAX_MEMORY // 100)
    names = tuple(f"point {number}" for number in range(12))
    spec = LabelSpec(task="pose", names=("mouse",), keypoints=names)
    points = {name: (50.123 + 3.1 * i, 60.987, 2) for i, name in enumerate(names)}
    mouse = LabelledObject("mouse", (10.1234, 20.123, 400.567, 300.432), points)
    labels = frame_labels([mouse], spec, (1280, 720), "")
    stems = [f"frame_{number:06d}" for number in range(200)]
    frames = {stem: LabelledFrame(f"{stem}.png", (1280, 720), labels) for stem in stems}
    for format in FORMATS:
        folder = tmp_path / format
        folder.mkdir()
        open_format(format).write(LabelSet(spec, frames), folder)
        with opened_labels(folder, format) as opened:
            assert opened.names() == stems
