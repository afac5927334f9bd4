"""The working copies of moto's S3: those in use stay, the others make room."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.settings import Settings
from components.storage import Storage, open_storage
from components.working_copies import WorkingCopies
from tests.helpers.s3_server import S3Server

VIDEO = os.urandom(1000)


HOLDER = """
import sys
from pathlib import Path
from components.settings import Settings
from components.storage import open_storage
from components.working_copies import WorkingCopies
with WorkingCopies(open_storage(Settings()), Path(sys.argv[1])).of("a") as copy:
    (copy.layout.root / "half").write_bytes(bytes(10_000))
    print("held", flush=True)
    input()
"""


@pytest.fixture
def settings(s3: S3Server, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, root=f"s3://{s3.new_bucket()}/lab", s3_endpoint=s3.endpoint)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tasks"


def make(copies: WorkingCopies, task_id: str) -> None:
    """A task's video, made and kept."""
    with copies.of(task_id) as copy:
        path = copy.layout.video(task_id) / "video.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(VIDEO)
        copy.keep(path)


def there(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_those_that_were_used_last_stay(storage: Storage, folder: Path):
    copies = WorkingCopies(storage, folder, idle_bytes=2500)
    for task_id in ("a", "b", "c"):
        make(copies, task_id)
    assert there(folder) == ["b", "c"]
    make(copies, "b")
    make(copies, "d")
    assert there(folder) == ["b", "d"]
    # The last one, for its task's next step, even if it is larger than all may be.
    make(WorkingCopies(storage, folder, idle_bytes=10), "e")
    assert there(folder) == ["e"]
    with copies.of("a") as copy:
        assert copy.bring(copy.layout.video("a") / "video.mp4").read_bytes() == VIDEO


def test_what_is_in_use_stays_with_what_is_not_kept_yet(storage: Storage, folder: Path):
    copies = WorkingCopies(storage, folder, idle_bytes=0)
    with copies.of("a") as copy:
        written = copy.layout.results("a") / "results.csv"
        written.parent.mkdir(parents=True)
        written.write_text("frame,id")
        # As another process sees it.
        others = WorkingCopies(storage, folder, idle_bytes=0)
        make(others, "a")
        make(others, "b")
        make(others, "c")
        assert written.read_text() == "frame,id"
        assert there(folder) == ["a", "c"]
    make(copies, "c")
    assert there(folder) == ["c"]


def test_a_step_that_fails_leaves_its_copy_for_the_next_attempt(storage: Storage, folder: Path):
    copies = WorkingCopies(storage, folder, idle_bytes=0)
    with pytest.raises(ValueError, match="broke"), copies.of("a") as copy:
        (copy.layout.root / "chunk").write_text("half")
        raise ValueError("it broke")
    with copies.of("a") as copy:
        assert (copy.layout.root / "chunk").read_text() == "half"


def test_what_a_killed_process_held_makes_room(settings: Settings, storage: Storage, folder: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        env=settings.environment(secrets=True),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    copies = WorkingCopies(storage, folder, idle_bytes=0)
    make(copies, "b")
    make(copies, "c")
    assert there(folder) == ["a", "c"]
    process.kill()
    process.communicate()
    # What it had written counts, though it told nobody.
    make(WorkingCopies(storage, folder, idle_bytes=9000), "c")
    assert there(folder) == ["c"]
    # It may have been removing one.
    (folder / ".half-removed").mkdir()
    make(copies, "d")
    assert there(folder) == ["d"]


def test_side_by_side_nobody_loses_what_they_work_on(storage: Storage, folder: Path):
    for task_id in ("a", "b", "c"):
        make(WorkingCopies(storage, folder), task_id)
    faults: list[BaseException] = []
    rounds = threading.Barrier(6)

    def work(number: int) -> None:
        copies = WorkingCopies(storage, folder, idle_bytes=0)
        rounds.wait()
        for turn in range(12):
            task_id = "abc"[(number + turn) % 3]
            with copies.of(task_id) as copy:
                video = copy.layout.video(task_id) / "video.mp4"
                own = copy.layout.root / f"{number}"
                own.write_text(str(turn))
                if copy.bring(video).read_bytes() != VIDEO or own.read_text() != str(turn):
                    faults.append(ValueError(task_id))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert not faults
    # Two that look through them at once may each leave one.
    make(WorkingCopies(storage, folder, idle_bytes=0), "d")
    assert there(folder) == ["d"]


def test_a_folder_is_no_copy(tmp_path: Path):
    storage = open_storage(Settings(home=tmp_path))
    with WorkingCopies(storage, tmp_path / "tasks", idle_bytes=0).of("a") as same:
        assert same is storage
    assert not (tmp_path / "tasks").exists()
