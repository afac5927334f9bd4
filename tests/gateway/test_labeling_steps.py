"""The steps around the labels, run as they are, with a folder in which somebody labels."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from components.dataset.facts import SPLIT
from components.dataset.held_out import read_held_out
from components.errors import BadInput, BadLabels, Conflict, NotFound
from components.files import write_text
from components.labeling.draft import KEPT, load_draft
from components.labeling.folder_backend import FolderBackend
from components.labeling.formats import open_format
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labeling.objects import LabelledObject, frame_labels
from components.labels import LabelSpec
from components.settings import Settings
from components.storage import Storage, open_storage
from components.video.extract import frame_name
from gateway.steps.context import OtherTask, StepContext, Waiting
from gateway.steps.labeling import import_labels, request_labels, take_labels
from gateway.work import Work
from tests.helpers.label_images import make_images

SPEC = LabelSpec(names=("mouse", "rat"))
SIZE = 100, 80
MOUSE, RAT = "0 0.5 0.5 0.2 0.2\n", "1 0.25 0.25 0.1 0.1\n"
SETTLE = 600.0


@dataclass
class Labelling:
    """One task of ada's whose frames are labelled in a folder; its steps' facts are kept."""

    settings: Settings
    task_id: str
    frames: tuple[int, ...]
    work: Work = field(default_factory=lambda: Work(project_name="arena", names=SPEC.names))
    earlier: tuple["Labelling", ...] = ()
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_open: bool = False

    def __post_init__(self) -> None:
        if not self.work.reopens:
            names = [f"{frame_name(index)}.jpg" for index in self.frames]
            make_images(self.storage.layout.frames(self.task_id), *names, size_wh=SIZE)

    @property
    def storage(self) -> Storage:
        return open_storage(self.settings)

    @property
    def other(self) -> OtherTask:
        return OtherTask(self.task_id, self.work, {**self.facts, "training": {}}, self.is_open)

    def context(self, **change: Any) -> StepContext:
        context = StepContext(
            settings=self.settings,
            storage=self.storage,
            task_id=self.task_id,
            user_id="ada",
            work=self.work,
            facts=self.facts,
            progress=lambda done, total, **facts: None,
            check=lambda: None,
            earlier=tuple(one.other for one in self.earlier),
        )
        return replace(context, **change)

    def ask(self) -> dict[str, Any]:
        self.facts["labeling"] = request_labels(self.context())
        return self.facts["labeling"]

    def take(self) -> dict[str, Any]:
        """Look at the labels; what a step that waits says is kept, as the runner does."""
        try:
            self.facts["labels"] = take_labels(self.context())
        except Waiting as waiting:
            self.facts["labels"] = waiting.facts or self.facts.get("labels", {})
            raise
        return self.facts["labels"]

    def wait(self, fault: str = "") -> Waiting:
        """Look at the labels, which do not count yet, for ``fault`` if one is named."""
        with pytest.raises(Waiting, match=fault or None) as caught:
            self.take()
        assert bool(caught.value.fault) == bool(fault), caught.value.fault
        return caught.value

    def settle(self) -> None:
        """Let the time pass for which labels must be left alone, and drafts are not read."""
        looked = self.facts["labels"]
        looked["monitor"]["since"] -= SETTLE
        if "draft" in looked:
            looked["draft"]["at"] -= SETTLE

    def finish(self) -> dict[str, Any]:
        self.wait()
        self.settle()
        return self.take()

    @property
    def folder(self) -> Path:
        return self.storage.layout.user_file("ada", self.facts["labeling"]["project"])

    def label(self, index: int, text: str = MOUSE) -> Path:
        path = self.folder / "labels" / f"{frame_name(index)}.txt"
        write_text(path, text)
        return path

    @property
    def kept(self) -> Path:
        return self.storage.layout.labels(self.task_id)

    def texts(self) -> dict[int, str]:
        """The classes of the labels that the task keeps, by frame."""
        return {
            int(path.stem.removeprefix("frame_")): "".join(
                line.split()[0] for line in path.read_text().splitlines()
            )
            for path in self.kept.glob("frame_*.txt")
        }

    def split(self, **parts: str) -> None:
        """Let there be a dataset that was built of the labels, with each part's frames."""
        path = self.storage.layout.dataset(self.task_id) / SPLIT
        rows = [
            f"{part}\t{frame_name(int(index))}.jpg\n"
            for part, indices in parts.items()
            for index in indices.split()
        ]
        write_text(path, "".join(rows))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path, labeling_settle_seconds=SETTLE)
    settings.layout.root.mkdir(parents=True, exist_ok=True)
    return settings


