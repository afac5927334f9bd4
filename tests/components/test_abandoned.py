"""The temporary folder of a killed process is removed; that of a living one is not."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from components.abandoned import FOLDER_PREFIX, remove_abandoned_folders, temporary_folder

WORKS = """
import subprocess, sys, tempfile
from components.abandoned import temporary_folder
with temporary_folder() as folder:
    mine = tempfile.mkdtemp()
    child = "import tempfile; print(tempfile.mkdtemp())"
    theirs = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout
    print(folder, mine, theirs.strip(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_process_and_its_children_work_in_one_folder_that_goes_when_they_are_killed(place: Path):
    with subprocess.Popen(
        [sys.executable, "-c", WORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder, *inside = map(Path, process.stdout.readline().split())
        assert folder.parent == place
        assert [path.parent for path in inside] == [folder, folder]
        assert remove_abandoned_folders() == []
        assert all(path.is_dir() for path in inside)
        process.kill()
        process.wait()
    assert remove_abandoned_folders() == [folder.name]
    assert list(place.iterdir()) == []


def test_it_is_removed_at_the_end_and_temporary_files_go_where_they_went_before(place: Path):
    with temporary_folder() as folder:
        assert Path(tempfile.mkdtemp()).parent == folder
        assert os.environ["TMPDIR"] == str(folder)
    assert not folder.exists()
    assert Path(tempfile.mkdtemp()).parent == place


def test_what_somebody_else_puts_there_is_left_alone(place: Path):
    target = place / "target"
    target.mkdir()
    (target / "file").write_bytes(b"x")
    (place / f"{FOLDER_PREFIX}link").symlink_to(target)
    assert remove_abandoned_folders() == []
    assert (target / "file").exists()


def test_a_folder_that_is_removed_before_it_is_in_use_is_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    make, made = tempfile.mkdtemp, []

    def removed_once(**given: str) -> str:
        made.append(make(**given))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", removed_once)
    with temporary_folder() as folder:
        assert [str(folder)] == made[1:]
        assert folder.is_dir()
