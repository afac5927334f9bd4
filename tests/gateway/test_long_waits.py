"""A step that waits for people outlives more lost workers than one that works."""

from datetime import timedelta

from gateway.database import Sessions
from gateway.leases import MAX_ATTEMPTS, claim_step, release_step
from gateway.models import Step, now
from gateway.tasks import create_task, read_task
from gateway.work import Work

LEASE = timedelta(seconds=30)


def test_workers_that_are_lost_now_and_then_do_not_end_a_labelling(sessions: Sessions):
    with sessions.begin() as session:
        task_id = create_task(session, "ada", "training", Work(folder_path="mice")).id
    for _ in range(MAX_ATTEMPTS + 1):
        for lost in (True, False):
            with sessions.begin() as session:
                step = claim_step(session, task_id, "labels", "w1", LEASE)
                assert step is not None
                if lost:
                    session.get_one(Step, step.id).lease_until = now() - timedelta(seconds=1)
                else:
                    release_step(session, step.id, "w1", 1, 9, timedelta(0))
    with sessions() as session:
        assert read_task(session, task_id).state == "waiting"
