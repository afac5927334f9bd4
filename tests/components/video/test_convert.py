"""Conversion only where it is needed, and everything stays at its time."""

from pathlib import Path

import numpy as np
import pytest

from components.errors import BadVideo
from components.video.convert import conversion_reason, convert_video
from components.video.probe import probe_video
from components.video.reader import read_frames
from tests.helpers.videos import MakeVideo, grey_of


def nearest_source(bgr: np.ndarray, candidates: range) -> int:
    """The index, out of up to six neighbours, whose grey the frame's left edge shows."""
    grey = int(bgr[10:38, 3:9].mean())
    return min(candidates, key=lambda index: abs(grey_of(index) - grey))


def test_what_browsers_play_is_taken_as_it_is(make_video: MakeVideo, tmp_path: Path) -> None:
    source, target = make_video(), tmp_path / "out" / "video.mp4"
    facts = probe_video(source)
    assert conversion_reason(facts) == ""
    for _ in range(2):
        assert convert_video(source, target, facts) == target
        assert source.samefile(target)
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("film.avi", {"codec": "mpeg4"}, "its codec is mpeg4"),
        ("film.mkv", {}, "its container is matroska"),
        ("film.mov", {}, "its container is mov"),
        ("film.mp4", {"pixel_format": "yuv444p"}, "its pixel format is yuv444p"),
        ("phone.mp4", {"rotation": 90}, "turned by 90 degrees"),
        ("odd.avi", {"codec": "mpeg4", "wh": (65, 49)}, "its size 65x49 is odd"),
    ],
)
def test_everything_else_becomes_what_browsers_play(
    make_video: MakeVideo, tmp_path: Path, name: str, settings: dict, reason: str
) -> None:
    source = make_video(name, **settings)
    facts = probe_video(source)
    assert reason in conversion_reason(facts)
    told = []
    target = convert_video(
        source,
        tmp_path / "out.mp4",
        facts,
        progress=lambda done, total, **_: told.append((done, total)),
    )
    converted = probe_video(target)
    assert conversion_reason(converted) == ""
    assert (converted.frame_count, converted.fps) == (facts.frame_count, facts.fps)
    assert told == [(i + 1, 20) for i in range(20)]
    for before, after in zip(read_frames(source), read_frames(target), strict=True):
        height, width = before.bgr.shape[:2]
        difference = after.bgr[:height, :width].astype(int) - before.bgr
        assert np.abs(difference).mean() < 8


def test_varying_rate_keeps_every_frame_at_its_time(make_video: MakeVideo, tmp_path: Path) -> None:
    # Quick, slow, one frame held for half a second, quick again.
    steps = [33] * 8 + [67] * 5 + [500] + [33] * 8
    times = np.concatenate([[0], np.cumsum(steps)]).tolist()
    source = make_video("vfr.mkv", frames=len(times), times_ms=times)
    facts = probe_video(source)
    assert "its frame rate varies" in conversion_reason(facts)
    target = convert_video(source, tmp_path / "out.mp4", facts)
    converted = probe_video(target)
    assert converted.constant_rate
    assert converted.fps == 30
    assert converted.duration == pytest.approx(facts.duration, abs=1 / 30)
    seen = set()
    for frame in read_frames(target):
        distance = np.abs(np.asarray(times) / 1000 - frame.timestamp)
        nearest = int(distance.argmin())
        around = range(max(0, nearest - 2), min(len(times), nearest + 3))
        shown = nearest_source(frame.bgr, around)
        # At a tie either neighbour is right.
        assert distance[shown] <= distance[nearest] + 0.002
        seen.add(shown)
    assert seen == set(range(len(times))), "no frame of the source is lost"


def test_stray_time_stamp_does_not_fill_the_disk_with_repeats(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    times = [0, 1, 2, 3, 4, 5, 6, 7, 8, 100_000]
    source = make_video("stray.mkv", frames=10, times_ms=times)
    facts = probe_video(source)
    converted = probe_video(convert_video(source, tmp_path / "out.mp4", facts))
    assert converted.frame_count <= 4 * len(times) + 1


def test_a_source_that_breaks_leaves_nothing(make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video("film.avi", codec="mpeg4", frames=60, noise=True)
    facts = probe_video(source)
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadVideo, match="cut off after"):
        convert_video(source, tmp_path / "out" / "video.mp4", facts)
    assert list((tmp_path / "out").iterdir()) == []
