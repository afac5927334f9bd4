"""Which frames a task's step chooses: by default, and in a round behind another."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.dataset.facts import SPLIT
from components.dataset.held_out import write_held_out
from components.errors import BadInput, BadLabels, Unavailable
from components.files import write_text
from components.frame_results import FrameResult, write_chunk
from components.labeling.draft import KEPT, save_draft
from components.labeling.label_set import LabelSet
from components.labels import LabelSpec
from components.settings import Settings
from components.storage import open_storage
from components.video.extract import frame_name
from components.video.probe import probe_video
from components.video.writer import Mp4Writer
from gateway.steps.choosing import choose_frames, labelled_frames
from gateway.steps.context import OtherTask, StepContext
from gateway.work import Work
from tests.helpers.servers import free_ports
from tests.helpers.videos import picture

FRAMES, FPS = 100, 25


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds."""
    path = tmp_path_factory.mktemp("choosing") / "video.mp4"
    with Mp4Writer(path, wh=(64, 48), fps=FPS, crf=30) as writer:
        for index in range(FRAMES):
            writer.write(picture(index, 64, 48))
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    settings.layout.root.mkdir(parents=True, exist_ok=True)
    return settings


@pytest.fixture
def context(settings: Settings, video: Path) -> Callable[..., StepContext]:
    """Makes the context of a task's step, behind the rounds that are named."""
    facts = {"convert": {"video": probe_video(video).model_dump(mode="json")}}

    def make(*earlier: str, **work: Any) -> StepContext:
        return StepContext(
            settings=settings,
            storage=open_storage(settings),
            task_id="t-now",
            user_id="ada",
            work=Work(**work),
            facts=facts,
            progress=lambda done, total, **facts: None,
            check=lambda: None,
            earlier=tuple(OtherTask(task_id, Work(), {"training": {}}) for task_id in earlier),
        )

    return make


def _round(
    settings: Settings,
    task_id: str,
    labelled: tuple[int, ...],
    *,
    held_out: tuple[int, ...] = (),
    unsure: tuple[int, ...] = (),
    analysed: int = FRAMES,
) -> None:
    """Leave what a round leaves: labels, a dataset, and an analysis unsure of a few frames."""
    layout = settings.layout
    for index in labelled:
        write_text(layout.labels(task_id) / f"{frame_name(index)}.txt", "")
    parts = [(index, "val" if index in held_out else "train") for index in labelled]
    rows = [f"{part}\t{frame_name(index)}.jpg\n" for index, part in parts]
    write_text(layout.dataset(task_id) / SPLIT, "".join(rows))
    results = [_found(index, 0.26 if index in unsure else 0.99) for index in range(analysed)]
    half = len(results) // 2
    write_chunk(layout.results(task_id), 0, results[:half])
    write_chunk(layout.results(task_id), 1, results[half:])


def _found(index: int, score: float) -> FrameResult:
    return FrameResult(
        frame=index,
        timestamp=index / FPS,
        boxes=[[10.0, 10.0, 30.0, 30.0]],
        boxes_score=[score],
        classes=["mouse"],
    )


def _indices(context: StepContext, video: Path) -> list[int]:
    return [frame.index for frame in choose_frames(context, video).frames]


def test_without_a_model_the_frames_are_spread(context, video):
    chosen = choose_frames(context(num_frames=4), video)
    assert chosen.options.strategy == "uniform"
    assert [frame.index for frame in chosen.frames] == [12, 37, 62, 87]
    with pytest.raises(BadInput):
        choose_frames(context(num_frames=4, strategy="uncertain"), video)


def test_a_further_round_asks_for_what_its_model_was_unsure_of(context, settings, video):
    _round(settings, "t-1", (10, 40, 90), held_out=(90,), unsure=(20, 24, 52, 70))
    chosen = choose_frames(context("t-1", num_frames=2), video)
    assert chosen.options.strategy == "active"
    by = {frame.strategy: frame.index for frame in chosen.frames}
    # Three regions compete for one of the two places; the other is for what looks new.
    assert by.keys() == {"uncertain", "diverse"}
    assert by["uncertain"] in (20, 24, 52, 70)
    indices = _indices(context("t-1", num_frames=3, strategy="uncertain"), video)
    assert indices[0] in (20, 24)
    assert indices[1:] == [52, 70]


