"""What attackers give: all of ``tests/corpus/content.py`` through the doors that it is given at."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from components.dataset.leak import thumbnail
from components.errors import ActverseError
from components.export.apart import export_apart
from components.export.parity import HeldOutFrame
from components.images import read_image
from components.labeling.archive import unpacked
from components.layout import Layout
from components.registry.trial import TrialLimits, try_out_apart
from components.settings import Settings
from components.video.probe import probe_video
from tests.corpus.content import CONTENT, Attack
from tests.helpers.tiny_onnx import draw_frame

_SECONDS = 60
_MEMORY = 600 * 2**20
"""What handling one of them may add to this process."""


def _frames(folder: Path) -> list[HeldOutFrame]:
    cv2.imwrite(str(folder / "blobs.png"), draw_frame((96, 96), seed=1)[0])
    return [HeldOutFrame(folder / "blobs.png")]


def _onnx(path: Path, folder: Path) -> None:
    limits = TrialLimits(answer_seconds=1, seconds=30, memory_bytes=2**30)
    try_out_apart(path, _frames(folder), folder / "proof", of="the images", limits=limits)


def _checkpoint(path: Path, folder: Path) -> None:
    (folder / "frames").mkdir()
    _frames(folder / "frames")
    environment = Settings(home=folder / "home").environment(secrets=False)
    export_apart(path, folder / "frames", folder / "out", imgsz=None, environment=environment)


def _archive(path: Path, folder: Path) -> None:
    with unpacked(path) as inside:
        assert all(file.resolve().is_relative_to(inside) for file in inside.rglob("*"))


def _image(path: Path, folder: Path) -> None:
    read_image(path)
    thumbnail(path)


def _video(path: Path, folder: Path) -> None:
    probe_video(path)


_ENTRIES: dict[str, Callable[[Path, Path], None]] = {
    "onnx": _onnx,
    "checkpoint": _checkpoint,
    "archive": _archive,
    "image": _image,
    "video": _video,
}


@contextmanager
def bounded() -> Iterator[None]:
    """See that the block takes neither long nor much memory of this process."""
    own = Path("/proc/self")
    (own / "clear_refs").write_text("5")  # The peak is counted from here on.
    before, begun = _peak(own), time.monotonic()
    yield
    assert time.monotonic() - begun < _SECONDS
    assert _peak(own) - before < _MEMORY


def _peak(own: Path) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", (own / "status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize("attack", CONTENT, ids=str)
def test_an_attack_does_no_harm(attack: Attack, tmp_path: Path):
    """Each is refused with a sentence that names it, or taken without any harm."""
    given = tmp_path / "given"
    given.mkdir()
    environment = dict(os.environ)
    if attack.entry == "file name":
        with pytest.raises(ActverseError, match=attack.refused):
            Layout(tmp_path).user_file("someone", attack.name)
        return
    path = given / attack.name
    attack.make(path)
    with bounded():
        if attack.refused:
            with pytest.raises(ActverseError, match=attack.refused) as refusal:
                _ENTRIES[attack.entry](path, tmp_path)
            assert "Traceback" not in str(refusal.value)
        else:
            _ENTRIES[attack.entry](path, tmp_path)
    assert [file.name for file in given.iterdir()] == [attack.name], "it has left a file"
    assert not attack.leaks or not (given / attack.leaks).exists()
    assert dict(os.environ) == environment
