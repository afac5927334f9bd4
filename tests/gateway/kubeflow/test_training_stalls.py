"""Trainings on Kubeflow Pipelines whose steps do not begin, fall silent, or never end."""

import pytest

from gateway.models import now
from pipelines import TRAINING_STEPS
from tests.helpers.kfp_runs import ServedRun, wire_time_ago
from tests.helpers.servers import wait_until
from tests.helpers.training_lab import TrainingLab


def test_a_step_whose_pod_does_not_start_is_told_with_what_it_waits_for(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        lab.report(task_id, "dataset")
        run.task("dataset", "SUCCEEDED", started=wire_time_ago(minutes=20))
        run.task("train", started=wire_time_ago(minutes=2))
        run.become("RUNNING")
        lab.told(task_id, state="RUNNING", note="")
        assert lab.status(task_id).process_status.pipeline_run.note == ""
        waiting = "trying and failing to pull image"
        run.task("train", started=wire_time_ago(minutes=10), waiting=waiting)
        lab.told(task_id, note="The step train has not begun since")
        lab.told(task_id, note="'kubectl --namespace kubeflow get pods'")
        lab.told(task_id, note=waiting)
        # It was only the image that took long.
        lab.report(task_id, "train", "running")
        lab.told(task_id, state="RUNNING")
        note = lambda: lab.status(task_id).process_status.pipeline_run.note  # noqa: E731
        wait_until(lambda: note() == "", what="the note to go")
        lab.succeed(task_id, run)
        lab.end(task_id, "succeeded")


@pytest.mark.parametrize("reported", [True, False])
def test_a_step_that_never_starts_is_given_up_and_its_run_ended(lab: TrainingLab, reported: bool):
    """Also a repeat of what has failed, though that has reported once."""
    task_id = lab.task()
    with lab.watching(pipeline_start_timeout=3600.0):
        run = lab.run_of(task_id)
        run.task("dataset", started=wire_time_ago(hours=2))
        if reported:
            lab.report(task_id, "dataset", "failed", ended=now().timestamp() - 7200)
        run.become("RUNNING")
        assert "The step dataset has not begun since" in lab.end(task_id, "failed")
        wait_until(lambda: run.cancelled, what="the run to be ended")


def test_a_step_that_falls_silent_is_told_and_given_up(lab: TrainingLab):
    """Its pod is gone, and the one that repeats it finds no node."""
    task_id = lab.task()
    with lab.watching(pipeline_start_timeout=3600.0):
        run = lab.run_of(task_id)
        lab.report(task_id, "dataset")
        lab.report(task_id, "train", "running", seen=now().timestamp())
        run.task("dataset", "SUCCEEDED", started=wire_time_ago(hours=4))
        run.task("train", started=wire_time_ago(hours=3))
        run.become("RUNNING")
        lab.told(task_id, state="RUNNING", note="")
        assert lab.status(task_id).process_status.pipeline_run.note == ""
        lab.report(task_id, "train", "running", seen=now().timestamp() - 1200)
        lab.told(task_id, note="The step train has said nothing since")
        lab.told(task_id, note="the pod that repeats it may lack a node")
        lab.report(task_id, "train", "running", seen=now().timestamp() - 7200)
        assert "The step train has said nothing since" in lab.end(task_id, "failed")
        wait_until(lambda: run.cancelled, what="the run to be ended")


def test_a_pod_whose_clock_is_late_is_not_silent(lab: TrainingLab):
    task_id, behind = lab.task(), 1200.0
    with lab.watching():
        run = lab.run_of(task_id)
        lab.report(task_id, "dataset", "running", seen=now().timestamp() - behind)
        run.task("dataset", started=wire_time_ago(hours=1))
        run.become("RUNNING")
        lab.told(task_id, note="The step dataset has said nothing since")
        lab.report(task_id, "dataset", "running", seen=now().timestamp() - behind)
        note = lambda: lab.status(task_id).process_status.pipeline_run.note  # noqa: E731
        wait_until(lambda: note() == "", what="the note to go")


def test_a_training_that_is_done_does_not_wait_for_an_exit_handler_that_never_starts(
    lab: TrainingLab,
):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        for name in TRAINING_STEPS:
            lab.report(task_id, name)
            run.task(name, "RUNNING", started=wire_time_ago(hours=1))
        _begin_no_exit_handler(run, hours=1)
        run.become("RUNNING")
        # Kubeflow may not have stored yet what the steps gave.
        lab.told(task_id, note="image can't be pulled")
        looks = len(lab.kfp.calls("run_service_get_run"))
        wait_until(lambda: len(lab.kfp.calls("run_service_get_run")) > looks + 2)
        assert lab.state(task_id) == "running"
        del run.nodes["run-end"]
        for name in TRAINING_STEPS:
            run.task(name, "SUCCEEDED", started=wire_time_ago(hours=1))
        # So long that a step would have been given up.
        _begin_no_exit_handler(run, hours=7)
        lab.end(task_id, "succeeded")
        assert not run.over


def _begin_no_exit_handler(run: ServedRun, hours: float) -> None:
    run.task("run-end", started=wire_time_ago(hours=hours), waiting="image can't be pulled")


def test_a_run_whose_cancelling_does_not_end_fails_its_task(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        run.task("dataset", "FAILED", started=wire_time_ago(hours=3))
        _begin_no_exit_handler(run, hours=2)
        run.become("CANCELING")
        assert "was cancelled in Kubeflow Pipelines" in lab.end(task_id, "failed")


def test_a_training_that_has_failed_does_not_wait_for_it_either(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        lab.report(task_id, "dataset", "failed", error="Label more.")
        run.task("dataset", "FAILED", started=wire_time_ago(hours=3))
        _begin_no_exit_handler(run, hours=2)
        run.become("RUNNING")
        assert lab.end(task_id, "failed") == "Label more."
        wait_until(lambda: run.cancelled, what="the run to be ended")


def test_a_step_that_was_killed_is_named_though_its_run_goes_on(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        lab.report(task_id, "dataset")
        run.task("dataset", "SUCCEEDED", started=wire_time_ago(hours=4))
        # For want of memory: it could say nothing itself.
        lab.report(task_id, "train", "running")
        run.task("train", "FAILED", started=wire_time_ago(hours=3))
        _begin_no_exit_handler(run, hours=2)
        run.become("RUNNING")
        assert "The step train failed; 'actverse pipeline logs" in lab.end(task_id, "failed")
