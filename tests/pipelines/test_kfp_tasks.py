"""A run's tasks out of the nodes that Kubeflow Pipelines tells of."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kfp_server_api import PipelineTaskDetailChildTask, V2beta1PipelineTaskDetail

from pipelines.backend import RunState
from pipelines.kfp_tasks import run_state, run_tasks, task_pods
from pipelines.spec_tasks import SpecTask
from tests.helpers.kfp_runs import fnv

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMED = {"analyse": SpecTask("analyse", "Analyse", cached=True)}


def node(name: str, state: str, second: int = 0, children: tuple[str, ...] = ()) -> Any:
    return V2beta1PipelineTaskDetail(
        display_name=name,
        state=state,
        start_time=START + timedelta(seconds=second),
        end_time=START + timedelta(seconds=second + 5),
        child_tasks=[PipelineTaskDetailChildTask(pod_name=child) for child in children],
    )


def test_each_turn_of_a_loop_is_a_task():
    details = [
        node("analyse", "RUNNING", 20),
        node("analyse-driver", "SUCCEEDED", 10),
        node("analyse", "FAILED", 11),
        node("analyse-driver", "SUCCEEDED", 12),
        node("analyse-driver", "RUNNING", 30),
        node("for-loop-1", "RUNNING"),
        node("executor", "RUNNING", 11),
    ]
    tasks = run_tasks(details, NAMED, RunState.RUNNING)
    assert [task.state for task in tasks] == [RunState.FAILED, RunState.RUNNING, RunState.PENDING]
    ended = run_tasks(details, NAMED, RunState.CANCELED)
    assert [t.state for t in ended] == [RunState.FAILED, RunState.CANCELED, RunState.CANCELED]


def test_what_was_taken_from_the_cache_is_told_from_what_was_left_out():
    driver = node("analyse-driver", "SUCCEEDED")
    left_out = [driver, node("analyse", "SKIPPED")]
    assert run_tasks(left_out, NAMED, RunState.RUNNING)[0].state == RunState.SKIPPED
    # The server leaves it a success, and skips only what it would have run.
    cached = [driver, node("analyse", "SUCCEEDED"), node("executor", "SKIPPED")]
    assert run_tasks(cached, NAMED, RunState.RUNNING)[0].state == RunState.CACHED
    named = {"analyse": SpecTask("analyse", "Analyse", cached=False)}
    assert run_tasks(cached, named, RunState.RUNNING)[0].state == RunState.SUCCEEDED


def test_another_tasks_executor_is_not_taken_for_its_own():
    others = [node("executor", "SKIPPED", 0), node("executor", "SKIPPED", 30)]
    own = node("executor", "SUCCEEDED", 21)
    main = node("analyse", "SUCCEEDED", 20)
    for details in ([main, *others], [main, *others, own, node("executor", "SKIPPED", 22)]):
        assert run_tasks(details, NAMED, RunState.RUNNING)[0].state == RunState.SUCCEEDED
    (task,) = run_tasks([main, node("executor", "SKIPPED", 20)], NAMED, RunState.SUCCEEDED)
    assert (task.state, task.ended is None) == (RunState.CACHED, False)


@pytest.mark.parametrize("state", ["FAILED", "SKIPPED"])
def test_a_task_whose_driver_ended_is_not_waited_for(state: str):
    (task,) = run_tasks([node("analyse-driver", state)], NAMED, RunState.RUNNING)
    assert (task.state, task.ended is None) == (RunState(state), False)


def test_a_state_of_a_newer_server_ends_when_its_run_has_ended():
    assert run_state("HIBERNATING", None) == RunState.PENDING
    assert run_state("HIBERNATING", START) == RunState.FAILED
    assert run_state(None, None) == RunState.PENDING


def test_pods_are_named_as_argo_names_them():
    # A pod of a real cluster, and its node as that cluster's API tells of it.
    details = [node("analyse", "RUNNING", 0, ("myrun-zw4kn-3733972029",))]
    assert list(task_pods(details, "analyse")) == [
        [
            "myrun-zw4kn-metadata-0-2-system-container-impl-3733972029",
            "myrun-zw4kn-system-container-impl-3733972029",
            "myrun-zw4kn-3733972029",
        ]
    ]
    name = "w-1.root.analyse.executor"
    attempts = [fnv(f"{name}({number})") for number in range(2)]
    details = [
        node("analyse", "RUNNING", 0, (f"w-1-{fnv(name)}",)),
        node("executor", "RUNNING", 0, tuple(f"w-1-{attempt}" for attempt in attempts)),
    ]
    pods = list(task_pods(details, "analyse"))
    assert [names[0] for names in pods] == [
        f"w-1-metadata-0-2-retry-system-container-impl-{attempt}" for attempt in attempts
    ]
    assert [names[-1] for names in pods] == [f"w-1-{attempt}" for attempt in attempts]
