"""Videos and models of moving squares; see ``tests/helpers/squares.py``."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.video.probe import VideoFacts, probe_video
from tests.helpers.squares import ColourModel, write_squares


@pytest.fixture(scope="session")
def squares_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 frames of squares."""
    return write_squares(tmp_path_factory.mktemp("videos") / "squares.mp4", 70)


@pytest.fixture
def make_squares(tmp_path: Path) -> Callable[..., Path]:
    """Writes another video of squares."""
    return lambda frames, **choices: write_squares(tmp_path / "other.mp4", frames, **choices)


@pytest.fixture
def broken_video(squares_video: Path, tmp_path: Path) -> tuple[Path, VideoFacts]:
    """A video that was cut off after it was probed, and what the probe said."""
    facts = probe_video(squares_video)
    path = tmp_path / "broken.mp4"
    content = squares_video.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.7)])
    return path, facts


@pytest.fixture
def model() -> ColourModel:
    """A fresh pose model."""
    return ColourModel()


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    """Every test here ends with the threads it began with."""
    before = {thread for thread in threading.enumerate() if thread.name.startswith("analysis")}
    yield
    after = {thread for thread in threading.enumerate() if thread.name.startswith("analysis")}
    assert after <= before
