"""Extracted frames: their names, their number, and the very pictures that analysis sees."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import BadInput, BadVideo
from components.video.extract import extract_frames, frame_index, frame_name, uniform_indices
from components.video.reader import read_frames
from tests.helpers.videos import MakeVideo


@given(st.integers(0, 10**8))
def test_a_name_tells_its_index(index: int) -> None:
    assert frame_index(frame_name(index)) == index


@pytest.mark.parametrize(
    "name", ["frame_12", "frame_0000012", "frame_000012.jpg", "image_000012", "", "frame_-00001"]
)
def test_other_names_tell_none(name: str) -> None:
    assert frame_index(name) is None


def test_name_is_the_documented_one() -> None:
    assert frame_name(120) == "frame_000120"


@given(st.integers(1, 5000), st.integers(1, 600))
def test_indices_are_evenly_spread(frame_count: int, number: int) -> None:
    indices = uniform_indices(frame_count, number)
    assert len(indices) == min(frame_count, number)
    assert indices == sorted(set(indices))
    assert indices[0] >= 0
    assert indices[-1] < frame_count
    gaps = np.diff([-1 - indices[0], *indices, 2 * frame_count - 1 - indices[-1]])
    assert gaps.max() - gaps.min() <= 2, "the ends count as half a gap"


def test_no_frames_asked_for() -> None:
    with pytest.raises(BadInput, match="ask for 1 or more"):
        uniform_indices(10, 0)


def test_pictures_are_those_that_the_reader_gives(make_video: MakeVideo, tmp_path: Path) -> None:
    video, folder = make_video(), tmp_path / "frames"
    told = []
    paths = extract_frames(
        video, folder, [19, 3, 8, 3], progress=lambda done, total: told.append((done, total))
    )
    assert [path.name for path in paths] == [
        "frame_000003.jpg",
        "frame_000008.jpg",
        "frame_000019.jpg",
    ]
    assert sorted(folder.iterdir()) == paths
    assert told == [(1, 3), (2, 3), (3, 3)]
    for path, frame in zip(paths, read_frames(video, wanted=[3, 8, 19]), strict=True):
        difference = cv2.imread(str(path)).astype(int) - frame.bgr
        assert np.abs(difference).mean() < 3


def test_index_beyond_the_video_is_named_and_an_older_folder_stays(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    video, folder = make_video(), tmp_path / "frames"
    older = extract_frames(video, folder, [0])
    with pytest.raises(BadInput, match=r"Frame 20 does not exist: .*video\.mp4 has 20 frames"):
        extract_frames(video, folder, [5, 20, 31])
    assert sorted(folder.iterdir()) == older
    assert sorted(tmp_path.iterdir()) == [folder, video]


@pytest.mark.parametrize("indices", [[], [-1, 3]])
def test_no_frames_or_negative_ones(
    make_video: MakeVideo, tmp_path: Path, indices: list[int]
) -> None:
    with pytest.raises(BadInput, match="give indices from 0 on"):
        extract_frames(make_video(), tmp_path / "frames", indices)


def test_missing_video_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadVideo, match="No such file"):
        extract_frames(tmp_path / "none.mp4", tmp_path / "frames", [0])
    assert list(tmp_path.iterdir()) == []