@pytest.fixture
def first(settings: Settings) -> Labelling:
    """Three frames, laid out."""
    task = Labelling(settings, "t-1", (1, 4, 9))
    task.ask()
    return task


@pytest.fixture
def done(first: Labelling) -> Labelling:
    """A round that was labelled and trained; frame 9 was held out."""
    for index in first.frames:
        first.label(index)
    first.finish()
    first.split(train="1 4", val="9")
    return first


def _reopened(done: Labelling) -> Labelling:
    work = done.work.model_copy(update={"reopens": done.task_id, "round": 2})
    task = Labelling(done.settings, "t-2", done.frames, work, (done,))
    task.ask()
    return task


def _labels(**objects: str) -> LabelSet:
    box = (10.0, 20.0, 40.0, 60.0)
    return LabelSet(
        SPEC,
        {
            stem: LabelledFrame(
                f"{stem}.jpg", SIZE, frame_labels([LabelledObject(name, box)], SPEC, SIZE, "")
            )
            for stem, name in objects.items()
        },
    )


def _bring(task: Labelling, labels: LabelSet, **work: Any) -> dict[str, Any]:
    place = task.storage.layout.user_file("ada", "coco")
    place.mkdir(parents=True)
    open_format("coco").write(labels, place)
    brings = Work(labels_path="coco", labeling_task_id=task.task_id, **work)
    return import_labels(
        task.context(task_id="t-import", work=brings, facts={}, labeling=task.other)
    )


def test_complete_labels_count_once_they_are_left_alone(first: Labelling):
    assert (first.facts["labeling"]["project"], first.facts["labeling"]["frames"]) == (
        "labeling/arena-t-1",
        3,
    )
    waiting = first.wait()
    assert (waiting.done, waiting.total) == (0, 3)
    first.label(1)
    first.label(4, "")
    assert str(first.wait()) == "2 of 3 frames are labelled."
    first.settle()
    first.wait()  # left alone for long, and not complete
    first.label(9, MOUSE + RAT)
    assert first.wait().done == 3
    first.wait()
    first.settle()
    told = first.take()
    assert told["counts"] == {"images": 3, "objects": 3, "mouse": 2, "rat": 1}
    assert (told["of_this_round"], told["total"]) == (3, 3)
    assert LabelSpec.model_validate(told["spec"]) == SPEC
    assert first.texts() == {1: "0", 4: "", 9: "01"}
    assert load_draft(first.kept / KEPT).objects == {"mouse": 2, "rat": 1}
    assert read_held_out(first.kept) == ()


def test_a_label_that_is_taken_back_is_waited_for(first: Labelling):
    last = [first.label(index) for index in first.frames][-1]
    first.wait()
    last.unlink()
    first.settle()
    assert first.wait().done == 2
    first.label(9)
    first.wait()
    first.settle()
    assert first.take()["counts"]["images"] == 3


@pytest.mark.parametrize("error", [BadInput("It refuses the folder."), NotFound("It is gone.")])
def test_a_tool_that_refuses_what_it_is_given_is_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    """What Label Studio answers to a storage that it cannot reach, say; people can mend it."""
    task = Labelling(settings, "t-1", (1, 4))
    with monkeypatch.context() as patch:
        patch.setattr(FolderBackend, "open", Mock(side_effect=error))
        with pytest.raises(Waiting) as caught:
            task.ask()
    assert caught.value.fault == str(error)
    assert task.ask()["frames"] == 2


