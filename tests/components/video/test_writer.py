"""Writing MP4: what a browser needs, whole or not at all."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from components.errors import BadInput
from components.video.probe import probe_video
from components.video.reader import read_frames
from components.video.writer import Mp4Writer
from tests.helpers.videos import picture


def write(path: Path, wh: tuple[int, int], frames: int = 12, fps: float | Fraction = 30) -> None:
    with Mp4Writer(path, wh=wh, fps=fps) as writer:
        for index in range(frames):
            writer.write(picture(index, *wh))


def test_file_is_what_a_browser_plays(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write(path, (64, 48))
    facts = probe_video(path)
    assert (facts.codec, facts.pixel_format, facts.container) == ("h264", "yuv420p", "mp4")
    assert (facts.frame_count, facts.fps, facts.constant_rate) == (12, 30, True)
    content = path.read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat"), "the index stands in front"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    colours = [(20, 40, 220), (200, 90, 10), (30, 180, 60), (128, 128, 128), (250, 250, 5)]
    with Mp4Writer(path, wh=(64, 48), fps=30, crf=1) as writer:
        for colour in colours:
            writer.write(np.full((48, 64, 3), colour, np.uint8))
    for frame, colour in zip(read_frames(path), colours, strict=True):
        assert np.abs(frame.bgr.reshape(-1, 3).mean(axis=0) - colour).max() < 5


def test_colours_are_tagged_so_that_every_player_shows_the_same(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write(path, (64, 48))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)
    assert frame.color_range == 1


def test_odd_size_grows_by_one_and_keeps_its_pixels_places(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write(path, (65, 49))
    frame = next(read_frames(path))
    assert frame.bgr.shape == (50, 66, 3)
    assert np.abs(frame.bgr[:49, :65].astype(int) - picture(0, 65, 49)).mean() < 8
    assert np.abs(frame.bgr[49].astype(int) - frame.bgr[48]).mean() < 8


def test_broadcast_rate_is_kept_exactly(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write(path, (64, 48), frames=40, fps=29.97002997)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
    *_, last = read_frames(path)
    assert last.timestamp == pytest.approx(39 * 1001 / 30000, abs=1e-4)


def test_nothing_is_left_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_text("older")

    def write_two_sizes() -> None:
        with Mp4Writer(path, wh=(64, 48), fps=30) as writer:
            writer.write(picture(0, 64, 48))
            writer.write(picture(1, 32, 24))

    with pytest.raises(BadInput, match=r"Frame 1 is 32x24, but .* is 64x48"):
        write_two_sizes()
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("wh", "fps"), [((1, 48), 30), ((64, 48), 0), ((64, 48), -1)])
def test_what_cannot_be_written_is_refused(tmp_path: Path, wh: tuple[int, int], fps: float) -> None:
    with pytest.raises(BadInput, match="cannot be written"):
        Mp4Writer(tmp_path / "film.mp4", wh=wh, fps=fps)


def test_no_frames_make_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No frame was written"):
        write(tmp_path / "film.mp4", (64, 48), frames=0)
    assert list(tmp_path.iterdir()) == []
