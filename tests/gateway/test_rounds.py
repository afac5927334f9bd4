"""Rounds of labelling, and what is asked of a labelling that waits: in the database alone."""

from typing import Any

import pytest

from components.errors import Conflict, NotFound
from gateway.database import Sessions
from gateway.labeling import finish_labeling, require_open, restore_labeling
from gateway.models import now
from gateway.rounds import earlier_rounds, look_at_labels, next_round, rounds_of
from gateway.tasks import create_task, read_task, work_of
from gateway.work import Work
from tests.helpers.tasks import set_step, succeed

SPEC = {"task": "pose", "names": ["rat"], "keypoints": ["l", "r"], "flip_idx": [1, 0]}
PROJECT = {"tool": "folder", "project": "labeling/arena", "url": "", "frames": 9}


@pytest.fixture
def first(sessions: Sessions) -> str:
    """A loop that has come to its end; its labels named the classes."""
    work = Work(
        file_path="clip.mp4",
        project_name="arena",
        task="pose",
        labels_now=True,
        num_frames=9,
        training={"epochs": 3, "weights": "yolo11n-pose.pt"},  # type: ignore[arg-type]
    )
    return _end(sessions, _new(sessions, "loop", work))


def _new(sessions: Sessions, kind: str, work: Work, previous_id: str = "") -> str:
    with sessions.begin() as session:
        return create_task(session, "ada", kind, work, previous_id=previous_id).id


def _end(sessions: Sessions, task_id: str, **facts: dict[str, Any]) -> str:
    succeed(sessions, task_id, {"labeling": PROJECT, "labels": {"spec": SPEC}, **facts})
    return task_id


def _next(sessions: Sessions, task_id: str, *, reopen: bool = False, **given: Any) -> str:
    with sessions.begin() as session:
        return next_round(session, read_task(session, task_id), given, reopen=reopen).id


def _set(sessions: Sessions, task_id: str, state: str, **steps: dict[str, Any]) -> str:
    """Set a task's state, and columns of its steps."""
    with sessions.begin() as session:
        read_task(session, task_id).state = state
    for name, values in steps.items():
        set_step(sessions, task_id, name, **values)
    return task_id


def _work(sessions: Sessions, task_id: str) -> Work:
    with sessions() as session:
        return work_of(read_task(session, task_id))


def _labelled(sessions: Sessions, task_id: str, done: float, **facts: Any) -> str:
    """Let a task wait for its labels, of which some are there."""
    return _set(
        sessions,
        task_id,
        "waiting",
        labeling={"state": "succeeded", "facts": PROJECT},
        labels={"state": "waiting", "done": done, "total": 9, "facts": facts},
    )


def test_the_next_round_learns_what_the_labels_named(sessions: Sessions, first: str):
    made = _next(sessions, first, num_frames=5, strategy=None, training={"epochs": 4})
    work = _work(sessions, made)
    assert (work.round, work.num_frames, work.project_name) == (2, 5, "arena")
    assert work.wanted.names == ("rat",)
    assert (work.wanted.keypoints, work.wanted.flip_idx) == (("l", "r"), (1, 0))
    assert (work.file_path, work.labels_now, work.reopens) == ("", False, "")
    # From the champion's weights, so none are named.
    assert (work.training.epochs, work.training.weights) == (4, "")
    with sessions() as session:
        task = read_task(session, made)
        assert (task.kind, task.user_id, task.previous_id) == ("round", "ada", first)
        assert task.steps[0].name == "extract"


def test_rounds_are_told_in_their_order(sessions: Sessions, first: str):
    second = _end(sessions, _next(sessions, first))
    # Whichever of the rounds is named, the new one follows the latest.
    third = _end(sessions, _next(sessions, first, reopen=True))
    other = _new(sessions, "loop", Work(file_path="other.mp4"))
    with sessions() as session:
        for one in (first, second, third):
            found = rounds_of(session, read_task(session, one))
            assert [task.id for task in found] == [first, second, third]
            assert [work_of(task).round for task in found] == [1, 2, 3]
        before = earlier_rounds(session, read_task(session, third))
        assert [task.id for task in before] == [first, second]
        assert earlier_rounds(session, read_task(session, first)) == []
        assert [task.id for task in rounds_of(session, read_task(session, other))] == [other]


