"""A full disk: the step says so, and the task keeps what was whole."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from actverse.sample import make_sample
from components.errors import StorageFull
from components.files import whole_file


def test_a_write_that_finds_no_space_says_so_and_leaves_nothing(tmp_path: Path):
    target = tmp_path / "a.bin"
    with pytest.raises(StorageFull, match=r"No space is left for a\.bin"), whole_file(target):
        Path("/dev/full").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_frames(stack) -> Iterator[Path]:
    """The storage's frames on a file system of 64 KiB."""
    folder = stack.settings.layout.root / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if (mounted := subprocess.run(command, capture_output=True, text=True)).returncode:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_task_on_a_full_disk_fails_with_a_sentence(stack, small_frames: Path, tmp_path: Path):
    truth = make_sample(tmp_path / "a.mp4", frames=60, wh=(320, 240))
    truth.write_labels(tmp_path / "labels", range(60))
    names = list(truth.spec.names)
    task_id = stack.submit(tmp_path / "a.mp4", tmp_path / "labels", names=names)
    outcome = stack.outcome(task_id)
    assert outcome.state == "failed"
    assert "No space is left" in outcome.error
    assert list(small_frames.iterdir()) == []
    assert (stack.settings.layout.video(task_id) / "video.mp4").exists()
