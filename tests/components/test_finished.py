"""The outputs that a further attempt of a task takes up: its own, of the same inputs, and whole."""

from pathlib import Path

import pytest

from components.finished import (
    digest_of,
    file_digest,
    forget_finished,
    keep_finished,
    take_finished,
)
from components.pipeline_step import PipelineStep
from components.settings import Settings
from components.steps import no_progress
from components.storage import open_storage
from tests.helpers.s3_server import S3Server

INPUTS = {"dataset": "d1", "settings": "{}", "weights": ""}


def _step(home: Path, **given: str) -> PipelineStep:
    settings = Settings(home=home, **given)  # type: ignore[arg-type]
    return PipelineStep(settings, open_storage(settings), no_progress)


def _made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "plots").mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"weights")
    (folder / "plots" / "a.png").write_bytes(b"picture")
    return folder


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_what_was_made_of_the_same_is_taken_up_whole(tmp_path: Path):
    step = _step(tmp_path / "home")
    keep_finished(step, "t1", "train", digest_of(**INPUTS), _made(tmp_path))
    assert take_finished(step, "t1", "train", digest_of(**INPUTS), tmp_path / "out")
    assert _files(tmp_path / "out") == ["model.pt", "plots/a.png"]
    forget_finished(step, "t1")
    assert not take_finished(step, "t1", "train", digest_of(**INPUTS), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("changed", INPUTS)
def test_what_was_made_of_something_else_is_not(tmp_path: Path, changed: str):
    step = _step(tmp_path / "home")
    keep_finished(step, "t1", "train", digest_of(**INPUTS), _made(tmp_path))
    other = digest_of(**{**INPUTS, changed: "another"})
    assert not take_finished(step, "t1", "train", other, tmp_path / "out")


@pytest.mark.parametrize(("task_id", "name"), [("t2", "train"), ("t1", "export")])
def test_nor_what_another_task_or_step_has_made(tmp_path: Path, task_id: str, name: str):
    step, digest = _step(tmp_path / "home"), digest_of(**INPUTS)
    keep_finished(step, "t1", "train", digest, _made(tmp_path))
    assert not take_finished(step, task_id, name, digest, tmp_path / "out")


def test_what_was_not_kept_to_its_end_is_not_taken_up(tmp_path: Path):
    step, digest = _step(tmp_path / "home"), digest_of(**INPUTS)
    keep_finished(step, "t1", "train", digest, _made(tmp_path))
    (whole,) = step.layout.train_log("t1").rglob("whole.json")
    whole.unlink()
    assert not take_finished(step, "t1", "train", digest, tmp_path / "out")


def test_another_machine_takes_it_from_the_store(tmp_path: Path, s3: S3Server):
    store = {"root": f"s3://{s3.new_bucket()}/x", "s3_endpoint": s3.endpoint}
    here, there = _step(tmp_path / "here", **store), _step(tmp_path / "there", **store)
    digest = digest_of(**INPUTS)
    keep_finished(here, "t1", "train", digest, _made(tmp_path))
    assert take_finished(there, "t1", "train", digest, tmp_path / "out")
    assert _files(tmp_path / "out") == ["model.pt", "plots/a.png"]


def test_a_file_is_known_by_its_bytes(tmp_path: Path):
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_bytes(b"1")
    same.write_bytes(b"1")
    other.write_bytes(b"2")
    assert file_digest(one) == file_digest(same) != file_digest(other)