def test_one_round_is_open_at_a_time(sessions: Sessions, first: str):
    second = _next(sessions, first)
    for reopen in (False, True):
        with pytest.raises(Conflict, match=f"Round 2 of it, the task {second}, is queued"):
            _next(sessions, first, reopen=reopen)
    # While it trains, its labels may be mended, but nothing new be chosen.
    _set(
        sessions,
        second,
        "running",
        labeling={"state": "succeeded", "facts": PROJECT},
        labels={"state": "succeeded", "facts": {"spec": SPEC}},
    )
    with pytest.raises(Conflict, match="is running"):
        _next(sessions, first)
    third = _next(sessions, first, reopen=True)
    with sessions() as session:
        assert read_task(session, third).previous_id == second
    # One that was cancelled is in nobody's way.
    _set(sessions, third, "cancelled", labels={"state": "cancelled"})
    _set(sessions, second, "failed")
    assert _work(sessions, _next(sessions, first, reopen=True)).round == 3


def test_a_round_has_something_to_go_by(sessions: Sessions):
    task_id = _new(sessions, "loop", Work(file_path="clip.mp4"))
    _set(sessions, task_id, "failed")
    with pytest.raises(NotFound, match="has no labels yet"):
        _next(sessions, task_id)
    set_step(sessions, task_id, "labels", state="succeeded", facts={"spec": SPEC})
    with pytest.raises(NotFound, match=f"has failed and .*'actverse labels reopen {task_id}'"):
        _next(sessions, task_id)
    # The way that it tells.
    set_step(sessions, task_id, "labeling", state="succeeded", facts=PROJECT)
    again = _next(sessions, task_id, reopen=True)
    assert _work(sessions, again).reopens == task_id
    _set(sessions, again, "running", labels={"state": "succeeded", "facts": {"spec": SPEC}})
    with pytest.raises(Conflict, match="is running: wait for its end"):
        _next(sessions, again)


def test_a_project_is_opened_again_where_it_is(sessions: Sessions, first: str):
    second = _next(sessions, first, reopen=True)
    assert _work(sessions, second).reopens == first
    with sessions() as session:
        names = [step.name for step in read_task(session, second).steps]
        assert read_task(session, second).kind == "reopened"
        assert names[:3] == ["labeling", "labels", "training"]
    _end(sessions, second)
    # Also from a round that had opened it again itself.
    third = _end(sessions, _next(sessions, second, reopen=True))
    assert _work(sessions, third).reopens == first
    fourth = _end(sessions, _next(sessions, third))
    assert _work(sessions, fourth).reopens == ""
    assert _work(sessions, _next(sessions, first, reopen=True)).reopens == fourth


def test_the_project_of_a_cancelled_round_is_not_opened_again(sessions: Sessions, first: str):
    second = _labelled(sessions, _next(sessions, first), 4)
    _set(sessions, second, "cancelled", labels={"state": "cancelled"})
    third = _next(sessions, second, reopen=True)
    assert _work(sessions, third).reopens == first
    with sessions() as session:
        assert [task.id for task in earlier_rounds(session, read_task(session, third))] == [first]


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_project_whose_labels_were_never_taken_is_opened_again(sessions: Sessions, state: str):
    work = Work(file_path="clip.mp4", names=("rat",), training={"epochs": 3})  # type: ignore[arg-type]
    task_id = _labelled(sessions, _new(sessions, "loop", work), 4)
    _set(sessions, task_id, state, labels={"state": state})
    with pytest.raises(NotFound, match="has no labels yet"):
        _next(sessions, task_id)
    again = _next(sessions, task_id, reopen=True)
    made = _work(sessions, again)
    assert (made.reopens, made.round, made.names) == (task_id, 2, ("rat",))
    assert made.training.epochs == 3


def test_a_round_whose_labels_failed_is_opened_again_behind_the_one_before(
    sessions: Sessions, first: str
):
    second = _labelled(sessions, _next(sessions, first), 4)
    _set(sessions, second, "failed", labels={"state": "failed"})
    third = _next(sessions, first, reopen=True)
    assert _work(sessions, third).reopens == second
    with sessions() as session:
        before = earlier_rounds(session, read_task(session, third))
        assert [task.id for task in before] == [first, second]


