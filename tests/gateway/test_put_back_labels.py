"""A project that is put up again, or opened again: nothing newer than the kept labels is lost."""

from dataclasses import replace
from pathlib import Path

import pytest

from components.errors import Conflict
from components.settings import Settings
from components.storage import open_storage
from gateway.steps.context import OtherTask, StepContext, Waiting
from gateway.steps.labeling import import_labels, request_labels, take_labels
from gateway.work import Work
from tests.helpers.label_images import make_images

FIRST, SECOND = "t-000000000001", "t-000000000002"
STEMS = "frame_000001", "frame_000004"
BOX, OTHER_BOX = "0 0.5 0.5 0.2 0.2\n", "0 0.4 0.4 0.3 0.3\n"


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    """Of the steps of a task of ada's, whose two frames are labelled in a folder."""
    settings = Settings(home=tmp_path, labeling_settle_seconds=0.0)
    storage = open_storage(settings)
    make_images(storage.layout.frames(FIRST), *STEMS)
    made = StepContext(
        settings=settings,
        storage=storage,
        task_id=FIRST,
        user_id="ada",
        work=Work(names=("mouse",), labeling_tool="folder"),
        facts={},
        progress=lambda done, total, **facts: None,
        check=lambda: None,
    )
    made.facts["labeling"] = request_labels(made)
    return made


def _file(context: StepContext, stem: str) -> Path:
    return context.own(context.facts["labeling"]["project"]) / "labels" / f"{stem}.txt"


def _look(context: StepContext) -> None:
    """The monitor's look at labels that do not count yet, and what it remembers."""
    with pytest.raises(Waiting) as waiting:
        take_labels(context)
    context.facts["labels"] = waiting.value.facts


def test_a_lost_project_gets_its_labels_back(context: StepContext):
    _file(context, STEMS[0]).write_text(BOX)
    _look(context)
    context.storage.delete(f"users/ada/{context.facts['labeling']['project']}")
    request_labels(context)
    assert [float(number) for number in _file(context, STEMS[0]).read_text().split()] == (
        pytest.approx([float(number) for number in BOX.split()])
    )
    assert not _file(context, STEMS[1]).exists()


@pytest.mark.parametrize("typo", ["", "7 0.5 0.5 0.2 0.2\n"])
def test_what_is_newer_than_the_kept_labels_stays(context: StepContext, typo: str):
    _file(context, STEMS[0]).write_text(BOX)
    _look(context)
    _file(context, STEMS[0]).write_text(OTHER_BOX)
    _file(context, STEMS[1]).write_text(typo)
    request_labels(context)
    assert _file(context, STEMS[0]).read_text() == OTHER_BOX
    assert _file(context, STEMS[1]).read_text() == typo


def test_an_opened_project_counts_once_changed_though_a_worker_was_lost(context: StepContext):
    for stem in STEMS:
        _file(context, stem).write_text(BOX)
    labelled = take_labels(context)
    before = OtherTask(FIRST, context.work, {**context.facts, "labels": labelled})
    work = context.work.model_copy(update={"reopens": FIRST, "round": 2})
    again = replace(context, task_id=SECOND, work=work, facts={}, earlier=(before,))
    again.facts["labeling"] = request_labels(again)
    _look(again)
    _file(context, STEMS[0]).write_text(OTHER_BOX)
    # A lost worker's step remembers nothing.
    again.facts.pop("labels")
    assert take_labels(again)["of_this_round"] == 2


def test_labels_that_come_too_late_are_refused(context: StepContext):
    for stem in STEMS:
        _file(context, stem).write_text(BOX)
    task = OtherTask(FIRST, context.work, {**context.facts, "labels": take_labels(context)})
    given = context.own("given")
    given.mkdir(parents=True)
    (given / f"{STEMS[0]}.txt").write_text(OTHER_BOX)
    work = Work(labels_path="given", labeling_task_id=FIRST)
    late = replace(context, task_id=SECOND, work=work, facts={}, labeling=task)
    with pytest.raises(Conflict, match="were taken meanwhile"):
        import_labels(late)
    assert _file(context, STEMS[0]).read_text() == BOX
