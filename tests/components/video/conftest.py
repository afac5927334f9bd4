"""Videos in a test's own folder."""

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.videos import MakeVideo, write_video


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Gives ``write_video`` with a name in the test's folder in place of a path."""

    def make(name: str = "video.mp4", **settings: Any) -> Path:
        return write_video(tmp_path / name, **settings)

    return make
