"""Trainings on Kubeflow Pipelines: submitted once, followed by id, whatever comes between."""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from components.settings import Settings
from components.storage import open_storage
from gateway.app import create_app
from gateway.events import EventName
from gateway.flows import TRAINING
from gateway.leases import MAX_ATTEMPTS, claim_step
from gateway.models import Attempt, Event, now
from gateway.pipeline_runs import hint_at_run
from pipelines import TRAINING_STEPS
from tests.gateway.test_webhook_api import ENDED, _run_ended
from tests.helpers.kfp_runs import ServedRun, wire_time_ago
from tests.helpers.s3_server import CREDENTIALS, running_s3
from tests.helpers.servers import wait_until
from tests.helpers.tasks import set_step
from tests.helpers.training_lab import FACTS, TrainingLab

ROOT = Path(__file__).resolve().parents[3]


def _attempts(lab: TrainingLab, task_id: str) -> list[str]:
    with lab.sessions() as session:
        query = select(Attempt.outcome).where(Attempt.task_id == task_id, Attempt.step == TRAINING)
        return list(session.scalars(query))


def test_a_further_round_starts_from_the_champion_unless_it_names_weights(lab: TrainingLab):
    first = lab.task(model_name="ada-mice")
    later = lab.task(first, model_name="ada-mice")
    other = lab.task(later, model_name="ada-mice", training={"weights": "yolo11n.pt"})
    with lab.watching(champion_alias="best"):
        for task_id in (first, later, other):
            lab.run_of(task_id)
    weights = {}
    for created in lab.kfp.calls("run_service_create_run"):
        parameters = created.body["runtime_config"]["parameters"]
        weights[parameters["task_id"]] = json.loads(parameters["training"])["weights"]
    assert weights == {first: "", later: "models:/ada-mice@best", other: "yolo11n.pt"}


def test_a_run_is_told_as_it_goes_and_ends_with_what_its_steps_said(
    lab: TrainingLab, client: TestClient
):
    task_id = lab.task(held_out=0.3)
    with lab.watching():
        run = lab.run_of(task_id)
        (created,) = lab.kfp.calls("run_service_create_run")
        parameters = created.body["runtime_config"]["parameters"]
        assert (parameters["task_id"], parameters["held_out"]) == (task_id, 0.3)
        assert len(parameters["labels_digest"]) == 64
        lab.report(task_id, "dataset")
        run.become("RUNNING")
        run.task("dataset", "SUCCEEDED")
        run.task("train", "RUNNING")
        lab.report(task_id, "train", "running")
        url = f"{lab.kfp.url}/#/runs/details/{run.fields['run_id']}"
        lab.told(task_id, state="RUNNING", url=url, run_id=run.fields["run_id"])
        wait_until(lambda: client.get(f"/training/{task_id}").json()["current_epoch"] == 2)
        told = client.get(f"/training/{task_id}").json()
        assert (told["run_id"], told["run_url"]) == (run.fields["run_id"], url)
        shown = client.get(f"/status/{task_id}").json()["process_status"]
        assert shown["pipeline_run"] == {
            "backend": "kubeflow", "run_id": run.fields["run_id"], "url": url,
            "state": "RUNNING", "note": "",
        }  # fmt: skip
        states = {step["name"]: step["state"] for step in shown["steps"]}
        assert states == {
            "labels": "succeeded", "dataset": "succeeded", "train": "running",
            **dict.fromkeys(TRAINING_STEPS[2:], "pending"),
        }  # fmt: skip
        lab.succeed(task_id, run)
        lab.end(task_id, "succeeded")
    facts = lab.step(task_id).facts
    assert {name: report["facts"] for name, report in facts["pipeline"].items()} == FACTS
    assert lab.row(task_id).ended is not None
    with lab.sessions() as session:
        begun, *_, deployed = session.scalars(select(Event).order_by(Event.id))
    assert begun.name == EventName.MODEL_TRAINING_REQUESTED
    assert begun.data == {
        "step": "train", "pipeline_run": run.fields["run_id"], "pipeline_url": url,
    }  # fmt: skip
    assert deployed.name == EventName.MODEL_DEPLOYED
    assert _attempts(lab, task_id) == ["succeeded"]


