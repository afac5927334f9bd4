"""Where pipelines run: the one interface of this machine and of Kubeflow Pipelines."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

PipelineName = Literal["training", "analysis"]


class RunState(StrEnum):
    """Kubeflow Pipelines' own states (v2beta1 ``RuntimeState``)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELING = "CANCELING"
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    CACHED = "CACHED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self in (
            RunState.SUCCEEDED,
            RunState.SKIPPED,
            RunState.CACHED,
            RunState.FAILED,
            RunState.CANCELED,
        )


@dataclass(frozen=True)
class RunRequest:
    """A run that is wanted.

    Attributes:
        name: the label that it is looked up by; one name is never submitted twice.
        arguments: the pipeline's parameters.
    """

    pipeline: PipelineName
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class TaskStatus:
    """One task of a run.

    Attributes:
        name: the component's, as in the pipeline's YAML.
        error: one sentence, empty unless it failed.
        killed: whether its process was ended from outside, where that is known.
    """

    name: str
    display_name: str
    state: RunState
    started: datetime | None = None
    ended: datetime | None = None
    error: str = ""
    killed: bool = False


@dataclass(frozen=True)
class RunStatus:
    """A run as its backend sees it.

    Attributes:
        url: the run's page, empty where there is none.
        error: one sentence, empty unless it failed.
        tasks: in the order in which they began.
        killed: whether the process that ran it was ended from outside, where that is known.
    """

    run_id: str
    name: str
    pipeline: str
    state: RunState
    created: datetime | None = None
    ended: datetime | None = None
    url: str = ""
    error: str = ""
    tasks: tuple[TaskStatus, ...] = field(default=())
    killed: bool = False


class PipelineBackend(ABC):
    """Runs pipelines and tells of their runs. Safe to share between threads.

    Every method raises Unavailable where the place that runs pipelines does not answer, to be
    tried again, and Unauthorized or Refused where it does not let us in.
    """

    @abstractmethod
    def submit(self, request: RunRequest) -> str:
        """Begin a run and return its id.

        A run of that name which is there already, in whatever state, is returned instead: so
        a submission whose answer was lost can be repeated.

        Raises:
            BadInput: if a parameter is unknown, missing or out of range.
        """

    @abstractmethod
    def find(self, name: str) -> RunStatus | None:
        """The run of this name, or None; of several, by whatever mishap, the first."""

    @abstractmethod
    def status(self, run_id: str) -> RunStatus:
        """A run and its tasks.

        Raises:
            NotFound: if there is no such run (any more).
        """

    @abstractmethod
    def runs(self, limit: int = 20) -> list[RunStatus]:
        """The newest runs, without their tasks."""

    @abstractmethod
    def logs(self, run_id: str, task: str = "") -> Iterator[str]:
        """The lines that a run's tasks, or one of them, have printed so far.

        Raises:
            NotFound: if there is no such run or task.
        """

    @abstractmethod
    def cancel(self, run_id: str) -> None:
        """End a run; one that has ended stays as it is.

        Raises:
            NotFound: if there is no such run.
        """
