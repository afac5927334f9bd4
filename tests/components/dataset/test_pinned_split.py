"""The dataset of a later round: what was held out stays held out, and nothing leaks into it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from components.dataset.build import build_dataset
from components.dataset.facts import DatasetFacts
from components.dataset.held_out import (
    HELD_OUT,
    held_out_images,
    held_out_stems,
    read_held_out,
    write_held_out,
)
from components.dataset.pinned import split_around
from components.errors import BadInput, BadLabels, NotFound
from components.labels import LabelSpec
from components.video.extract import frame_name

SPEC = LabelSpec(names=("disc",))


def _label(folder: Path, *indices: int) -> None:
    for index in indices:
        image = np.zeros((48, 64, 3), np.uint8)
        cv2.circle(image, (4 + index // 5, 24), 4, (255, 255, 255), -1)
        cv2.imwrite(str(folder / f"{frame_name(index)}.png"), image)
        (folder / f"{frame_name(index)}.txt").write_text("0 0.5 0.5 0.2 0.2\n")


def _parts(dataset: Path) -> dict[int, str]:
    rows = (line.split("\t") for line in (dataset / "train_test_split.txt").read_text().split("\n"))
    return {int(row[1][6:12]): row[0] for row in rows if len(row) == 2}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Twenty labelled frames of a video, 10 apart."""
    folder = tmp_path / "frames"
    folder.mkdir()
    _label(folder, *range(0, 200, 10))
    return folder


def _build(frames: Path, out: Path) -> DatasetFacts:
    return build_dataset(frames, frames, out, SPEC, held_out=0.2, gap=0.1)


def test_a_second_round_holds_out_the_same_frames(frames: Path, tmp_path: Path) -> None:
    first = _build(frames, tmp_path / "first")
    held_out = held_out_stems(tmp_path / "first")
    assert held_out == tuple(frame_name(index) for index in (160, 170, 180, 190))
    write_held_out(frames, reversed(held_out))
    assert read_held_out(frames) == held_out
    # Far from them, near them on both sides, and between them.
    _label(frames, 5, 65, 125, 136, 137, 155, 165, 175, 205, 230)

    second = _build(frames, tmp_path / "second")

    assert [path.stem for path in held_out_images(tmp_path / "second")] == list(held_out)
    parts = _parts(tmp_path / "second")
    assert {index for index, part in parts.items() if part == "val"} == {160, 170, 180, 190}
    # 30 images: 3 on each side; 230 frames: 23 of them on each side, so 137 goes and 136 stays.
    dropped = {index for index, part in parts.items() if part == "gap"}
    assert dropped == {137, 140, 150, 155, 165, 175, 205, 230}
    assert (second.train, second.dropped, second.held_out) == (18, 8, 4)
    assert (first.pinned, second.pinned) == (False, True)
    assert second.warnings == (
        "2 labelled images lie between the held-out ones of the earlier round: they are used "
        "for nothing, so label elsewhere.",
    )


def test_dense_labels_do_not_shrink_the_gap() -> None:
    # By the number of images alone, 5 frames on that side were enough.
    indices = [*range(0, 1000, 100), *range(921, 1000), 1000, 1100]
    stems = [frame_name(index) for index in indices]
    parts = split_around(stems, stems[-2:], gap=0.05)
    train = [index for index, part in zip(indices, parts, strict=True) if part == "train"]
    assert train == [index for index in indices if index < 945]


def test_names_that_are_no_frames_are_told_apart_by_their_order() -> None:
    stems = [f"img{index}" for index in range(20)]
    parts = split_around(stems, ("img10", "img12"), gap=0.1)
    assert parts == (
        *("train",) * 8, *("gap",) * 2, "val", "gap", "val", *("gap",) * 2, *("train",) * 5
    )  # fmt: skip
    assert split_around(stems, ("img10", "img12"), gap=0).count("gap") == 1


def test_where_few_are_labelled_the_gap_gives_way() -> None:
    stems = [frame_name(index) for index in (0, 10, 20)]
    assert split_around(stems, stems[2:], gap=0.05) == ("train", "train", "val")
    with pytest.raises(BadLabels, match=r"Beside the 2 held-out images .* 1 labelled images are"):
        split_around(stems, stems[1:], gap=0.05)
    # Not even then is one taken from between them.
    with pytest.raises(BadLabels, match="Beside the 2 held-out images"):
        split_around([*stems, frame_name(30)], stems[::2], gap=0.05)


def test_a_held_out_frame_without_labels_is_named(frames: Path, tmp_path: Path) -> None:
    write_held_out(frames, (frame_name(190), frame_name(195), "gone"))
    with pytest.raises(BadLabels, match=r"2 of the held-out .* \(frame_000195, gone\)"):
        _build(frames, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_of_nothing_are_no_file(frames: Path, tmp_path: Path) -> None:
    write_held_out(frames, ("frame_000190",))
    write_held_out(frames, ())
    assert not (frames / HELD_OUT).exists()
    assert read_held_out(frames) == ()
    (frames / HELD_OUT).write_text("\n  \n")
    assert not _build(frames, tmp_path / "out").pinned


def test_what_cannot_be_read_says_so(frames: Path, tmp_path: Path) -> None:
    (frames / HELD_OUT).write_bytes(b"\xff\xfe")
    with pytest.raises(BadLabels, match=r"held_out.txt cannot be read as text"):
        _build(frames, tmp_path / "out")
    with pytest.raises(NotFound, match="No dataset lies in"):
        held_out_stems(tmp_path)
    (tmp_path / "train_test_split.txt").write_text("val frame.png\n")
    with pytest.raises(BadInput, match="is not a dataset's split"):
        held_out_stems(tmp_path)
    with pytest.raises(BadInput, match="no images in images/val"):
        held_out_images(tmp_path)
