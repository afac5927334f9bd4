"""Where a task stands, from rows alone: nothing is made up, nothing is called done too early."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.database import Sessions
from gateway.flows import FLOWS, TRAINING
from gateway.models import Attempt, Step, Task, now
from gateway.schemas import StepStatus, TaskStatus
from gateway.status import task_status, usual_durations
from gateway.tasks import create_task
from gateway.work import Work
from pipelines import TRAINING_STEPS

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EVERY_STEP = {step: 10.0 for stages in FLOWS.values() for stage in stages for step in stage}


def a_task(*steps: Step, state: str = "running", **request: Any) -> Task:
    for position, step in enumerate(steps):
        step.position = position if step.position is None else step.position
    return Task(
        id="t-1",
        user_id="ada",
        kind="loop",
        request=request,
        state=state,
        error="",
        revision=1,
        created=NOW,
        updated=NOW,
        steps=list(steps),
    )


def a_step(name: str, state: str = "pending", seconds_ago: float = 0, **changed: Any) -> Step:
    done, total = changed.get("done", 0.0), changed.get("total", 0.0)
    row: dict[str, Any] = {
        "attempt": int(state != "pending"),
        "percent": 100.0 * done / total if total else 0.0,
        "done": done,
        "total": total,
        "started": NOW - timedelta(seconds=seconds_ago) if state != "pending" else None,
        "error": "",
        "facts": {},
        **changed,
    }
    if state == "succeeded":
        row["percent"] = 100.0
    return Step(name=name, state=state, **row)


def a_training(state: str, *reports: dict[str, Any], error: str = "", **changed: Any) -> Step:
    facts = {"pipeline": {report["step"]: report for report in reports}}
    return a_step(TRAINING, state, facts=facts, error=error, **changed)


def a_report(step: str, state: str, began: float, ended: float = 0, **changed: Any) -> dict:
    return {
        "step": step,
        "state": state,
        "percent": 100.0 if state == "succeeded" else 0.0,
        "started": NOW.timestamp() - began,
        "ended": NOW.timestamp() - ended if state != "running" else 0.0,
        "error": "",
        "facts": {},
        **changed,
    }


def seen(task: Task, durations: dict[str, float] | None = None) -> TaskStatus:
    return task_status(task, durations, NOW)


def steps_of(task: Task) -> dict[str, StepStatus]:
    return {step.name: step for step in seen(task).process_status.steps}


def left(task: Task, durations: dict[str, float] | None = None) -> float | None:
    return seen(task, durations).process_status.remaining_seconds


def test_download_of_known_length_has_percent_and_pace() -> None:
    step = steps_of(a_task(a_step("download", "running", 10, done=250, total=1000)))["download"]
    assert (step.percent, step.done, step.total, step.unit) == (25.0, 250, 1000, "bytes")
    assert step.remaining_seconds == 30.0


def test_download_of_unknown_length_pretends_nothing() -> None:
    task = a_task(a_step("download", "running", 60, done=5_000_000))
    step = steps_of(task)["download"]
    assert (step.percent, step.done, step.total) == (0.0, 5_000_000, 0)
    assert step.remaining_seconds is None
    assert left(task) is None
    assert seen(task).process_status.percent == 0.0


@pytest.mark.parametrize(("done", "ago"), [(2, 600), (50, 1), (0, 600)])
def test_too_little_gives_no_pace(done: float, ago: float) -> None:
    task = a_task(a_step("download", "running", ago, done=done, total=100))
    assert steps_of(task)["download"].remaining_seconds is None


def test_nothing_is_complete_before_its_end() -> None:
    almost = a_task(
        a_step("download", "succeeded"), a_step("analyse", "running", 9, done=99_999, total=100_000)
    )
    assert steps_of(almost)["analyse"].percent == 99.9
    assert seen(almost).process_status.percent == 99.9
    # All is written but not yet stored.
    storing = a_task(a_step("download", "running", 9, done=10, total=10))
    assert seen(storing).process_status.percent == 99.9
    ended = a_task(a_step("download", "succeeded"), state="succeeded")
    assert seen(ended).process_status.percent == 100.0
    assert left(ended) is None


def test_step_that_is_to_be_done_again_counts_for_nothing() -> None:
    again = a_step("download", "pending", done=80, total=100, percent=80.0, error="Lost.")
    task = a_task(again, a_step("validate"))
    step = steps_of(task)["download"]
    assert (step.percent, step.done, step.error) == (0.0, 0.0, "Lost.")
    assert seen(task).process_status.percent == 0.0


def test_wait_before_another_attempt_is_part_of_what_is_left() -> None:
    again = a_step("download", "pending", not_before=NOW + timedelta(seconds=30))
    assert left(a_task(again), {"download": 10.0}) == 40.0
    again.not_before = NOW - timedelta(seconds=30)
    assert left(a_task(again), {"download": 10.0}) == 10.0


def test_attempt_that_goes_on_where_another_was_is_paced_by_its_own_work() -> None:
    facts = {"resumed_at": 600}
    task = a_task(a_step("analyse", "running", 10, done=700, total=1000, facts=facts))
    assert steps_of(task)["analyse"].remaining_seconds == 30.0
    task = a_task(a_step("analyse", "running", 10, done=600, total=1000, facts=facts))
    assert steps_of(task)["analyse"].remaining_seconds is None


def test_running_step_without_a_pace_takes_what_is_usual() -> None:
    assert left(a_task(a_step("csv", "running", 4)), {"csv": 10.0}) == 6.0
    assert left(a_task(a_step("csv", "running", 11)), {"csv": 10.0}) == 0.0
    # Much longer than usual: nobody knows any more.
    assert left(a_task(a_step("csv", "running", 26)), {"csv": 10.0}) is None


def test_steps_side_by_side_take_as_long_as_the_longest() -> None:
    task = a_task(
        a_step("analyse", "running", 10, position=0, done=50, total=100),
        a_step("csv", position=1),
        a_step("overlay", position=1),
        a_step("results", position=2),
    )
    durations = {"csv": 1.0, "overlay": 20.0, "results": 3.0}
    assert left(task, durations) == 10 + 20 + 3
    del durations["csv"]
    assert left(task, durations) is None


def test_people_who_label_are_not_estimated() -> None:
    task = a_task(a_step("labeling", "running", 9, done=5, total=10), a_step("labels"))
    assert left(task, EVERY_STEP) is None
    task.request = {"labels_path": "labels"}
    assert left(task, EVERY_STEP) == 19.0
    waiting = a_task(a_step("labels", "waiting", done=3, total=12, percent=25.0), state="waiting")
    assert left(waiting, EVERY_STEP) is None
    step = steps_of(waiting)["labels"]
    assert (step.state, step.done, step.total, step.percent) == ("waiting", 3, 12, 25.0)
    # A look at the labels is no news.
    looked_at = a_task(a_step("labels", "running", 600, done=3, total=12), state="waiting")
    step = steps_of(looked_at)["labels"]
    assert (step.state, step.remaining_seconds) == ("waiting", None)


def test_training_is_paced_by_its_epochs() -> None:
    task = a_task(
        a_training(
            "running",
            a_report("dataset", "succeeded", 110, 100),
            a_report("train", "running", 100, percent=20.0, facts={"epoch": 20, "epochs": 100}),
        )
    )
    steps = steps_of(task)
    assert list(steps) == list(TRAINING_STEPS)
    train = steps["train"]
    assert (train.done, train.total, train.unit, train.percent) == (20, 100, "epochs", 20.0)
    assert train.remaining_seconds == 400.0
    assert train.started == NOW - timedelta(seconds=100)
    assert steps["dataset"].remaining_seconds is None
    durations = {"export": 8.0, "parity": 2.0, "register": 2.0, "gate": 1.0, "deploy": 5.0}
    durations = {f"training.{step}": seconds for step, seconds in durations.items()}
    assert left(task, durations) == 418.0
    assert left(task, {**durations, "training": 1000.0, "training.train": 1.0}) == 418.0
    del durations["training.deploy"]
    assert left(task, durations) is None


def test_a_training_of_before_a_step_was_there_has_succeeded_all_the_same() -> None:
    before = [a_report(name, "succeeded", 9, 1) for name in TRAINING_STEPS if name != "parity"]
    steps = steps_of(a_task(a_training("succeeded", *before)))
    assert {step.state for step in steps.values()} == {"succeeded"}


def test_training_without_an_epoch_takes_what_is_usual() -> None:
    task = a_task(a_training("running", a_report("dataset", "running", 3)))
    usual = {f"training.{step}": 10.0 for step in TRAINING_STEPS}
    assert left(task, usual) == 67.0
    assert left(a_task(a_step(TRAINING)), {TRAINING: 50.0}) == 50.0
    assert steps_of(task)["dataset"].state == "running"


@pytest.mark.parametrize(
    ("state", "states", "errors"),
    [
        # It was killed: the report of the one that ran says that it still does.
        ("failed", ["succeeded", "failed", "pending"], ["", "Killed.", ""]),
        ("cancelled", ["succeeded", "cancelled", "cancelled"], ["", "", ""]),
        # It will begin from the start.
        ("pending", ["pending", "pending", "pending"], ["Killed.", "", ""]),
    ],
)
def test_pipeline_that_ended_early_runs_no_more(
    state: str, states: list[str], errors: list[str]
) -> None:
    step = a_training(
        state,
        a_report("dataset", "succeeded", 20, 10),
        a_report("train", "running", 10, percent=40.0),
        error="" if state == "cancelled" else "Killed.",
    )
    steps = list(steps_of(a_task(step, state="running")).values())[:3]
    assert [one.state for one in steps] == states
    assert [one.error for one in steps] == errors
    assert all(one.percent == 0 for one in steps if one.state == "pending")
    assert all(one.remaining_seconds is None for one in steps)


def test_pipeline_that_failed_says_so_where_it_did() -> None:
    step = a_training(
        "failed",
        a_report("dataset", "succeeded", 20, 10),
        a_report("train", "failed", 10, 5, error="Diverged."),
        error="Diverged.",
    )
    states = [(one.state, one.error) for one in steps_of(a_task(step, state="failed")).values()]
    assert states[:3] == [("succeeded", ""), ("failed", "Diverged."), ("pending", "")]
    before_all = list(steps_of(a_task(a_step(TRAINING, "failed", error="No."))).values())
    assert (before_all[0].state, before_all[0].error) == ("failed", "No.")


def test_usual_durations_are_medians_of_what_succeeded(sessions: Sessions) -> None:
    with sessions.begin() as session:
        task = create_task(session, "ada", "training", Work(labels_path="labels"))
        session.flush()
        for seconds, outcome in (
            (1, "succeeded"),
            (3, "succeeded"),
            (50, "succeeded"),
            (9, "lost"),
        ):
            session.add(_attempt(task.id, seconds, outcome))
        session.add(_attempt(task.id, 500, "succeeded", days_ago=90))
        training = task.steps[1]
        training.state, training.ended = "succeeded", now()
        training.facts = {"pipeline": {"train": a_report("train", "succeeded", 70, 10)}}
    with sessions() as session:
        assert usual_durations(session) == {"labels": 3.0, "training.train": 60.0}


def _attempt(task_id: str, seconds: float, outcome: str, days_ago: float = 0) -> Attempt:
    started = now() - timedelta(days=days_ago, seconds=seconds)
    return Attempt(
        task_id=task_id,
        step="labels",
        attempt=1,
        holder="w",
        started=started,
        ended=started + timedelta(seconds=seconds),
        outcome=outcome,
    )
