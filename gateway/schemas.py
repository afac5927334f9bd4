"""What the REST interface takes and gives."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.layout import checked_name
from components.training.settings import TrainingSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
_WEIGHTS_NAME = re.compile(r"yolo(v8|11|26)[nsmlx](-pose)?\.pt")


class TaskRequest(BaseModel):
    """A video that is to become a served model and an analysis."""

    model_config = ConfigDict(extra="forbid")

    file_path: str = Field(
        min_length=1,
        max_length=2048,
        description="the video: a key below your own files, or an http(s) URL",
    )
    labels_path: str = Field(
        min_length=1,
        max_length=1024,
        description="the labels: the key of a folder below your own files, YOLO text with "
        "images or named after the extracted frames (frame_000120.txt)",
    )
    user_id: Name | None = Field(None, description="the key's own user, if given at all")
    model_name: Name | None = Field(
        None, description="the registered model; default: one per user and kind of task"
    )
    task: Literal["detect", "pose"] = "detect"
    names: tuple[str, ...] = Field((), description="class names; default: the label folder's own")
    keypoints: tuple[str, ...] = Field((), description="key point names, for pose")
    flip_idx: tuple[int, ...] = Field((), description="mirrored key points, for pose")
    num_frames: int = Field(
        120, ge=2, le=100_000, description="frames to extract where the labels name none"
    )
    held_out: float = Field(0.2, gt=0, lt=1, description="share of the labels kept for judging")
    training: TrainingSettings = TrainingSettings()
    confidence: float = Field(0.25, gt=0, lt=1)
    iou: float = Field(0.7, gt=0, le=1)

    @model_validator(mode="after")
    def _no_paths(self) -> Self:
        weights = self.training.weights
        if weights and not _WEIGHTS_NAME.fullmatch(weights) and not weights.startswith("key:"):
            raise ValueError(
                f"weights {weights!r} is neither a published name such as yolo11n.pt nor "
                "'key:' and the key of a file of yours."
            )
        return self

    def storage_keys(self) -> list[str]:
        """The storage keys that the request names."""
        named = [self.labels_path, self.file_path]
        keys = [key for key in named if not key.startswith(("http://", "https://"))]
        if self.training.weights.startswith("key:"):
            keys.append(self.training.weights.removeprefix("key:"))
        return keys

    def served_name(self, user_id: str) -> str:
        """The registered model that this task's versions go to."""
        return self.model_name or checked_name(f"{user_id}-{self.task}", "model name")


class TaskCreated(BaseModel):
    """The answer to a new task."""

    task_id: str


class StepStatus(BaseModel):
    """One step of a task."""

    name: str
    state: Literal["pending", "running", "succeeded", "failed"]
    percent: float = Field(ge=0, le=100)
    attempt: int
    started: datetime | None
    ended: datetime | None
    error: str
    facts: dict[str, Any]


class ProcessStatus(BaseModel):
    """Where a task stands."""

    state: Literal["queued", "running", "succeeded", "failed"]
    percent: float = Field(ge=0, le=100)
    error: str
    created: datetime
    updated: datetime
    steps: list[StepStatus]


class TaskStatus(BaseModel):
    """The answer to ``GET /status/{task_id}``."""

    task_id: str
    user_id: str
    process_status: ProcessStatus


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