def test_what_was_cached_is_told_with_what_it_said_then_and_no_other_old_word_counts(
    lab: TrainingLab,
):
    task_id, old = lab.task(), {"started": 1000.0, "ended": 1010.0}
    for name in ("dataset", "train"):
        lab.report(task_id, name, facts={"of": "an earlier run"}, **old)
    with lab.watching():
        run = lab.run_of(task_id)
        run.become("RUNNING")
        run.task("dataset", "CACHED", started=wire_time_ago(minutes=5))
        run.task("train", "RUNNING")
        lab.told(task_id, state="RUNNING")
        wait_until(lambda: "train" in lab.step(task_id).facts["pipeline"])
        told = lab.step(task_id).facts["pipeline"]
        assert told["dataset"]["state"] == "succeeded"
        assert told["dataset"]["facts"] == {"of": "an earlier run", "cached": True}
        assert (told["train"]["state"], told["train"]["facts"]) == ("running", {})


def test_a_run_fails_with_the_failed_steps_own_sentence(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        root = lab.settings.layout.root
        lab.report(task_id, "dataset", "failed", error=f"No labels lie in {root}/labels: label.")
        run.task("dataset", "FAILED", log="Traceback …")
        run.become("FAILED", "the workflow failed")
        assert lab.end(task_id, "failed") == "No labels lie in labels: label."
    shown = {step.name: step for step in lab.status(task_id).process_status.steps}
    assert (shown["dataset"].state, shown["train"].state) == ("failed", "pending")


def test_a_step_that_left_no_word_fails_with_what_kubeflow_knows(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        run.task("dataset", "FAILED", log="components.errors.BadLabels: There are no labels.\n")
        run.become("FAILED", "the workflow failed")
        assert "There are no labels." in lab.end(task_id, "failed")


def test_a_conversion_has_come_about_only_once_it_is_proven(lab: TrainingLab):
    def told(task_id: str) -> set[str]:
        with lab.sessions() as session:
            names = session.scalars(select(Event.name).where(Event.task_id == task_id))
            return {name for name in names if name.startswith("MODEL_CONVERSION")}

    missed, proven = lab.task(), lab.task()
    with lab.watching():
        run = lab.run_of(missed)
        for name in ("dataset", "train", "export"):
            lab.report(missed, name)
            run.task(name, "SUCCEEDED")
        lab.report(missed, "parity", "failed", error="It does not behave like model.pt.")
        run.task("parity", "FAILED")
        run.become("FAILED", "the workflow failed")
        assert lab.end(missed, "failed") == "It does not behave like model.pt."
        lab.succeed(proven, lab.run_of(proven))
        lab.end(proven, "succeeded")
    assert told(missed) == {EventName.MODEL_CONVERSION_REQUESTED}
    assert told(proven) == {
        EventName.MODEL_CONVERSION_REQUESTED,
        EventName.MODEL_CONVERSION_COMPLETED,
    }


@pytest.mark.parametrize("states", [("CANCELING", "FAILED"), ("CANCELED",), ("SKIPPED",)])
def test_a_run_that_others_end_fails_its_task_and_says_so(
    lab: TrainingLab, states: tuple[str, ...]
):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        lab.report(task_id, "dataset", "running")
        run.task("dataset", "RUNNING")
        for state in states:
            run.become(state)
        error = lab.end(task_id, "failed")
    assert f"training-{task_id}" in error
    assert ("was cancelled in Kubeflow Pipelines" in error) == (states != ("SKIPPED",))
    assert lab.status(task_id).process_status.steps[1].state in ("cancelled", "failed")


def test_a_run_that_was_deleted_fails_its_task_and_says_so(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        del lab.kfp.runs[run.fields["run_id"]]
        assert "was deleted in Kubeflow Pipelines" in lab.end(task_id, "failed")


def test_a_deleted_run_whose_name_another_one_bears_by_now_fails_its_task(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        # Whoever has deleted it submits it again before anybody has looked.
        other = lab.kfp.runs.pop(run.fields["run_id"])
        other.fields["run_id"] = "another"
        lab.kfp.runs["another"] = other
        assert "was deleted in Kubeflow Pipelines" in lab.end(task_id, "failed")


def test_a_run_that_ends_without_its_steps_word_fails_its_task(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        for name in TRAINING_STEPS:
            run.task(name, "SUCCEEDED")
            if name != "register":
                lab.report(task_id, name)
        run.become("SUCCEEDED")
        assert "nothing is known of its steps register" in lab.end(task_id, "failed")


@pytest.mark.parametrize("state", ["CACHED", "SUCCEEDED"])
def test_a_step_whose_result_was_cached_is_known_by_its_report_of_before(
    lab: TrainingLab, state: str
):
    """Also where nothing that Kubeflow Pipelines tells says that it was."""
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        lab.report(task_id, "dataset", started=now().timestamp() - 7200)
        run.task("dataset", state, started=wire_time_ago(minutes=20))
        for name in TRAINING_STEPS[1:]:
            lab.report(task_id, name)
            run.task(name, "SUCCEEDED")
        run.become("SUCCEEDED")
        lab.end(task_id, "succeeded")
    facts = lab.step(task_id).facts["pipeline"]["dataset"]["facts"]
    assert facts == {**FACTS["dataset"], "cached": True}


def test_a_report_of_before_is_not_taken_for_a_step_that_is_never_cached(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        for name in TRAINING_STEPS:
            earlier = {"started": now().timestamp() - 7200} if name == "train" else {}
            lab.report(task_id, name, **earlier)
            run.task(name, "SUCCEEDED")
        run.become("SUCCEEDED")
        assert "nothing is known of its steps train:" in lab.end(task_id, "failed")


def test_a_kubeflow_that_is_away_at_the_submission_is_tried_again(lab: TrainingLab):
    lab.kfp.faults["run_service_list_runs"] += [503, 503]
    task_id = lab.task()
    with lab.watching():
        wait_until(lambda: "503" in lab.step(task_id).error, what="the fault to be told")
        run = lab.run_of(task_id)
        lab.succeed(task_id, run)
        lab.end(task_id, "succeeded")
    assert _attempts(lab, task_id)[-1] == "succeeded"
    assert set(_attempts(lab, task_id)[:-1]) == {"retried"}


def test_a_submission_whose_answer_is_lost_is_not_done_twice(lab: TrainingLab):
    lab.kfp.faults["run_service_create_run"].append(lambda: None)
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        lab.succeed(task_id, run)
        lab.end(task_id, "succeeded")
    assert len(lab.kfp.named(f"training-{task_id}")) == 1


def test_what_kubeflow_refuses_at_the_submission_fails_the_task(lab: TrainingLab):
    lab.kfp.refused["run_service_create_run"] = "not in this namespace"
    task_id = lab.task()
    with lab.watching():
        assert "not in this namespace" in lab.end(task_id, "failed")


@pytest.mark.parametrize("how", ["away", "unknown", "login"])
def test_a_known_run_is_followed_on_while_kubeflow_tells_nothing_of_it(lab: TrainingLab, how: str):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        lab.report(task_id, "dataset", "running")
        run.task("dataset", "RUNNING")
        run.become("RUNNING")
        lab.told(task_id, state="RUNNING")
        if how == "away":
            lab.kfp.faults["run_service_get_run"] += [503] * 10_000
        elif how == "unknown":
            lab.kfp.token = "another"
        else:
            lab.kfp.login_page = True
        said = "Kubeflow Pipelines does not answer" if how == "away" else "The run cannot be"
        lab.told(task_id, note=said, url="/#/runs/details/", state="RUNNING")
        assert lab.state(task_id) == "running"
        assert lab.status(task_id).process_status.steps[1].state == "running"
        lab.kfp.faults.clear()
        lab.kfp.token, lab.kfp.login_page = "", False
        lab.succeed(task_id, run)
        lab.end(task_id, "succeeded")
    assert lab.status(task_id).process_status.pipeline_run.note == ""
    assert _attempts(lab, task_id) == ["succeeded"]


def test_a_watcher_that_is_stopped_lets_the_run_go_on_and_the_next_one_follows_it(
    lab: TrainingLab,
):
    task_id = lab.task()
    for _ in range(MAX_ATTEMPTS + 1):
        with lab.watching():
            run = lab.run_of(task_id)
            lab.report(task_id, "dataset", "running")
            run.task("dataset", "RUNNING")
            run.become("RUNNING")
            lab.told(task_id, state="RUNNING")
        shown = lab.status(task_id).process_status
        assert (shown.state, shown.pipeline_run.state) == ("running", "RUNNING")
        assert [step.state for step in shown.steps][1] == "running"
        assert run.fields["state"] == "RUNNING"
        assert _attempts(lab, task_id) == []
    with lab.watching():
        lab.succeed(task_id, run)
        lab.end(task_id, "succeeded")
    assert len(lab.kfp.calls("run_service_create_run")) == 1
    assert lab.kfp.calls("run_service_terminate_run") == []
    assert lab.step(task_id).attempt == 1


def test_watchers_that_are_lost_cost_neither_the_run_nor_what_is_known_of_it(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
        lab.report(task_id, "dataset", "running")
        run.task("dataset", "RUNNING")
        run.become("RUNNING")
        lab.told(task_id, state="RUNNING")
    facts = lab.step(task_id).facts
    for number in range(MAX_ATTEMPTS + 2):
        with lab.sessions.begin() as session:
            step = claim_step(session, task_id, TRAINING, f"w{number}", lab.lease)
        assert step is not None
        assert step.facts == facts
        set_step(lab.sessions, task_id, TRAINING, lease_until=step.started)
    assert _attempts(lab, task_id).count("lost") == MAX_ATTEMPTS + 1
    with lab.watching():
        lab.succeed(task_id, run)
        lab.end(task_id, "succeeded")
    assert len(lab.kfp.named(f"training-{task_id}")) == 1


def test_a_watcher_killed_before_it_knew_the_runs_id_costs_no_second_run(
    lab: TrainingLab, tmp_path: Path
):
    """A real one: it dies the moment that Kubeflow Pipelines has made the run."""
    processes: list[subprocess.Popen[bytes]] = []
    lab.kfp.faults["run_service_create_run"].append(lambda: os.killpg(processes[0].pid, 9))
    task_id = lab.task()

    def start() -> None:
        with (tmp_path / "watcher.log").open("ab") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "gateway.watcher"],
                    cwd=ROOT,
                    env=lab.settings.environment(secrets=True),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    try:
        start()
        assert processes[0].wait(60) == -signal.SIGKILL
        assert lab.row(task_id).run_id == ""
        set_step(lab.sessions, task_id, TRAINING, lease_until=now())
        start()
        run = lab.run_of(task_id)
        # A deployment's way: the run goes on.
        processes[1].terminate()
        assert processes[1].wait(20) == 0
        assert run.fields["state"] == "PENDING"
        with lab.watching():
            lab.succeed(task_id, run)
            lab.end(task_id, "succeeded")
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert len(lab.kfp.named(f"training-{task_id}")) == 1
    assert _attempts(lab, task_id) == ["lost", "succeeded"]


def test_a_task_that_is_cancelled_ends_its_run(lab: TrainingLab, client: TestClient):
    task_id = lab.task()
    with lab.watching(kfp_poll_seconds=3600):
        run = lab.run_of(task_id)
        lab.told(task_id, state="PENDING")
        run.become("RUNNING")
        assert client.delete(f"/tasks/{task_id}").json()["state"] == "cancelled"
        wait_until(lambda: run.cancelled, what="the run to be ended")
        wait_until(lambda: lab.row(task_id).ended is not None)
    assert lab.state(task_id) == "cancelled"
    assert lab.status(task_id).process_status.pipeline_run.state == "CANCELING"
    assert len(lab.kfp.calls("run_service_terminate_run")) == 1


def test_a_task_that_was_cancelled_while_no_watcher_was_there_ends_its_run(lab: TrainingLab):
    known, unknown = lab.task(), lab.task()
    with lab.watching():
        runs = [lab.run_of(task_id) for task_id in (known, unknown)]
    with lab.sessions.begin() as session:
        # As if the watcher had been killed before it knew the id.
        session.merge(lab.row(unknown)).run_id = ""
    for task_id in (known, unknown):
        lab.cancel(task_id)
    # Nor is Kubeflow Pipelines there at first.
    lab.kfp.faults["run_service_get_run"] += [503, 503]
    lab.kfp.faults["run_service_list_runs"] += [503]
    with lab.watching():
        wait_until(lambda: all(run.cancelled for run in runs))
        wait_until(lambda: all(lab.row(t).ended for t in (known, unknown)))


def test_a_cancelled_task_whose_run_is_gone_asks_for_it_no_more(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching():
        run = lab.run_of(task_id)
    del lab.kfp.runs[run.fields["run_id"]]
    lab.cancel(task_id)
    with lab.watching():
        wait_until(lambda: lab.row(task_id).ended is not None)


@pytest.mark.parametrize("early", [False, True])
def test_a_signed_hint_has_the_run_looked_at_at_once(
    lab: TrainingLab, client: TestClient, settings: Settings, early: bool
):
    """Also an early one: an exit handler tells of the end while the run waits for itself."""
    task_id = lab.task()
    with lab.watching(kfp_poll_seconds=3600):
        run = lab.run_of(task_id)
        lab.told(task_id, state="PENDING")
        gateway = TestClient(create_app(settings))
        body = json.dumps(ENDED | {"task_id": task_id}).encode()
        if early:
            run.become("RUNNING")
        else:
            lab.succeed(task_id, run)
        assert lab.state(task_id) == "running"
        assert _run_ended(gateway, body).status_code == 202
        if early:
            lab.told(task_id, state="RUNNING")
            lab.succeed(task_id, run)
        lab.end(task_id, "succeeded", seconds=60)


def test_a_lab_follows_fifty_runs_at_once(lab: TrainingLab):
    tasks = [lab.task() for _ in range(50)]
    with lab.watching(kfp_followed_runs=1):
        first = lab.run_of(tasks[0])
    runs = {tasks[0]: first}
    # Submitting each takes its time; here they are found.
    for task_id in tasks[1:]:
        fields = {**first.fields, "run_id": task_id, "display_name": f"training-{task_id}"}
        runs[task_id] = lab.kfp.runs[task_id] = ServedRun(fields, f"actverse-{task_id}")
    with lab.watching(kfp_poll_seconds=1.0):
        for task_id in tasks:
            lab.told(task_id, state="PENDING")
        for task_id, run in runs.items():
            lab.succeed(task_id, run)
        for task_id in tasks:
            lab.end(task_id, "succeeded")
    assert len(lab.kfp.calls("run_service_create_run")) == 1
    assert {tuple(_attempts(lab, task_id)) for task_id in tasks} == {("succeeded",)}


def test_what_pods_leave_in_an_s3_storage_is_told(
    lab: TrainingLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_s3(tmp_path) as store:
        root = f"s3://{store.new_bucket()}/lab"
        given = {**lab.settings.model_dump(), "root": root, "s3_endpoint": store.endpoint}
        lab.settings = Settings(**given)
        pod = TrainingLab(Settings(**given | {"home": tmp_path / "pod"}), lab.sessions, lab.kfp)
        storage = open_storage(pod.settings)
        task_id = lab.task()
        open_storage(lab.settings).keep(lab.settings.layout.labels(task_id))
        with lab.watching():
            run = lab.run_of(task_id)
            run.become("RUNNING")
            run.task("dataset", "RUNNING")
            pod.report(task_id, "dataset", "running")
            storage.keep(pod.settings.layout.step_reports(task_id))
            wait_until(lambda: lab.status(task_id).process_status.steps[1].percent == 50.0)
            # A step's word is stored before the step ends.
            for name in TRAINING_STEPS:
                pod.report(task_id, name)
            storage.keep(pod.settings.layout.step_reports(task_id))
            pod.succeed(task_id, run)
            lab.end(task_id, "succeeded")
    assert lab.step(task_id).facts["pipeline"]["deploy"]["facts"] == FACTS["deploy"]


def test_the_users_own_weights_are_named_by_their_key(lab: TrainingLab):
    own = lab.settings.layout.user_file("ada", "mice.pt")
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_bytes(b"weights")
    there = lab.task(training={"weights": "key:mice.pt"})
    gone = lab.task(training={"weights": "key:rats.pt"})
    with lab.watching():
        lab.run_of(there)
        assert "'rats.pt'" in lab.end(gone, "failed")
    (created,) = lab.kfp.calls("run_service_create_run")
    assert (
        '"weights":"stored:users/ada/mice.pt"'
        in (created.body["runtime_config"]["parameters"]["training"])
    )


def test_who_has_lost_a_training_tells_nothing_more_and_ends_no_run(lab: TrainingLab):
    task_id = lab.task()
    with lab.watching(kfp_poll_seconds=3600):
        run = lab.run_of(task_id)
        lab.told(task_id, state="PENDING")
        later = now() + timedelta(hours=1)
        set_step(lab.sessions, task_id, TRAINING, lease_holder="another", lease_until=later)
        lab.succeed(task_id, run)
        with lab.sessions.begin() as session:
            hint_at_run(session, task_id)
    assert (lab.state(task_id), lab.step(task_id).lease_holder) == ("running", "another")
    assert lab.kfp.calls("run_service_terminate_run") == []
