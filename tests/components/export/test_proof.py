"""The frames that a model without a dataset is proven on."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from components.errors import BadInput, BadVideo
from components.export.proof import PROOF_FRAMES, gather_frames
from components.video.writer import Mp4Writer


def write_images(folder: Path, count: int) -> Path:
    """Images that each have a grey of their own, in two subfolders with the same names."""
    for number in range(count):
        half = folder / ("a" if number < count / 2 else "b")
        half.mkdir(parents=True, exist_ok=True)
        name = f"frame_{number % (count // 2):06d}.png"
        cv2.imwrite(str(half / name), np.full((24, 32, 3), number, np.uint8))
    return folder


def test_images_are_taken_evenly_from_first_to_last_with_halves_of_two(tmp_path: Path):
    images = write_images(tmp_path / "images", 100)
    (images / "notes.txt").write_text("not an image")
    (images / ".thumbs").mkdir()
    (images / ".thumbs" / "a.png").write_bytes(b"nobody's")
    frames = gather_frames(images, tmp_path / "proof")
    whole = [int(frame.read()[0, 0, 0]) for frame in frames if not frame.half]
    assert len(whole) == PROOF_FRAMES
    assert (whole[0], whole[-1]) == (0, 99)
    assert set(np.diff(whole)) <= {6, 7}
    assert [frame.read().shape for frame in frames if frame.half] == [(24, 16, 3)] * 2


def test_of_a_video_its_frames_are_taken(tmp_path: Path):
    with Mp4Writer(tmp_path / "clip.mp4", wh=(64, 48), fps=25) as writer:
        for number in range(64):
            writer.write(np.full((48, 64, 3), 3 * number, np.uint8))
    frames = gather_frames(tmp_path / "clip.mp4", tmp_path / "proof")
    seen = [int(frame.read().mean()) for frame in frames if not frame.half]
    assert len(seen) == PROOF_FRAMES
    assert seen == pytest.approx([3 * (4 * i + 2) for i in range(PROOF_FRAMES)], abs=6)


def test_images_that_cannot_be_used_are_named(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="empty holds no image"):
        gather_frames(tmp_path / "empty", tmp_path / "proof")
    images = write_images(tmp_path / "images", 4)
    (images / "b" / "torn.png").write_bytes(b"PNG")
    with pytest.raises(BadInput, match=r"b/torn\.png is not an image"):
        gather_frames(images, tmp_path / "proof2")
    with pytest.raises(BadVideo):
        gather_frames(images / "b" / "torn.png", tmp_path / "proof3")