def test_a_label_studio_that_is_not_set_any_more_is_waited_for(settings: Settings):
    work = Work(project_name="arena", names=SPEC.names, labeling_tool="label-studio")
    with pytest.raises(Waiting, match="No Label Studio is set") as caught:
        Labelling(settings, "t-1", (1, 4), work).ask()
    assert caught.value.fault


def test_a_typo_is_told_and_waited_for(first: Labelling):
    first.label(1)
    first.label(4)
    first.label(9, "0 0.5 0.5\n")
    first.wait("3 values")  # as soon as a draft is read
    first.settle()
    waiting = first.wait(r"frame_000009\.txt, line 1: 3 values")
    assert (waiting.done, waiting.total) == (3, 3)
    first.label(9)
    first.wait("3 values")  # until they are read again
    first.settle()
    assert first.take()["counts"]["objects"] == 3


def test_beside_a_typo_the_other_labels_are_kept(first: Labelling):
    place = first.storage.layout.labels_draft("t-1")
    first.label(1)
    first.wait()
    first.label(1, "0 0.5 0.5\n")
    first.label(4, RAT)
    first.settle()
    fault = first.wait(r"frame_000001\.txt, line 1: 3 values").fault
    kept = load_draft(place)
    # Of the first frame as it was before.
    assert (kept.frames.keys(), kept.objects) == (
        {"frame_000001", "frame_000004"}, {"mouse": 1, "rat": 1},
    )  # fmt: skip
    # It is told on, though it is not read at each look.
    looked = dict(first.facts["labels"]["draft"])
    assert first.wait("3 values").fault == fault
    assert first.facts["labels"]["draft"] == looked
    first.label(1, RAT)
    first.wait("3 values")
    first.settle()
    assert first.wait().fault == ""
    assert load_draft(place).objects == {"mouse": 0, "rat": 2}


def test_a_fault_that_is_taken_back_is_told_no_more(first: Labelling):
    path = first.label(1, "0 0.5 0.5\n")
    first.wait("3 values")
    path.unlink()
    first.wait()


def test_labels_whose_classes_nobody_names_are_read_once_a_minute(settings: Settings):
    task = Labelling(settings, "t-1", (1, 4, 9), Work(project_name="arena"))
    task.ask()
    task.label(1)
    task.wait("Nobody names the classes")
    write_text(task.folder / "classes.txt", "mouse\nrat\n")
    task.wait("Nobody names the classes")
    task.settle()
    task.wait()


def test_what_is_there_can_be_made_to_suffice(first: Labelling):
    four = Labelling(first.settings, "t-4", (1, 4, 9, 16), first.work)
    four.ask()
    four.work = four.work.model_copy(update={"labels_now": True})
    four.wait("Nothing is labelled yet: label 3 frames at least")
    four.label(4)
    four.label(9)
    waiting = four.wait("There are 2 labelled frames, but a training needs at least 3: label more")
    assert (waiting.done, waiting.total) == (2, 4)
    four.label(1, "")
    told = four.take()
    assert (told["of_this_round"], four.texts()) == (3, {1: "", 4: "0", 9: "0"})


def test_few_frames_that_are_all_there_is_count(settings: Settings):
    two = Labelling(settings, "t-2", (1, 4))
    two.ask()
    two.label(1)
    two.label(4)
    assert two.finish()["counts"]["images"] == 2


def test_beside_the_labels_of_earlier_rounds_one_is_enough(done: Labelling):
    second = Labelling(done.settings, "t-2", (6, 7), done.work, (done,))
    second.ask()
    second.work = second.work.model_copy(update={"labels_now": True})
    second.wait("label one frame at least")
    second.label(6, RAT)
    assert second.take()["counts"]["images"] == 4


def test_of_a_project_that_is_opened_again_its_own_labels_have_to_suffice(done: Labelling):
    again = _reopened(done)
    for index in done.frames:
        again.label(index).unlink()
    again.work = again.work.model_copy(update={"labels_now": True})
    again.wait("label 3 frames at least")
    again.label(1)
    again.wait("There are 1 labelled frames")


