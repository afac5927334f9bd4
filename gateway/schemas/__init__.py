"""What the REST interface takes and gives, one module a subject."""

from gateway.schemas.body import Body, Key, Place, UserId
from gateway.schemas.problem import Problem
from gateway.schemas.status import (
    PipelineRunStatus,
    ProcessStatus,
    StepState,
    StepStatus,
    TaskState,
    TaskStatus,
)
from gateway.schemas.tasks import TaskCreated, TaskRequest

__all__ = [
    "Body",
    "Key",
    "PipelineRunStatus",
    "Place",
    "Problem",
    "ProcessStatus",
    "StepState",
    "StepStatus",
    "TaskCreated",
    "TaskRequest",
    "TaskState",
    "TaskStatus",
    "UserId",
]
