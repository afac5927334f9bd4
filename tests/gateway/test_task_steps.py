"""Steps in the database: who may run which, and what a lost worker costs."""

from datetime import timedelta

from gateway.models import Step, Task, now
from gateway.schemas import TaskRequest
from gateway.tasks import (
    MAX_ATTEMPTS,
    claim_step,
    create_task,
    fail_step,
    finish_step,
    read_task,
    renew_lease,
)

LEASE = timedelta(seconds=30)
REQUEST = TaskRequest(file_path="a.mp4", labels_path="labels")


def _task(sessions, steps=("one", "two")) -> str:
    with sessions.begin() as session:
        return create_task(session, "ada", REQUEST, steps).id


def _claim(sessions, holder="w1") -> Step | None:
    with sessions.begin() as session:
        return claim_step(session, holder, LEASE)


def _expire(sessions, step: Step) -> None:
    with sessions.begin() as session:
        session.get_one(Step, step.id).lease_until = now() - timedelta(seconds=1)


def test_steps_are_given_out_in_order_and_once(sessions):
    _task(sessions)
    first = _claim(sessions)
    assert first.name == "one"
    assert first.attempt == 1
    assert _claim(sessions, "w2") is None
    with sessions.begin() as session:
        finish_step(session, first.id, {"x": 1})
    assert _claim(sessions, "w2").name == "two"


def test_a_step_whose_lease_ran_out_is_given_to_another(sessions):
    _task(sessions)
    lost = _claim(sessions, "dead")
    _expire(sessions, lost)
    again = _claim(sessions, "w2")
    assert (again.id, again.attempt, again.lease_holder) == (lost.id, 2, "w2")
    with sessions.begin() as session:
        assert not renew_lease(session, lost.id, "dead", LEASE)
        assert renew_lease(session, lost.id, "w2", LEASE)


def test_a_renewed_lease_keeps_the_step(sessions):
    _task(sessions)
    step = _claim(sessions, "w1")
    _expire(sessions, step)
    with sessions.begin() as session:
        assert renew_lease(session, step.id, "w1", LEASE)
    assert _claim(sessions, "w2") is None


def test_a_failed_step_fails_the_task_with_its_sentence(sessions):
    task_id = _task(sessions)
    step = _claim(sessions)
    with sessions.begin() as session:
        fail_step(session, step.id, "The video is empty.", None)
    with sessions() as session:
        task = read_task(session, task_id)
        assert (task.state, task.error) == ("failed", "The video is empty.")
        assert [s.state for s in task.steps] == ["failed", "pending"]
    assert _claim(sessions) is None


def test_a_step_to_be_tried_again_waits_for_its_time(sessions):
    task_id = _task(sessions)
    step = _claim(sessions)
    with sessions.begin() as session:
        fail_step(session, step.id, "MLflow is away.", timedelta(hours=1))
    assert _claim(sessions) is None
    with sessions.begin() as session:
        session.get_one(Step, step.id).not_before = now()
        assert session.get_one(Task, task_id).state == "running"
    assert _claim(sessions).attempt == 2


def test_a_task_has_succeeded_with_its_last_step(sessions):
    task_id = _task(sessions)
    for state in ("running", "succeeded"):
        step = _claim(sessions)
        with sessions.begin() as session:
            finish_step(session, step.id, {})
        with sessions() as session:
            assert read_task(session, task_id).state == state


def test_a_step_that_takes_its_worker_with_it_again_and_again_fails_the_task(sessions):
    task_id = _task(sessions)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        step = _claim(sessions)
        assert step.attempt == attempt
        _expire(sessions, step)
    assert _claim(sessions) is None
    with sessions() as session:
        task = read_task(session, task_id)
        assert task.state == "failed"
        assert "step one was lost" in task.error
