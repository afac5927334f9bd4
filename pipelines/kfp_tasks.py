"""The tasks of a run, out of the many nodes by which Kubeflow Pipelines runs them.

A task ``train`` is two nodes of the workflow: ``train-driver`` decides whether and with what it
runs, ``train`` runs it, in a pod of a child node ``executor``. Where its result was cached only
that child is skipped, and ``train`` succeeds. What Kubeflow Pipelines' API leaves out: a
task's error and the name of its pod (kubeflow/pipelines issue 14007). So pods are named here
as Argo names them: workflow, template, FNV-1a hash of the node's name. The template is called as
backend/src/v2/compiler/argocompiler/container.go calls it: after repeats, and after how many
annotations and labels the pod has.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pipelines.backend import RunState, TaskStatus
from pipelines.spec_tasks import SpecTask
from pipelines.task_policy import LABELS

_DRIVER, _EXECUTOR = "-driver", "executor"
# Each pod of ours has labels and no annotation; older servers did not tell that in the name.
_MARKS = (f"metadata-0-{len(LABELS)}-", "")
_ONCE = ("system-container-impl",)
_AGAIN = ("retry-system-container-impl", "retry-system-container-impl-onerror")


def run_state(said: str | None, finished: datetime | None) -> RunState:
    """A state as the server names it; one of a newer server only tells whether it is over."""
    try:
        return RunState(said or "")
    except ValueError:
        return RunState.FAILED if finished else RunState.PENDING


def was_canceling(history: list[Any] | None) -> bool:
    """Whether a run was being canceled when it ended; Argo says of it only that it failed."""
    before = [status.state for status in history or [] if status.state != RunState.FAILED]
    return bool(before) and before[-1] == RunState.CANCELING


def moment(time: datetime | None) -> datetime | None:
    """A moment; None also for the year 1, by which Go says that there is none."""
    return time if time is not None and time.year > 1970 else None


def run_tasks(
    details: list[Any], named: dict[str, SpecTask], state: RunState
) -> tuple[TaskStatus, ...]:
    """One status for each task that runs a container, and for each turn of a loop.

    Args:
        details: the run's ``PipelineTaskDetail``.
        named: the tasks of its pipeline.
        state: the run's own. Where it has ended, no task is left running, though the server
            may not have heard of its end.
    """
    begun: list[TaskStatus] = []
    executors = _nodes(details, _EXECUTOR)
    for task in named.values():
        mains, drivers = _nodes(details, task.name), _nodes(details, task.name + _DRIVER)
        for turn in range(max(len(mains), len(drivers))):
            main = mains[turn] if turn < len(mains) else None
            driver = drivers[turn] if turn < len(drivers) else None
            cached = task.cached and main is not None and _left_out(main, executors)
            begun.append(_status(task, main, driver, state, cached=cached))
    begun.sort(key=lambda task: (task.started is None, task.started and task.started.timestamp()))
    if state.ended:
        return tuple(begun)
    known = {task.name for task in begun}
    waiting = [task for task in named.values() if task.name not in known]
    return (*begun, *(TaskStatus(t.name, t.display_name, RunState.PENDING) for t in waiting))


def task_pods(details: list[Any], task: str) -> Iterator[list[str]]:
    """For each pod of a task, in order: the names by which its log may be found."""
    nodes = {child.pod_name for detail in details for child in detail.child_tasks or []}
    for main in _nodes(details, task):
        for child in main.child_tasks or []:
            workflow, _, node = (child.pod_name or "").rpartition("-")
            if not node.isdigit():
                continue
            attempts = [a for n in range(len(nodes)) if (a := _attempt(int(node), n))]
            tried = [a for a in attempts if f"{workflow}-{a}" in nodes]
            for attempt in tried:
                yield _names(workflow, _AGAIN, attempt)
            if not tried:
                yield _names(workflow, _ONCE, int(node))


def _names(workflow: str, templates: tuple[str, ...], node: int) -> list[str]:
    # An archive knows the node by its own name.
    pods = [f"{workflow}-{mark}{template}-{node}" for mark in _MARKS for template in templates]
    return [*pods, f"{workflow}-{node}"]


def _nodes(details: list[Any], name: str) -> list[Any]:
    found = [detail for detail in details if detail.display_name == name]
    return sorted(found, key=lambda d: (t := moment(d.start_time)) is None or t.timestamp())


def _left_out(main: Any, executors: list[Any]) -> bool:
    """Whether a task's container was not run.

    Nothing tells which executor is whose, but a task's own has begun while it went on. So where
    all that have were skipped, its own was.
    """
    if (begin := moment(main.start_time)) is None or (end := moment(main.end_time)) is None:
        return False
    own = [e for e in executors if (time := moment(e.start_time)) and begin <= time <= end]
    return bool(own) and all(e.state == RunState.SKIPPED for e in own)


def _status(task: SpecTask, main: Any, driver: Any, run: RunState, *, cached: bool) -> TaskStatus:
    decided = run_state(driver.state, moment(driver.end_time)) if driver is not None else None
    if main is not None:
        state = run_state(main.state, moment(main.end_time))
        if state == RunState.SUCCEEDED and cached:
            state = RunState.CACHED
    elif decided in (RunState.FAILED, RunState.CANCELED, RunState.SKIPPED):
        state = decided
    else:
        state = RunState.PENDING
    if run.ended and not state.ended:
        state = RunState.SUCCEEDED if run == RunState.SUCCEEDED else RunState.CANCELED
    shown = driver if main is None else main
    return TaskStatus(
        name=task.name,
        display_name=task.display_name,
        state=state,
        started=moment(shown.start_time) if main is not None or state.ended else None,
        ended=moment(shown.end_time) if state.ended else None,
        error=_error(main) or _error(driver) if state == RunState.FAILED else "",
    )


def _error(node: Any) -> str:
    error = getattr(node, "error", None)
    return (error.message or "") if error is not None else ""


def _attempt(node: int, number: int) -> int:
    """The hash of a node's repeat ``(number)``, which goes on from that of the node's own name."""
    for byte in f"({number})".encode():
        node = ((node ^ byte) * 0x01000193) & 0xFFFFFFFF
    return node
