"""A run's nodes as Kubeflow Pipelines tells of them, which runs a pipeline as an Argo workflow.

What its converter leaves out (apiserver/server/api_converter.go, toApiPipelineTaskDetail) is
left out here: a task has no error, no pod name and no id of its node; its children have. Each
pod has two labels, as every pod of a pipeline of ours.
"""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

NEVER = "0001-01-01T00:00:00Z"
UNSET = "1970-01-01T00:00:00Z"


def wire_time(time: datetime | None = None) -> str:
    """A moment as the server has it, in whole seconds; now by default."""
    return (time or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def wire_time_ago(**past: float) -> str:
    """A moment in the past, as the arguments of a timedelta say."""
    return wire_time(datetime.now(UTC) - timedelta(**past))


def fnv(text: str) -> int:
    """FNV-1a, 32 bits, by which Argo makes the ids of nodes of their names."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


@dataclass
class ServedRun:
    """A run of the tests' server.

    Attributes:
        fields: a V2beta1Run, without its details.
        nodes: those of each task, as V2beta1PipelineTaskDetail.
        logs: the text of each pod.
        waiting: what each pod that has not started waits for.
    """

    fields: dict[str, Any]
    workflow: str
    nodes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.fields["state"] in ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")

    @property
    def cancelled(self) -> bool:
        """Whether it has ended as one that was terminated does on Argo."""
        states = [status["state"] for status in self.fields["state_history"]]
        return states[-2:] == ["CANCELING", "FAILED"]

    def become(self, state: str, error: str = "") -> None:
        """Go over into a state."""
        self.fields["state"] = state
        self.fields["state_history"].append({"update_time": wire_time(), "state": state})
        if error:
            self.fields["error"] = {"code": 2, "message": error}
        if self.over:
            self.fields["finished_at"] = wire_time()

    def task(
        self,
        name: str,
        state: str = "RUNNING",
        *,
        log: str | list[str] = "",
        started: str = "",
        ended: str = "",
        waiting: str = "",
    ) -> None:
        """Let a task's nodes be in a state.

        Args:
            state: CACHED is told as the server does: it has succeeded, and has run nothing.
            log: what its pod prints; of a task that is repeated, each attempt's.
            waiting: what its pod waits for, if it has not started.
        """
        started = started or wire_time()
        over = state not in ("RUNNING", "PENDING")
        ended = (ended or wire_time()) if over else NEVER
        cached = state == "CACHED"
        if cached:
            state, ended = "SUCCEEDED", started
        path = f"{self.workflow}.root.{name}"
        node = fnv(f"{path}.executor")
        nodes = self.nodes[name] = [
            self._node(f"{name}-driver", "SUCCEEDED", started, started, [fnv(path)]),
            self._node(name, state, started, ended, [] if state == "SKIPPED" else [node]),
        ]
        if state == "SKIPPED":
            return
        if isinstance(log, str):
            ran = "SKIPPED" if cached else state
            nodes.append(self._node("executor", ran, started, ended, []))
            if cached:
                return
            pod = f"{self.workflow}-metadata-0-2-system-container-impl-{node}"
            self.logs[pod] = log
            if waiting:
                self.waiting[pod] = waiting
            return
        attempts = [fnv(f"{path}.executor({number})") for number in range(len(log))]
        nodes.append(self._node("executor", state, started, ended, attempts))
        for number, (attempt, text) in enumerate(zip(attempts, log, strict=True)):
            tried = state if number == len(log) - 1 else "FAILED"
            nodes.append(self._node(f"executor({number})", tried, started, ended, []))
            pod = f"{self.workflow}-metadata-0-2-retry-system-container-impl-{attempt}"
            self.logs[pod] = text

    def driver(self, name: str, state: str) -> None:
        """Let a task have no more than its driver."""
        self.nodes[name] = [self._node(f"{name}-driver", state, wire_time(), wire_time(), [])]

    def json(self) -> dict[str, Any]:
        """A V2beta1Run."""
        root = self._node("root", self.fields["state"], wire_time(), NEVER, [])
        noise = [self._node("root-driver", "SUCCEEDED", wire_time(), wire_time(), []), root]
        details = [*noise, *itertools.chain(*self.nodes.values())]
        return {**self.fields, "run_details": {"task_details": details}}

    def _node(
        self, name: str, state: str, started: str, ended: str, children: list[int]
    ) -> dict[str, Any]:
        return {
            "run_id": self.fields["run_id"],
            "task_id": f"{fnv(self.workflow + name):08x}",
            "display_name": name,
            "create_time": started,
            "start_time": started,
            "end_time": ended,
            "state": state,
            "child_tasks": [{"pod_name": f"{self.workflow}-{child}"} for child in children],
        }
