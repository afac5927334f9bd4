"""Logs do not grow for ever, and lose nothing that stands in them."""

import os
from pathlib import Path

import pytest

from actverse.log_files import rotate

MOST = 1000


def _line(number: int) -> bytes:
    return f"{number:06d} {'x' * 40}\n".encode()


@pytest.mark.parametrize("old", [1, 2, 5])
def test_every_line_stands_in_one_of_the_files_in_its_order(tmp_path: Path, old: int):
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as file:  # kept open, as a service does
        for number in range(500):
            file.write(_line(number))
            rotate(log, MOST, old)
    names = [f"a.log.{n}" for n in range(old, 0, -1)] + ["a.log"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    content = b"".join((tmp_path / name).read_bytes() for name in names)
    lines = len(content) // len(_line(0))
    assert content == b"".join(_line(number) for number in range(500 - lines, 500))
    assert lines * len(_line(0)) >= old * MOST
    assert all(path.stat().st_size < MOST + len(_line(0)) for path in tmp_path.iterdir())


def test_what_is_small_or_not_there_is_left_alone(tmp_path: Path):
    log = tmp_path / "a.log"
    assert not rotate(log, MOST, 3)
    log.write_bytes(b"x" * (MOST - 1))
    assert not rotate(log, MOST, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.log"]


def test_no_half_copy_is_left_where_none_can_be_made(tmp_path: Path):
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * MOST)
    (tmp_path / "a.log.1").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        rotate(log, MOST, 1)
    assert log.stat().st_size == MOST
    assert not os.path.lexists(tmp_path / "a.log.1")
