"""Steps in the database: who may run which, and what a lost worker costs."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from gateway.leases import (
    MAX_ATTEMPTS,
    LeaseLost,
    claim_any,
    claim_step,
    fail_step,
    finish_step,
    note_progress,
    recover,
    release_step,
    renew_lease,
)
from gateway.models import Attempt, Event, Step, Task, now
from gateway.tasks import cancel_task, create_task, extend_task, read_task
from gateway.work import Work

LEASE = timedelta(seconds=30)
SOON = timedelta(seconds=30)


def _task(sessions, kind="download") -> str:
    with sessions.begin() as session:
        return create_task(session, "ada", kind, Work(file_path="a.mp4")).id


def _claim(sessions, task_id, name, holder="w1") -> Step | None:
    with sessions.begin() as session:
        return claim_step(session, task_id, name, holder, LEASE)


def _finish(sessions, step: Step, holder="w1", **facts) -> None:
    with sessions.begin() as session:
        finish_step(session, step.id, holder, facts)


def _expire(sessions, step: Step) -> None:
    with sessions.begin() as session:
        session.get_one(Step, step.id).lease_until = now() - timedelta(seconds=1)


def _read(sessions, task_id) -> Task:
    with sessions() as session:
        return read_task(session, task_id)


def _attempts(sessions, task_id) -> list[tuple[str, int, str]]:
    with sessions() as session:
        rows = session.scalars(
            select(Attempt).where(Attempt.task_id == task_id).order_by(Attempt.id)
        )
        return [(row.step, row.attempt, row.outcome) for row in rows]


def test_steps_are_given_out_in_order_and_once(sessions):
    task_id = _task(sessions)
    assert _claim(sessions, task_id, "validate") is None
    first = _claim(sessions, task_id, "download")
    assert first.attempt == 1
    assert _claim(sessions, task_id, "download", "w2") is None
    _finish(sessions, first, bytes=1)
    assert _claim(sessions, task_id, "download") is None
    assert _claim(sessions, task_id, "validate", "w2").lease_holder == "w2"
    assert _attempts(sessions, task_id) == [
        ("download", 1, "succeeded"),
        ("validate", 1, "running"),
    ]


def test_parts_run_side_by_side_and_what_follows_waits_for_all(sessions):
    task_id = _task(sessions, "inference")
    for name in ("download", "validate", "convert", "analyse"):
        _finish(sessions, _claim(sessions, task_id, name))
    parts = [_claim(sessions, task_id, n) for n in ("csv", "json", "chunks", "overlay")]
    assert all(parts)
    for part in parts:
        _finish(sessions, part)
    assert _claim(sessions, task_id, "results") is None
    _finish(sessions, _claim(sessions, task_id, "notebook"))
    assert _read(sessions, task_id).state == "running"
    _finish(sessions, _claim(sessions, task_id, "results"))
    assert _read(sessions, task_id).state == "succeeded"


def test_a_part_that_ends_after_another_has_failed_does_not_revive_the_task(sessions):
    task_id = _task(sessions, "inference")
    for name in ("download", "validate", "convert", "analyse"):
        _finish(sessions, _claim(sessions, task_id, name))
    csv, overlay = (_claim(sessions, task_id, name) for name in ("csv", "overlay"))
    with sessions.begin() as session:
        fail_step(session, csv.id, "w1", "It broke.", None)
    _finish(sessions, overlay)
    task = _read(sessions, task_id)
    assert (task.state, task.error) == ("failed", "It broke.")


def test_a_step_whose_lease_ran_out_is_given_to_another(sessions):
    task_id = _task(sessions)
    lost = _claim(sessions, task_id, "download", "dead")
    _expire(sessions, lost)
    again = _claim(sessions, task_id, "download", "w2")
    assert (again.id, again.attempt, again.lease_holder) == (lost.id, 2, "w2")
    assert _attempts(sessions, task_id) == [("download", 1, "lost"), ("download", 2, "running")]
    with sessions.begin() as session:
        assert not renew_lease(session, lost.id, "dead", LEASE)
        assert renew_lease(session, lost.id, "w2", LEASE)


@pytest.mark.parametrize(
    "act",
    [
        lambda session, step: finish_step(session, step.id, "dead", {}),
        lambda session, step: fail_step(session, step.id, "dead", "It broke.", None),
        lambda session, step: note_progress(session, step.id, "dead", 1, 2, {}),
        lambda session, step: release_step(session, step.id, "dead", 1, 2, SOON),
    ],
    ids=["finish", "fail", "progress", "release"],
)
def test_who_lost_the_lease_changes_nothing(sessions, act):
    task_id = _task(sessions)
    step = _claim(sessions, task_id, "download", "dead")
    _expire(sessions, step)
    assert _claim(sessions, task_id, "download", "w2")
    before = _read(sessions, task_id).revision
    with pytest.raises(LeaseLost), sessions.begin() as session:
        act(session, step)
    task = _read(sessions, task_id)
    assert (task.revision, task.steps[0].state, task.state) == (before, "running", "running")


def test_a_renewed_lease_keeps_the_step(sessions):
    task_id = _task(sessions)
    step = _claim(sessions, task_id, "download", "w1")
    _expire(sessions, step)
    with sessions.begin() as session:
        assert renew_lease(session, step.id, "w1", LEASE)
    assert _claim(sessions, task_id, "download", "w2") is None


def test_a_failed_step_fails_the_task_with_its_sentence(sessions):
    task_id = _task(sessions)
    step = _claim(sessions, task_id, "download")
    with sessions.begin() as session:
        fail_step(session, step.id, "w1", "The video is empty.", None)
    task = _read(sessions, task_id)
    assert (task.state, task.error) == ("failed", "The video is empty.")
    assert [s.state for s in task.steps] == ["failed", "pending", "pending"]
    assert _claim(sessions, task_id, "download") is None
    with sessions() as session:
        event = session.scalars(select(Event)).one()
        assert (event.name, event.data["error"]) == ("STEP_FAILED", "The video is empty.")


def test_a_step_to_be_tried_again_waits_for_its_time(sessions):
    task_id = _task(sessions)
    step = _claim(sessions, task_id, "download")
    with sessions.begin() as session:
        fail_step(session, step.id, "w1", "MLflow is away.", timedelta(hours=1))
    assert _claim(sessions, task_id, "download") is None
    assert _read(sessions, task_id).state == "running"
    with sessions.begin() as session:
        session.get_one(Step, step.id).not_before = now()
    assert _claim(sessions, task_id, "download").attempt == 2
    assert _attempts(sessions, task_id)[0] == ("download", 1, "retried")


def test_a_step_that_takes_its_worker_with_it_again_and_again_fails_the_task(sessions):
    task_id = _task(sessions)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        step = _claim(sessions, task_id, "download")
        assert step.attempt == attempt
        _expire(sessions, step)
    assert _claim(sessions, task_id, "download") is None
    task = _read(sessions, task_id)
    assert task.state == "failed"
    assert "step download was lost" in task.error
    assert {outcome for *_, outcome in _attempts(sessions, task_id)} == {"lost"}


def test_waiting_is_no_attempt_and_is_news_only_when_something_has_changed(sessions):
    task_id = _task(sessions, "training")
    revisions = []
    for done in (1, 1, 2):
        step = _claim(sessions, task_id, "labels")
        with sessions.begin() as session:
            release_step(session, step.id, "w1", done, 4, timedelta(0))
        task = _read(sessions, task_id)
        revisions.append(task.revision)
        assert (task.state, task.steps[0].state) == ("waiting", "waiting")
        assert (task.steps[0].attempt, task.steps[0].percent) == (0, 25 * done)
    assert revisions[0] == revisions[1] < revisions[2]
    assert _attempts(sessions, task_id) == []
    _finish(sessions, _claim(sessions, task_id, "labels"))
    assert _read(sessions, task_id).state == "running"


def test_any_step_of_a_name_is_found_and_no_other(sessions):
    task_id = _task(sessions, "training")
    with sessions.begin() as session:
        assert claim_any(session, ("training",), "watcher", LEASE) is None
    _finish(sessions, _claim(sessions, task_id, "labels"))
    with sessions.begin() as session:
        assert claim_any(session, ("training",), "watcher", LEASE).task_id == task_id
        assert claim_any(session, ("training",), "other", LEASE) is None


def _recovered(sessions, **options) -> list[tuple[str, list[str]]]:
    with sessions.begin() as session:
        return recover(session, SOON, **options)


def _age(sessions, task_id, name, seconds) -> None:
    """Let the last message for a step have been sent so long ago."""
    with sessions.begin() as session:
        step = next(s for s in read_task(session, task_id).steps if s.name == name)
        step.queued = now() - timedelta(seconds=seconds)


def test_what_was_never_queued_is_found_at_once_and_then_left_alone_for_a_while(sessions):
    task_id = _task(sessions)
    assert _recovered(sessions) == [(task_id, ["download"])]
    assert _recovered(sessions) == []
    # Once sent, the second message may take twice as long as the first.
    _age(sessions, task_id, "download", 45)
    assert _recovered(sessions) == []
    _age(sessions, task_id, "download", 61)
    assert _recovered(sessions) == [(task_id, ["download"])]


def test_a_lost_lease_is_found_and_a_held_one_left_alone(sessions):
    task_id = _task(sessions)
    step = _claim(sessions, task_id, "download")
    assert _recovered(sessions) == []
    _expire(sessions, step)
    assert _recovered(sessions) == [(task_id, ["download"])]


def test_the_step_behind_one_that_succeeded_is_taken_for_queued_and_found_if_it_was_not(sessions):
    task_id = _task(sessions)
    _finish(sessions, _claim(sessions, task_id, "download"))
    assert _recovered(sessions) == []
    _age(sessions, task_id, "validate", 31)
    assert _recovered(sessions) == [(task_id, ["validate"])]


def test_only_the_unfinished_parts_are_found(sessions):
    task_id = _task(sessions, "inference")
    for name in ("download", "validate", "convert", "analyse", "csv", "overlay"):
        _finish(sessions, _claim(sessions, task_id, name))
    for name in ("json", "chunks", "notebook"):
        _age(sessions, task_id, name, 31)
    assert _recovered(sessions) == [(task_id, ["json", "chunks", "notebook"])]


def test_a_waiting_step_is_found_when_its_time_has_come(sessions):
    task_id = _task(sessions, "training")
    for wait, expected in ((3600, []), (0, [(task_id, ["labels"])])):
        with sessions.begin() as session:
            session.get_one(Task, task_id).steps[0].not_before = None
        step = _claim(sessions, task_id, "labels")
        with sessions.begin() as session:
            release_step(session, step.id, "w1", 0, 4, timedelta(seconds=wait))
        assert _recovered(sessions) == expected


def test_a_look_that_nobody_has_taken_yet_is_not_asked_for_again_at_once(sessions):
    task_id = _task(sessions, "training")
    step = _claim(sessions, task_id, "labels")
    with sessions.begin() as session:
        release_step(session, step.id, "w1", 0, 4, timedelta(0))
    assert _recovered(sessions) == [(task_id, ["labels"])]
    assert _recovered(sessions) == []
    _age(sessions, task_id, "labels", 61)
    assert _recovered(sessions) == [(task_id, ["labels"])]


def test_a_training_and_what_has_ended_are_not_found(sessions):
    ended = _task(sessions)
    with sessions.begin() as session:
        cancel_task(session, read_task(session, ended))
    task_id = _task(sessions, "training")
    _finish(sessions, _claim(sessions, task_id, "labels"))
    _age(sessions, task_id, "training", 3600)
    assert _recovered(sessions, not_for=("training",)) == []
    assert _recovered(sessions) == [(task_id, ["training"])]


def test_a_cancelled_task_takes_the_step_from_whoever_runs_it(sessions):
    task_id = _task(sessions)
    step = _claim(sessions, task_id, "download")
    with sessions.begin() as session:
        cancelled = cancel_task(session, read_task(session, task_id))
    assert cancelled == ["download", "validate", "deliver_video"]
    with sessions.begin() as session:
        assert not renew_lease(session, step.id, "w1", LEASE)
    with pytest.raises(LeaseLost):
        _finish(sessions, step)
    task = _read(sessions, task_id)
    assert task.state == "cancelled"
    assert {s.state for s in task.steps} == {"cancelled"}
    assert _attempts(sessions, task_id) == [("download", 1, "cancelled")]
    with sessions.begin() as session:
        assert cancel_task(session, read_task(session, task_id)) == []


def test_a_finished_task_takes_on_more_steps_once(sessions):
    from components.errors import BadInput

    task_id = _task(sessions)
    for name in ("download", "validate", "deliver_video"):
        _finish(sessions, _claim(sessions, task_id, name))
    with sessions.begin() as session:
        extend_task(session, read_task(session, task_id), "labeling", Work(folder_path="frames"))
    assert _read(sessions, task_id).state == "queued"
    _finish(sessions, _claim(sessions, task_id, "labeling"))
    _finish(sessions, _claim(sessions, task_id, "labels"))
    task = _read(sessions, task_id)
    assert task.state == "succeeded"
    assert task.request["file_path"] == "a.mp4"
    with pytest.raises(BadInput), sessions.begin() as session:
        extend_task(session, read_task(session, task_id), "labeling", Work(folder_path="frames"))