def test_labels_without_any_object_are_told(first: Labelling):
    for index in first.frames:
        first.label(index, "")
    first.wait()
    first.settle()
    waiting = first.wait("labels of 3 images hold no object at all")
    assert (waiting.done, waiting.total) == (3, 3)
    first.label(4)
    assert first.finish()["counts"]["objects"] == 1


def test_a_project_is_opened_again_though_its_labels_were_never_taken(first: Labelling):
    first.facts["labels"] = {}  # of a step that failed
    again = _reopened(first)
    for index in first.frames:
        again.label(index, RAT)
    again.finish()
    assert again.texts() == {1: "1", 4: "1", 9: "1"}
    assert len(list((again.kept / "images").iterdir())) == 3
    assert read_held_out(again.kept) == ()


def test_a_folder_that_was_deleted_is_put_up_again_with_its_labels(first: Labelling):
    first.label(1)
    first.label(4, RAT)
    first.wait()
    first.storage.delete("users/ada/labeling/arena-t-1")
    waiting = first.wait(
        r"labeling/arena-t-1 is gone.*The labels of 2 frames are kept\. "
        "'actverse labels restore t-1' puts it up again with them"
    )
    assert (waiting.done, waiting.total) == (2, 3)
    # As ``restore_labeling`` does.
    first.facts = {}
    first.ask()
    assert first.wait().done == 2
    assert (first.folder / "labels" / "frame_000004.txt").read_text().startswith("1 ")
    first.label(9)
    assert first.finish()["counts"] == {"images": 3, "objects": 3, "mouse": 2, "rat": 1}


def _without(task: Labelling, *frames: int) -> None:
    for index in frames:
        (task.folder / "images" / f"{frame_name(index)}.jpg").unlink()
        (task.folder / "labels" / f"{frame_name(index)}.txt").unlink(missing_ok=True)


def test_frames_that_are_gone_from_a_project_are_told_and_put_up_again(first: Labelling):
    first.label(1)
    first.label(4, RAT)
    first.wait()
    _without(first, 4, 9)
    first.label(1, RAT)
    first.settle()
    told = (
        "2 of 3 frames are gone from the project: 'actverse labels restore t-1' puts them up "
        "again, 'actverse train t-1 --now' goes on without them"
    )
    waiting = first.wait(told)
    assert (waiting.done, waiting.total) == (1, 1)
    first.settle()
    first.wait(told)  # complete, and left alone
    kept = load_draft(first.storage.layout.labels_draft("t-1"))
    assert (kept.frames.keys(), kept.objects) == (
        {"frame_000001", "frame_000004"}, {"mouse": 0, "rat": 2},
    )  # fmt: skip
    # As ``restore_labeling`` does.
    first.facts = {}
    first.ask()
    waiting = first.wait()
    assert (waiting.done, waiting.total) == (2, 3)
    first.label(9)
    assert first.finish()["counts"] == {"images": 3, "objects": 3, "mouse": 1, "rat": 2}


def test_a_task_goes_on_without_frames_that_are_gone(settings: Settings):
    task = Labelling(settings, "t-1", (1, 4, 9, 16))
    task.ask()
    for index in task.frames:
        task.label(index)
    task.wait()
    _without(task, 16)
    task.wait("1 of 4 frames are gone")
    task.work = task.work.model_copy(update={"labels_now": True})
    assert task.take()["counts"]["images"] == 3
    assert set(task.texts()) == {1, 4, 9}


def test_too_few_labels_beside_frames_that_are_gone_are_told_with_the_way_out(first: Labelling):
    first.label(1)
    first.wait()
    _without(first, 4, 9)
    first.work = first.work.model_copy(update={"labels_now": True})
    first.wait("2 of 3 frames are gone .* puts them up again. There are 1 labelled frames")


@pytest.mark.parametrize("now", [False, True])
def test_frames_that_are_all_gone_are_put_up_again(first: Labelling, now: bool):
    first.label(1)
    first.wait()
    _without(first, *first.frames)
    first.work = first.work.model_copy(update={"labels_now": now})
    first.wait("3 of 3 frames are gone .* 'actverse labels restore t-1' puts them up again.$")
    first.facts = {}
    first.ask()
    assert (first.folder / "labels" / "frame_000001.txt").is_file()


