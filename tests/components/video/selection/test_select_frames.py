"""Selecting frames of real videos by each strategy."""

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import components.video.selection.candidates as candidates
from components.errors import BadInput
from components.frame_results import FrameResult
from components.video.extract import uniform_indices
from components.video.probe import VideoFacts, probe_video
from components.video.selection.options import SelectionOptions, Strategy
from components.video.selection.select import select_frames
from components.video.selection.selection import Selection

FPS, FRAMES = 10, 120
EVERY: list[Strategy] = ["uniform", "diverse", "motion", "uncertain", "active"]
# The dot rests at one place for each of these spans and moves at once to the next.
PLACES = {0: 20, 40: 60, 60: 100, 100: 140}


def place(index: int) -> int:
    return PLACES[max(start for start in PLACES if start <= index)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, VideoFacts]:
    path = tmp_path_factory.mktemp("selection") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for index in range(FRAMES):
            picture = np.full((120, 160, 3), 200, np.uint8)
            cv2.circle(picture, (place(index), 60), 12, (10, 10, 10), -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path, probe_video(path)


def found(index: int, score: float = 1.0) -> FrameResult:
    x = place(index)
    return FrameResult(
        frame=index,
        timestamp=index / FPS,
        boxes=[[x - 12, 48, x + 12, 72]],
        boxes_score=[score],
        classes=["dot"],
    )


def detections(step: int = 1) -> Iterator[FrameResult]:
    """Unsure of frames 70 to 79, sure of all others."""
    return (found(i, 0.3 if 70 <= i < 80 else 1.0) for i in range(0, FRAMES, step))


def choose(
    film: tuple[Path, VideoFacts], strategy: Strategy, number: int, **more: Any
) -> Selection:
    calls = {
        key: more.pop(key) for key in ("taken", "closed", "detections", "other") if key in more
    }
    if strategy in ("uncertain", "active"):
        calls.setdefault("detections", detections())
    options = SelectionOptions(strategy=strategy, number=number, **more)
    return select_frames(*film, options, **calls)


def indices(selection: Selection) -> list[int]:
    return [frame.index for frame in selection.frames]


def test_uniform_is_what_extraction_takes_without_it(film: tuple[Path, VideoFacts]) -> None:
    for number in (1, 7, 24, 120):
        assert indices(choose(film, "uniform", number)) == uniform_indices(FRAMES, number)


def test_uniform_decodes_nothing(film: tuple[Path, VideoFacts]) -> None:
    selection = choose((Path("nowhere.mp4"), film[1]), "uniform", 3)
    assert [frame.timestamp for frame in selection.frames] == pytest.approx([2, 6, 10])


def test_diverse_meets_every_place(film: tuple[Path, VideoFacts]) -> None:
    for seed in range(3):
        chosen = choose(film, "diverse", 4, seed=seed)
        assert {place(index) for index in indices(chosen)} == set(PLACES.values())
        assert all(frame.strategy == "diverse" for frame in chosen.frames)


def test_diverse_keeps_away_from_what_is_taken(film: tuple[Path, VideoFacts]) -> None:
    chosen = choose(film, "diverse", 2, taken=[10, 50])
    assert {place(index) for index in indices(chosen)} == {100, 140}
    # Those held out are taken as well.
    held_out = choose(film, "diverse", 2, taken=[10, 50], closed=[(45, 59)])
    assert {place(index) for index in indices(held_out)} == {100, 140}


def test_motion_finds_the_moves(film: tuple[Path, VideoFacts]) -> None:
    chosen = choose(film, "motion", 3)
    assert indices(chosen) == [40, 60, 100]
    assert all(0 < frame.score <= 1 for frame in chosen.frames)


def test_uncertain_finds_the_unsure_span(film: tuple[Path, VideoFacts]) -> None:
    chosen = choose(film, "uncertain", 2, min_seconds_apart=0.4)
    assert all(70 <= index < 80 for index in indices(chosen))
    every_third = choose(film, "uncertain", 2, min_seconds_apart=0.4, detections=detections(3))
    assert all(70 <= index < 80 and index % 3 == 0 for index in indices(every_third))


def test_disagreement_is_uncertain(film: tuple[Path, VideoFacts]) -> None:
    sure = [found(i) for i in range(FRAMES)]
    other = [found(i) for i in range(FRAMES) if i != 23]
    other.insert(23, FrameResult(frame=23, timestamp=2.3))
    assert indices(choose(film, "uncertain", 1, detections=sure, other=other)) == [23]


def test_active_is_half_of_each(film: tuple[Path, VideoFacts]) -> None:
    chosen = choose(film, "active", 6)
    by = {
        kind: [frame.index for frame in chosen.frames if frame.strategy == kind]
        for kind in ("uncertain", "diverse")
    }
    assert len(by["uncertain"]) == len(by["diverse"]) == 3
    assert any(70 <= index < 80 for index in by["uncertain"])
    assert {place(index) for index in indices(chosen)} == set(PLACES.values())


@pytest.mark.parametrize("strategy", EVERY)
def test_every_strategy_keeps_the_rules(film: tuple[Path, VideoFacts], strategy: Strategy) -> None:
    taken, closed = [5, 33, 90], [(50, 69), (110, 200)]
    chosen = choose(film, strategy, 9, min_seconds_apart=0.7, taken=taken, closed=closed)
    # Whoever takes the best first may waste a place.
    assert len(chosen.frames) == 9 or (len(chosen.frames) == 8 and strategy != "uniform")
    assert (chosen.note == "") == (len(chosen.frames) == 9)
    assert indices(chosen) == sorted(set(indices(chosen)))
    assert not any(50 <= index <= 69 or index >= 110 for index in indices(chosen))
    assert np.diff(sorted([*indices(chosen), *taken])).min() >= 7
    for frame in chosen.frames:
        assert frame.timestamp == pytest.approx(frame.index / FPS, abs=1e-6)
    again = choose(film, strategy, 9, min_seconds_apart=0.7, taken=taken, closed=closed)
    assert again == chosen


@pytest.mark.parametrize("strategy", EVERY)
def test_no_frame_twice_and_none_that_is_taken(
    film: tuple[Path, VideoFacts], strategy: Strategy
) -> None:
    chosen = choose(film, strategy, 500, min_seconds_apart=0, taken=[3, 4])
    assert indices(chosen) == [i for i in range(FRAMES) if i not in (3, 4)]
    assert chosen.note.startswith("118 of the 500 frames asked for")


@pytest.mark.parametrize("strategy", EVERY)
def test_fewer_frames_than_asked_for_are_explained(
    film: tuple[Path, VideoFacts], strategy: Strategy
) -> None:
    chosen = choose(film, strategy, 40, min_seconds_apart=2)
    assert 3 <= len(chosen.frames) <= 6
    assert chosen.note.startswith(f"{len(chosen.frames)} of the 40 frames asked for")
    assert "2 s" in chosen.note


@pytest.mark.parametrize("strategy", EVERY)
def test_a_longer_video_has_bounded_candidates(
    film: tuple[Path, VideoFacts], strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Here a long video is one of more than 16 frames.
    monkeypatch.setattr("components.video.selection.select.MAX_CANDIDATES", 16)
    monkeypatch.setattr(candidates.evenly, "__defaults__", (16,))
    monkeypatch.setattr(candidates.BestOfBins.__init__, "__defaults__", (16,))
    monkeypatch.setattr("components.video.selection.scores.uncertainty_scores.__defaults__", (16,))
    chosen = choose(film, strategy, 100, min_seconds_apart=0)
    assert len(chosen.frames) == 100 if strategy == "uniform" else 8 <= len(chosen.frames) <= 16
    if strategy == "motion":
        assert {40, 60, 100} <= set(indices(chosen))


def test_times_of_taken_frames_that_were_not_analysed(film: tuple[Path, VideoFacts]) -> None:
    chosen = choose(
        film, "uncertain", 50, min_seconds_apart=0.8, taken=[15, 119], detections=detections(10)
    )
    # 10 and 20 lie half a second from 15, 110 nine tenths from 119.
    assert indices(chosen) == [0, *range(30, 120, 10)]


@pytest.mark.parametrize(
    ("strategy", "more", "message"),
    [
        ("uniform", {"number": 0}, "0 frames cannot be chosen: ask for 1 or more"),
        ("diverse", {"min_seconds_apart": -1.0}, "-1.0 s apart"),
        ("diverse", {"min_seconds_apart": float("nan")}, "nan s apart"),
        ("motion", {"closed": [(0, 119)]}, "120 frames 120 are closed"),
        ("uniform", {"closed": [(5, 3)]}, "5 to 3 cannot be closed"),
        ("uniform", {"taken": [60], "min_seconds_apart": 50.0}, "within 50 s of one that is taken"),
        ("diverse", {"taken": [60], "min_seconds_apart": 50.0}, "within 50 s of one that is taken"),
        ("diverse", {"taken": [120]}, "frame 120 does not exist"),
        ("uncertain", {"detections": ()}, "uncertain needs a model's detections"),
        ("active", {"detections": ()}, "active needs a model's detections"),
        ("active", {"threshold": 0.0}, "threshold 0.0 is no score"),
        ("uncertain", {"detections": [FrameResult(frame=400, timestamp=40)]}, "name frame 400"),
    ],
)
def test_bad_input(
    film: tuple[Path, VideoFacts], strategy: Strategy, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        choose(film, strategy, more.pop("number", 4) if "number" in more else 4, **more)


def test_facts_of_a_longer_video(film: tuple[Path, VideoFacts]) -> None:
    longer = film[1].model_copy(update={"frame_count": 150})
    with pytest.raises(BadInput, match="Frame 120 does not exist"):
        choose((film[0], longer), "diverse", 4)


def test_more_than_can_be_compared(film: tuple[Path, VideoFacts]) -> None:
    long = film[1].model_copy(update={"frame_count": 10_000, "duration": 1000.0})
    with pytest.raises(BadInput, match="2000 or fewer"):
        choose((film[0], long), "diverse", 2001)
    assert len(choose((film[0], long), "uniform", 2001).frames) == 2001


def test_detections_are_never_held_whole(film: tuple[Path, VideoFacts]) -> None:
    held: list[weakref.ref[FrameResult]] = []
    most = 0

    def stream() -> Iterator[FrameResult]:
        nonlocal held, most
        for index in range(FRAMES):
            result = found(index)
            held = [weakref.ref(result), *(one for one in held if one() is not None)]
            most = max(most, len(held))
            yield result

    choose(film, "active", 10, detections=stream(), other=stream())
    assert 0 < most <= 8
