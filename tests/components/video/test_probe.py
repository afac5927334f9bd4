"""Facts by decoding, and one clear sentence for each bad file."""

import re
from pathlib import Path

import av
import pytest

from components.errors import BadVideo
from components.video import decoding
from components.video.probe import check_usable, probe_video
from tests.helpers.videos import MakeVideo, write_sound


def test_facts_of_an_ordinary_video(make_video: MakeVideo) -> None:
    path = make_video(frames=25, rate=25)
    facts = probe_video(path)
    assert facts.frame_count == 25
    assert facts.fps == facts.nominal_fps == 25
    assert facts.duration == pytest.approx(1)
    assert (facts.width, facts.height) == (64, 48)
    assert (facts.codec, facts.pixel_format, facts.container) == ("h264", "yuv420p", "mp4")
    assert facts.constant_rate
    assert facts.rotation == 0
    assert facts.bytes == path.stat().st_size


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("film.avi", {"codec": "mpeg4"}, {"codec": "mpeg4", "container": "avi"}),
        ("film.mkv", {}, {"container": "matroska", "constant_rate": True, "fps": 30}),
        ("film.mov", {}, {"container": "mov"}),
        ("film.ts", {}, {"container": "mpegts", "frame_count": 20}),
        ("phone.mp4", {"rotation": 90}, {"width": 48, "height": 64, "rotation": 90}),
        ("one.mp4", {"frames": 1}, {"frame_count": 1, "fps": 30, "constant_rate": True}),
        ("odd.avi", {"codec": "mpeg4", "wh": (65, 49)}, {"width": 65, "height": 49}),
    ],
)
def test_facts_of_other_kinds(
    make_video: MakeVideo, name: str, settings: dict, expected: dict
) -> None:
    facts = probe_video(make_video(name, **settings)).model_dump()
    assert {key: facts[key] for key in expected} == expected


def test_varying_rate_is_seen_and_its_motion_kept(make_video: MakeVideo) -> None:
    times = [33 * i for i in range(10)] + [1000 + 33 * i for i in range(10)]
    facts = probe_video(make_video("vfr.mkv", times_ms=times))
    assert not facts.constant_rate
    assert facts.fps == pytest.approx(19 / 1.297, rel=1e-3)
    assert facts.nominal_fps == 30, "the rate of the moving stretches"


def test_rounded_time_stamps_still_count_as_constant(make_video: MakeVideo) -> None:
    facts = probe_video(
        make_video("ms.mkv", frames=60, times_ms=[round(i * 1000 / 30) for i in range(60)])
    )
    assert facts.constant_rate
    assert facts.fps == pytest.approx(30, rel=1e-3)


def says(path: Path, *words: str) -> None:
    with pytest.raises(BadVideo) as caught:
        probe_video(path)
    sentence = str(caught.value)
    assert path.name in sentence
    for word in words:
        assert word in sentence
    assert sentence.endswith(".")


def test_missing_file(tmp_path: Path) -> None:
    says(tmp_path / "nowhere.mp4", "No such file")


def test_folder(tmp_path: Path) -> None:
    says(tmp_path, "not a file")


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    says(path, "empty")


def test_text_file(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no film\n" * 500)
    says(path, "cannot be read as a video")


@pytest.mark.parametrize(
    ("container_format", "codec"), [("mp4", "aac"), ("wav", "pcm_s16le"), ("mp3", "libmp3lame")]
)
def test_sound_called_mp4(tmp_path: Path, container_format: str, codec: str) -> None:
    path = write_sound(tmp_path / "song.mp4", container_format, codec)
    says(path, "holds no moving pictures")


def test_mp4_without_its_index(make_video: MakeVideo) -> None:
    path = make_video(noise=True)
    path.write_bytes(path.read_bytes()[:-2000])
    says(path, "cut off", "give a whole video")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.97])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("front.mp4", {"options": {"movflags": "+faststart"}}),
        ("film.avi", {"codec": "mpeg4"}),
        ("film.mkv", {}),
    ],
)
def test_file_cut_off_says_how_many_frames_there_are(
    make_video: MakeVideo, name: str, settings: dict, kept: float
) -> None:
    path = make_video(name, frames=200, noise=True, **settings)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(BadVideo, match=r"(is cut off|ends) after \d+ frames") as caught:
        probe_video(path)
    count = int(re.search(r"after (\d+) frames", str(caught.value))[1])  # type: ignore[index]
    assert 0.2 * 200 * kept <= count < 200


def test_damage_in_the_middle(make_video: MakeVideo) -> None:
    path = make_video(frames=60, wh=(160, 120), noise=True)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 30_000] = bytes(30_000)
    path.write_bytes(content)
    says(path, "breaks after", "frames")


def test_trimmed_video_whose_container_hides_frames_is_whole(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    path, trimmed = make_video(frames=90), tmp_path / "trimmed.mp4"
    with av.open(str(path)) as source, av.open(str(trimmed), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts -= round(1 / stream.time_base)
                packet.dts -= round(1 / stream.time_base)
                packet.stream = copy
                target.mux(packet)
    assert probe_video(trimmed).frame_count == 60


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "ffconcat version 1.0\nfile {}\n"),
    ],
)
def test_play_list_does_not_lead_to_other_files(
    make_video: MakeVideo, tmp_path: Path, name: str, content: str
) -> None:
    other = make_video("other.ts")
    path = tmp_path / name
    path.write_text(content.format(other.name))
    says(path, "cannot be read as a video")


def test_one_frame_is_too_few_to_learn_from(make_video: MakeVideo) -> None:
    with pytest.raises(BadVideo, match=r"has 1 frame, but at least 2 are needed"):
        check_usable(probe_video(make_video(frames=1)))
    check_usable(probe_video(make_video("two.mp4", frames=2)))


def test_picture_too_large_to_hold_is_refused(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video()
    monkeypatch.setattr(decoding, "MAX_IMAGE_PIXELS", 64 * 48 - 1)
    with pytest.raises(BadVideo, match=r"video\.mp4"):
        probe_video(path)
    monkeypatch.setattr(decoding, "MAX_IMAGE_PIXELS", 128 * 128)
    assert probe_video(path).frame_count == 20
