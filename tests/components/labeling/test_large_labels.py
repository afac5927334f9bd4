"""A label file that would fill the memory is refused before anybody reads it."""

import shutil
from pathlib import Path

import pytest

from components.errors import TooLarge
from components.labeling.opened import MAX_BYTES, opened_labels


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