def test_what_was_put_up_meanwhile_is_not_replaced_by_older_labels(first: Labelling):
    first.label(1)
    first.label(4)
    first.wait()
    first.label(1, RAT)
    (first.folder / "labels" / "frame_000004.txt").unlink()
    first.ask()
    assert (first.folder / "labels" / "frame_000001.txt").read_text() == RAT


def test_beside_a_typo_kept_labels_are_not_put_back(first: Labelling):
    first.label(1)
    first.wait()
    first.label(1, RAT)
    first.label(4, "0 0.5\n")
    first.ask()
    assert (first.folder / "labels" / "frame_000001.txt").read_text() == RAT


def test_a_folder_that_was_deleted_unread_is_said(first: Labelling):
    first.storage.delete("users/ada/labeling/arena-t-1")
    fault = first.wait("'actverse labels restore t-1' puts it up again").fault
    assert "kept" not in fault


def test_labels_read_before_suffice_where_the_project_is_gone(first: Labelling):
    task = Labelling(first.settings, "t-4", (1, 4, 9, 16), first.work)
    task.ask()
    for index in (1, 4, 9):
        task.label(index)
    task.wait()
    task.storage.delete("users/ada/labeling/arena-t-4")
    task.wait("is gone")
    task.work = task.work.model_copy(update={"labels_now": True})
    told = task.take()
    assert task.texts() == {1: "0", 4: "0", 9: "0"}
    assert "is gone" in told["read_before"]


def test_too_few_labels_read_before_are_told_with_the_way_out(first: Labelling):
    first.label(1)
    first.wait()
    first.storage.delete("users/ada/labeling/arena-t-1")
    first.work = first.work.model_copy(update={"labels_now": True})
    first.wait("is gone.*'actverse labels restore t-1'.*There are 1 labelled frames")
    assert not {"read_before", "amiss"} & first.facts["labels"].keys()


def test_a_second_round_learns_from_the_labels_of_both(done: Labelling):
    second = Labelling(done.settings, "t-2", (6, 7), done.work, (done,))
    second.ask()
    second.label(6, RAT)
    second.label(7)
    told = second.finish()
    assert second.texts() == {1: "0", 4: "0", 6: "1", 7: "0", 9: "0"}
    assert (told["of_this_round"], told["counts"]["images"]) == (2, 5)
    assert read_held_out(second.kept) == ("frame_000009",)
    assert len(list((second.kept / "images").iterdir())) == 5
    # And a third: what is held out is told on, whatever was trained in between.
    second.split(train="1 4 6", val="7 9")
    third = Labelling(done.settings, "t-3", (2,), done.work, (done, second))
    third.ask()
    third.label(2)
    third.finish()
    assert set(third.texts()) == {1, 2, 4, 6, 7, 9}
    assert read_held_out(third.kept) == ("frame_000009",)


def test_a_round_behind_one_that_never_trained_holds_nothing_out_by_itself(done: Labelling):
    done.storage.delete("train_log/t-1")
    done.is_open = True
    again = _reopened(done)
    again.label(4, RAT)
    again.wait()
    again.settle()
    waiting = again.wait("Round 1 of it, the task t-1, has no dataset yet")
    assert (waiting.done, waiting.total, again.texts()) == (3, 3, {})
    # It failed, or was cancelled, before there was one.
    done.is_open = False
    again.take()
    assert again.texts() == {1: "0", 4: "1", 9: "0"}
    assert read_held_out(again.kept) == ()