def test_labels_that_were_given_have_no_project(sessions: Sessions):
    given = _new(sessions, "loop", Work(file_path="clip.mp4", labels_path="labels.zip"))
    succeed(sessions, given, {"labeling": {"skipped": True}, "labels": {"spec": SPEC}})
    with pytest.raises(NotFound, match="given as files"):
        _next(sessions, given, reopen=True)
    second = _next(sessions, given)
    assert _work(sessions, second).labels_path == ""


def test_own_images_are_labelled_again_with_their_project(sessions: Sessions):
    task_id = _new(sessions, "loop", Work(folder_path="mice"))
    _end(sessions, task_id)
    assert _work(sessions, _next(sessions, task_id, reopen=True)).folder_path == "mice"


def test_a_hint_wakes_whoever_waits_for_the_project(sessions: Sessions, first: str):
    second = _end(sessions, _next(sessions, first, reopen=True))
    third = _labelled(sessions, _next(sessions, second, reopen=True), 9)
    other = _labelled(sessions, _new(sessions, "loop", Work()), 1)
    for task_id in (third, other):
        set_step(sessions, task_id, "labels", not_before=now(), queued=now())
    with sessions.begin() as session:
        # Of the project's owner, as the tool knows it.
        assert look_at_labels(session, first) == [third]
    with sessions() as session:
        due = {
            task_id: next(s for s in read_task(session, task_id).steps if s.name == "labels")
            for task_id in (third, other)
        }
    assert (due[third].not_before, due[third].queued) == (None, None)
    assert due[other].not_before is not None
    set_step(sessions, third, "labels", state="running")
    with sessions.begin() as session:
        assert look_at_labels(session, first) == []


def test_labelling_is_ended_by_hand(sessions: Sessions):
    task_id = _new(sessions, "loop", Work(file_path="clip.mp4"))

    def finish() -> None:
        with sessions.begin() as session:
            finish_labeling(session, read_task(session, task_id))

    with pytest.raises(Conflict, match="not laid out yet"):
        finish()
    assert not _work(sessions, task_id).labels_now
    # Whatever the last look saw: it may be a minute old.
    _labelled(sessions, task_id, 0)
    set_step(sessions, task_id, "labels", not_before=now())
    finish()
    assert _work(sessions, task_id).labels_now
    with sessions() as session:
        assert require_open(read_task(session, task_id)).not_before is None
    _set(sessions, task_id, "running", labels={"state": "succeeded"})
    with pytest.raises(Conflict, match=r"labels of the task .* are succeeded: open"):
        finish()


def test_a_lost_project_is_put_up_again(sessions: Sessions):
    task_id = _labelled(sessions, _new(sessions, "loop", Work(file_path="a.mp4")), 3, draft={})

    def restore() -> None:
        with sessions.begin() as session:
            restore_labeling(session, read_task(session, task_id))

    set_step(sessions, task_id, "labels", state="running")
    with pytest.raises(Conflict, match="being looked at"):
        restore()
    with sessions() as session:
        steps = {step.name: step for step in read_task(session, task_id).steps}
        assert steps["labeling"].state == "succeeded"
    set_step(sessions, task_id, "labels", state="waiting", error="gone", not_before=now())
    restore()
    with sessions() as session:
        task = read_task(session, task_id)
        steps = {step.name: step for step in task.steps}
        assert task.state == "running"
        for name in ("labeling", "labels"):
            assert (steps[name].state, steps[name].facts, steps[name].error) == ("pending", {}, "")
            assert steps[name].not_before is None


def test_labels_that_were_given_are_nobodys_to_make(sessions: Sessions):
    task_id = _new(sessions, "training", Work(labels_path="labels.zip"))
    other = _new(sessions, "inference", Work(file_path="clip.mp4"))
    with sessions() as session:
        with pytest.raises(Conflict, match="came with its labels"):
            require_open(read_task(session, task_id))
        with pytest.raises(NotFound, match="is labelled: post it to /labeling"):
            require_open(read_task(session, other))
