"""One claimed step, run to its end: how often it is tried while something is away."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from components.errors import BadInput, StorageFull, Unavailable
from components.storage import open_storage
from gateway.flows import TRAINING
from gateway.labeling import finish_labeling
from gateway.leases import MAX_ATTEMPTS, claim_step
from gateway.models import Event, Step
from gateway.runner import Outcome, StepRunner
from gateway.steps.context import Waiting
from gateway.tasks import create_task, read_task
from gateway.work import Work
from tests.helpers.tasks import set_step


@pytest.mark.parametrize(
    ("file_path", "error", "outcome"),
    [
        ("clip.mp4", Unavailable("The storage is away."), Outcome.RETRIED),
        ("https://lab.example/clip.mp4", Unavailable("The host is away."), Outcome.FAILED),
        ("clip.mp4", StorageFull("No space is left."), Outcome.FAILED),
        ("clip.mp4", BadInput("It is no video."), Outcome.FAILED),
    ],
    ids=["ours", "theirs", "full", "bad"],
)
def test_our_own_services_are_waited_for_longer(settings, sessions, file_path, error, outcome):
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "upload", Work(file_path=file_path)).id
        session.flush()
        session.get_one(Step, read_task(session, task_id).steps[0].id).attempt = MAX_ATTEMPTS - 1
    with sessions.begin() as session:
        step = claim_step(session, task_id, "download", "w1", timedelta(seconds=30))
    assert step.attempt == MAX_ATTEMPTS

    attempts = []

    def fail(context):
        attempts.append(context.attempt)
        raise error

    ended = StepRunner(settings, sessions, open_storage(settings)).run(step, "w1", fail)
    assert ended.outcome is outcome
    assert attempts == [MAX_ATTEMPTS]
    with sessions() as session:
        row = read_task(session, task_id).steps[0]
        assert row.error == str(error)
        assert row.state == ("pending" if outcome is Outcome.RETRIED else "failed")


@pytest.mark.parametrize("earned", [True, False])
def test_what_the_gate_refuses_is_never_told_as_deployed(settings, sessions, earned):
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "training", Work(labels_path="labels/mice")).id
    set_step(sessions, task_id, "labels", state="succeeded")
    with sessions.begin() as session:
        step = claim_step(session, task_id, TRAINING, "w1", timedelta(seconds=30))
    ended = {"state": "succeeded", "percent": 100.0}
    version = {"model": "ada-mice", "version": 2 if earned else 1, "promoted": earned}
    pipeline = {
        "train": {**ended, "facts": {}},
        "gate": {**ended, "facts": {"earned": earned}},
        "deploy": {**ended, "facts": version},
    }

    def train(context):
        begun = {**pipeline, "deploy": {"state": "running", "percent": 0.0, "facts": {}}}
        for reports in (begun, pipeline):
            context.progress(1, 1, pipeline=reports)
        return {"pipeline": pipeline}

    ran = StepRunner(settings, sessions, open_storage(settings)).run(step, "w1", train)
    assert ran.outcome is Outcome.SUCCEEDED
    with sessions() as session:
        told = {event.name: event.data for event in session.query(Event)}
    deployment = {"MODEL_DEPLOYMENT_REQUESTED", "MODEL_DEPLOYED"}
    assert deployment & set(told) == (deployment if earned else set())
    assert "MODEL_TRAINING_COMPLETED" in told


def test_labels_are_told_to_be_complete_also_where_frames_were_skipped(settings, sessions):
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "labeling", Work(folder_path="frames")).id
    set_step(sessions, task_id, "labeling", state="succeeded")
    with sessions.begin() as session:
        step = claim_step(session, task_id, "labels", "w1", timedelta(seconds=30))
    runner = StepRunner(settings, sessions, open_storage(settings))
    assert runner.run(step, "w1", lambda context: {"skipped": 2}).outcome is Outcome.SUCCEEDED
    with sessions() as session:
        (event,) = session.scalars(select(Event))
    assert (event.name, event.data["skipped"]) == ("LABELING_COMPLETED", 2)


def test_a_step_is_told_which_rounds_before_have_not_ended(settings, sessions):
    with sessions.begin() as session:
        first = create_task(session, "ada", "loop", Work(file_path="clip.mp4")).id
        session.flush()
        work = Work(reopens=first)
        second = create_task(session, "ada", "reopened", work, previous_id=first).id
    told = []
    for state in ("running", "failed"):
        with sessions.begin() as session:
            read_task(session, first).state = state
            step = read_task(session, second).steps[0]
            step.state = "pending"
        with sessions.begin() as session:
            step = claim_step(session, second, "labeling", "w1", timedelta(seconds=30))

        def look(context):
            told.append([(task.task_id, task.is_open) for task in context.earlier])
            return {}

        StepRunner(settings, sessions, open_storage(settings)).run(step, "w1", look)
    assert told == [[(first, True)], [(first, False)]]


def test_a_look_during_which_a_user_waits_no_longer_is_followed_by_another(settings, sessions):
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "labeling", Work(folder_path="frames")).id
    set_step(sessions, task_id, "labeling", state="succeeded", facts={"frames": 4})
    again_in = []
    for _ in range(2):
        with sessions.begin() as session:
            step = claim_step(session, task_id, "labels", "w1", timedelta(seconds=30))

        def look(context):
            if not context.work.labels_now:
                with sessions.begin() as session:
                    finish_labeling(session, read_task(session, task_id))
            raise Waiting("0 of 4 frames are labelled.", 0, 4, timedelta(hours=1))

        ended = StepRunner(settings, sessions, open_storage(settings)).run(step, "w1", look)
        assert ended.outcome is Outcome.WAITING
        again_in.append(ended.again_in)
    # And not again and again.
    assert again_in == [0, 3600]
