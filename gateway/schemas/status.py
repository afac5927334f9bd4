"""Where a task stands."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

StepState = Literal["pending", "running", "waiting", "succeeded", "failed", "cancelled"]
TaskState = Literal["queued", "running", "waiting", "succeeded", "failed", "cancelled"]


class StepStatus(BaseModel):
    """One step of a task."""

    name: str
    state: StepState
    percent: float = Field(ge=0, le=100)
    done: float = Field(0, description="how far it is, in its unit")
    total: float = Field(0, description="how far it has to go; 0 where nobody knows")
    unit: str = Field("", description="what done and total count; empty where nothing is counted")
    remaining_seconds: float | None = Field(
        None, description="estimated from its own pace; null where there is no pace yet"
    )
    attempt: int
    started: datetime | None
    ended: datetime | None
    error: str
    facts: dict[str, Any]


class PipelineRunStatus(BaseModel):
    """The pipeline run that trains a task's model."""

    backend: Literal["local", "kubeflow"]
    run_id: str
    url: str = Field(description="its page in Kubeflow Pipelines; empty where there is none")
    state: str = Field(
        description="as Kubeflow Pipelines names it; empty until it was looked at",
        examples=["RUNNING"],
    )
    note: str = Field(
        description="why it could not be looked at of late, or what holds it up; else empty"
    )


class ProcessStatus(BaseModel):
    """Where a task stands."""

    state: TaskState
    percent: float = Field(ge=0, le=100)
    remaining_seconds: float | None = Field(
        None,
        description="of the running steps by their own pace, of those to come by what they took "
        "in earlier tasks; null where one of them cannot be estimated, and while it waits",
    )
    error: str
    created: datetime
    updated: datetime
    steps: list[StepStatus]
    pipeline_run: PipelineRunStatus | None = Field(
        None, description="of its training; null until there is one"
    )


class TaskStatus(BaseModel):
    """The answer to ``GET /status/{task_id}``."""

    task_id: str
    user_id: str
    kind: str
    revision: int = Field(description="grows with every change")
    process_status: ProcessStatus
