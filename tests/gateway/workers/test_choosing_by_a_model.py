"""Which frames a task's first step chooses by what a real Triton serves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from components.errors import StepFailed, Unavailable
from components.settings import Settings
from components.storage import open_storage
from components.video.extract import uniform_indices
from components.video.probe import probe_video
from components.video.writer import Mp4Writer
from gateway.steps.choosing import choose_frames
from gateway.steps.context import StepContext
from gateway.work import Work
from tests.gateway.workers.conftest import MODEL
from tests.helpers.servers import TritonServer, free_ports

pytestmark = pytest.mark.slow

WH = (96, 64)
# More than ten minutes, in few frames.
FRAMES, FPS = 1300, 2
PLACES = uniform_indices(FRAMES, 300)
JUMPS = PLACES[100] + 1


def _picture(x: int) -> np.ndarray:
    bgr = np.full((WH[1], WH[0], 3), 110, np.uint8)
    cv2.ellipse(bgr, (x, 32), (8, 8), 0, 0, 360, (0, 0, 255), -1)
    return bgr


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A blob that lies still, but for one frame."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    with Mp4Writer(path, wh=WH, fps=FPS, crf=12) as writer:
        for index in range(FRAMES):
            writer.write(_picture(48 if index == JUMPS else 32))
    return path


@pytest.fixture
def settings(tmp_path: Path, served: TritonServer) -> Settings:
    return Settings(home=tmp_path, triton_url=served.url, global_model=MODEL)


@pytest.fixture
def context(settings: Settings) -> Callable[..., StepContext]:
    def make(
        video: Path, settings: Settings = settings, attempt: int = 1, **work: Any
    ) -> StepContext:
        return StepContext(
            settings=settings,
            storage=open_storage(settings),
            task_id="t-now",
            user_id="ada",
            work=Work(**work),
            facts={"convert": {"video": probe_video(video).model_dump(mode="json")}},
            progress=lambda done, total, **facts: None,
            check=lambda: None,
            attempt=attempt,
        )

    return make


@pytest.mark.parametrize(("model", "strategy"), [(MODEL, "active"), ("other", "uniform")])
def test_a_first_round_is_active_where_a_global_model_is_served(
    context, clip: Path, settings: Settings, model: str, strategy: str
):
    asked = settings.model_copy(update={"global_model": model})
    chosen = choose_frames(context(clip, asked, num_frames=4), clip)
    assert (chosen.options.strategy, chosen.note) == (strategy, "")
    by = {frame.strategy for frame in chosen.frames}
    assert by == ({"uncertain", "diverse"} if strategy == "active" else {"uniform"})


@pytest.fixture
def away(settings: Settings) -> Settings:
    """With a Triton that does not answer."""
    return settings.model_copy(update={"triton_url": f"127.0.0.1:{free_ports(1)[0]}"})


def test_a_triton_that_stays_away_is_done_without(context, clip: Path, away: Settings):
    with pytest.raises(Unavailable):
        choose_frames(context(clip, away), clip)
    chosen = choose_frames(context(clip, away, attempt=5, num_frames=3), clip)
    assert chosen.options.strategy == "uniform"
    assert [frame.index for frame in chosen.frames] == uniform_indices(24, 3)
    assert chosen.note.startswith(
        f"chosen without the global model: Triton at {away.triton_url} did not answer"
    )


def test_a_model_whose_process_has_died_is_done_without(
    context, clip: Path, settings: Settings, dying_model: str
):
    broken = settings.model_copy(update={"global_model": dying_model})
    chosen = choose_frames(context(clip, broken, num_frames=3), clip)
    assert chosen.options.strategy == "uniform"
    assert chosen.note.startswith("chosen without the global model: Triton could not do its part")


def test_who_asks_for_a_model_hears_that_it_is_broken(
    context, clip: Path, settings: Settings, dying_model: str
):
    broken = settings.model_copy(update={"global_model": dying_model})
    with pytest.raises(StepFailed):
        choose_frames(context(clip, broken, attempt=5, strategy="active"), clip)


def test_who_asks_for_a_model_waits_for_triton(context, clip: Path, away: Settings):
    with pytest.raises(Unavailable):
        choose_frames(context(clip, away, attempt=5, strategy="uncertain"), clip)


@pytest.mark.parametrize("strategy", ["uniform", "diverse", "motion"])
def test_who_asks_for_no_model_needs_no_triton(context, clip: Path, away: Settings, strategy: str):
    chosen = choose_frames(context(clip, away, num_frames=3, strategy=strategy), clip)
    assert (chosen.options.strategy, chosen.note) == (strategy, "")


def test_a_box_that_jumps_in_a_long_video_is_chosen(context, long_video: Path):
    work = {"num_frames": 3, "min_seconds_apart": 0.0, "strategy": "uncertain"}
    chosen = choose_frames(context(long_video, **work), long_video)
    frames = sorted(chosen.frames, key=lambda frame: -frame.score)
    assert {frame.index for frame in frames[:2]} == {JUMPS - 1, JUMPS}
    # The pixels alone make hardly a difference.
    assert frames[1].score > frames[2].score + 0.05