@pytest.mark.parametrize("now", [False, True])
def test_what_a_round_before_is_yet_to_hold_out_is_waited_for(done: Labelling, now: bool):
    done.storage.delete("train_log/t-1")
    done.is_open = True
    again = _reopened(done)
    again.work = again.work.model_copy(update={"labels_now": now})
    again.label(4, RAT)
    if not now:
        again.wait()
        again.settle()
    again.wait("has no dataset yet")
    done.split(train="1 4", val="9")
    again.take()
    assert read_held_out(again.kept) == ("frame_000009",)
    # Whoever follows knows them by the labels: its own dataset is not waited for.
    again.is_open = True
    third = Labelling(done.settings, "t-3", (2,), done.work, (done, again))
    third.ask()
    third.label(2)
    third.finish()
    assert read_held_out(third.kept) == ("frame_000009",)


def test_a_project_that_is_opened_again_waits_for_a_change(done: Labelling):
    again = _reopened(done)
    assert again.facts["labeling"]["project"] == "labeling/arena-t-1"
    assert again.texts() == {}
    again.wait()
    again.settle()
    again.wait()  # complete, and as it was
    again.label(4, RAT)
    again.wait()
    again.settle()
    again.take()
    # Its own labels count.
    assert again.texts() == {1: "0", 4: "1", 9: "0"}
    assert read_held_out(again.kept) == ("frame_000009",)
    assert done.texts() == {1: "0", 4: "0", 9: "0"}


def test_a_label_taken_back_in_a_project_opened_again_is_no_label(done: Labelling):
    done.frames += (16,)
    make_images(done.storage.layout.frames("t-1"), f"{frame_name(16)}.jpg", size_wh=SIZE)
    again = _reopened(done)
    again.label(16)
    again.wait()
    again.label(1).unlink()
    again.work = again.work.model_copy(update={"labels_now": True})
    again.take()
    assert again.texts() == {4: "0", 9: "0", 16: "0"}


def test_a_label_that_was_taken_back_before_a_project_is_opened_again_stays_away(
    done: Labelling,
):
    done.label(4).unlink()
    again = _reopened(done)
    assert not (again.folder / "labels" / "frame_000004.txt").exists()
    again.work = again.work.model_copy(update={"labels_now": True})
    # It is one of too few.
    again.label(9, RAT)
    again.wait("There are 2 labelled frames")


def test_a_project_that_was_put_up_in_part_gets_all_its_labels(done: Labelling):
    done.label(4).unlink()
    work = done.work.model_copy(update={"reopens": done.task_id, "round": 2})
    task = Labelling(done.settings, "t-2", done.frames, work, (done,))
    task.facts["labeling"] = {"put_up_in_part": True}
    task.ask()
    assert (task.folder / "labels" / "frame_000004.txt").exists()


def test_labels_made_elsewhere_are_put_into_the_project(first: Labelling):
    first.label(1)
    brought = _bring(first, _labels(frame_000001="rat", frame_000004="rat", frame_000009="mouse"))
    assert brought == {
        "task_id": "t-1", "format": "coco", "images": 3, "objects": {"mouse": 1, "rat": 2},
    }  # fmt: skip
    first.finish()
    assert first.texts() == {1: "1", 4: "1", 9: "0"}


def test_labels_that_come_after_the_task_took_its_own_are_refused(done: Labelling):
    with pytest.raises(Conflict, match="were taken meanwhile: open its labelling again"):
        _bring(done, _labels(frame_000001="rat"))
    assert (done.folder / "labels" / "frame_000001.txt").read_text() == MOUSE


@pytest.mark.parametrize("form", [None, "coco"])
def test_labels_of_a_frame_that_is_not_there_are_refused(first: Labelling, form: str | None):
    with pytest.raises(BadLabels, match="frame_000005"):
        _bring(first, _labels(frame_000001="rat", frame_000005="rat"), labels_format=form)
    assert first.wait().done == 0


def test_a_draft_is_read_once_a_minute(first: Labelling):
    place = first.storage.layout.labels_draft("t-1")
    first.label(1)
    before = time.time()
    first.wait()
    assert set(load_draft(place).frames) == {"frame_000001"}
    assert first.facts["labels"]["draft"]["at"] >= before
    first.label(4)
    first.wait()
    assert set(load_draft(place).frames) == {"frame_000001"}
    first.settle()
    first.wait()
    assert set(load_draft(place).frames) == {"frame_000001", "frame_000004"}
