"""What killed processes leave in shared memory is removed; what is in use is not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.serving.leftovers import remove_abandoned_blocks, remove_shared_memory
from components.serving.shared_memory import SharedBlock

SHARED_MEMORY = Path("/dev/shm")
MAKES_A_BLOCK = """
import sys
from components.serving.shared_memory import SharedBlock
print(SharedBlock(4096).key[1:], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def maker() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", MAKES_A_BLOCK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()
    remove_abandoned_blocks()


def made_by(maker: "subprocess.Popen[str]") -> Path:
    assert maker.stdout is not None
    return SHARED_MEMORY / maker.stdout.readline().strip()


def test_leftovers_of_a_killed_triton_can_be_removed():
    left = SHARED_MEMORY / f"actverse_test_{os.getpid()}_left"
    left.write_bytes(b"x")
    assert remove_shared_memory(f"actverse_test_{os.getpid()}_") == [left.name]
    assert not left.exists()
    assert remove_shared_memory("") == []


def test_the_block_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(maker):
    block, mine = made_by(maker), SharedBlock(4096)
    assert not {block.name, mine.key[1:]} & set(remove_abandoned_blocks())
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    assert block.name in remove_abandoned_blocks()
    assert not block.exists()
    mine.unlink()
    assert not (SHARED_MEMORY / mine.key[1:]).exists()


def test_who_makes_a_block_removes_those_that_were_left(maker):
    block = made_by(maker)
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    SharedBlock(4096).unlink()
    assert not block.exists()


def test_what_somebody_else_puts_there_is_left_alone(tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    link, pipe = (SHARED_MEMORY / f"actverse-{os.getpid()}-{kind}" for kind in ("link", "pipe"))
    link.symlink_to(file)
    os.mkfifo(pipe)
    try:
        found = remove_abandoned_blocks()
        assert link.name not in found
        assert file.exists()
    finally:
        link.unlink(missing_ok=True)
        pipe.unlink(missing_ok=True)