@pytest.mark.parametrize("strategy", [None, "uncertain"])
def test_a_further_round_does_without_a_second_opinion(context, settings, video, strategy):
    _round(settings, "t-1", (10, 40, 90), held_out=(90,), unsure=(24, 52))
    work = {"num_frames": 2, "strategy": strategy}
    alone = choose_frames(context("t-1", **work), video)
    url = f"127.0.0.1:{free_ports(1)[0]}"
    away = settings.model_copy(update={"triton_url": url, "global_model": "global"})
    asked = replace(context("t-1", **work), settings=away)
    with pytest.raises(Unavailable):
        choose_frames(asked, video)
    chosen = choose_frames(replace(asked, attempt=5), video)
    assert chosen.frames == alone.frames
    assert chosen.note.startswith("chosen without the global model: Triton at ")


@pytest.mark.parametrize("strategy", ["uniform", "diverse", "motion", "uncertain", "active"])
def test_a_further_round_keeps_away_from_what_is_labelled_and_held_out(
    context, settings, video, strategy
):
    _round(settings, "t-1", (10, 70, 80), held_out=(70, 80), unsure=(10, 11, 68, 75, 84))
    _round(settings, "t-2", (10, 30, 70, 80), held_out=(80,), unsure=(10, 30, 66, 72, 85))
    # As its labels step has written it.
    write_held_out(settings.layout.labels("t-2"), [frame_name(70), frame_name(80)])
    indices = _indices(context("t-1", "t-2", num_frames=6, strategy=strategy), video)
    assert len(indices) == 6
    # A twentieth of the video around what is held out.
    assert not set(indices) & set(range(65, 86))
    # A quarter of the distance at which all of them would be spread evenly.
    apart = FRAMES / (6 + 4) / 4
    assert min(abs(index - taken) for index in indices for taken in (10, 30)) >= apart


def test_what_people_skipped_is_not_proposed_again(context, settings, video):
    _round(settings, "t-1", (10,))
    kept = LabelSet(LabelSpec(names=("mouse",)), {}, frozenset({frame_name(50)}))
    save_draft(kept, settings.layout.labels("t-1") / KEPT)
    indices = _indices(context("t-1", num_frames=20, strategy="uniform"), video)
    assert 50 not in indices
    (settings.layout.labels("t-1") / KEPT).unlink()
    assert {49, 50, 51} & set(_indices(context("t-1", num_frames=95, strategy="uniform"), video))


def test_held_out_frames_are_those_of_the_dataset_where_no_round_named_them(
    context, settings, video
):
    _round(settings, "t-1", (10, 90), held_out=(90,))
    indices = _indices(context("t-1", num_frames=20, strategy="uniform"), video)
    assert not set(indices) & set(range(85, 96))
    assert max(indices) >= 96


def test_the_distance_asked_for_counts(context, settings, video):
    _round(settings, "t-1", (50,))
    work = {"num_frames": 50, "strategy": "uniform", "min_seconds_apart": 0.8}
    indices = _indices(context("t-1", **work), video)
    assert all(b - a >= 20 for a, b in zip(indices, [*indices[1:], FRAMES + 20], strict=True))
    assert min(abs(index - 50) for index in indices) >= 20


def test_labels_that_were_given_name_their_frames(context, settings):
    folder = settings.layout.user_file("ada", "given")
    for index in (40, 3):
        write_text(folder / f"{frame_name(index)}.txt", "")
    assert labelled_frames(context(labels_path="given")) == [3, 40]
    assert labelled_frames(context()) == []
    write_text(folder / f"{frame_name(FRAMES)}.txt", "")
    with pytest.raises(BadLabels, match=r"frame_000100 belongs .*\(100 frames\).*frame_000099"):
        labelled_frames(context(labels_path="given"))
