"""Tasks: posted, listed, cancelled, and what they leave behind."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.labeling.formats import FormatName
from components.video.selection.options import Strategy
from gateway.schemas.body import Place, UserId
from gateway.schemas.learning import ClientTraining, Learning
from gateway.schemas.status import TaskState


class UploadedTaskRequest(Learning):
    """A video that is sent along, and that is to become a served model and an analysis."""

    labels_path: str = Field(
        "",
        max_length=1024,
        description="the labels, where there are some already: the key of a file, folder or "
        "archive among your own, with images or named after the extracted frames "
        "(frame_000120); without them the frames are laid out for labelling, and the task waits",
        examples=["labels/mice"],
    )
    labels_format: FormatName | None = Field(None, description="default: told by a look at them")
    user_id: UserId = None
    num_frames: int = Field(
        120, ge=2, le=100_000, description="frames to extract where the labels name none"
    )
    strategy: Strategy | None = Field(
        None,
        description="by which the frames are chosen; default: active where a global model is "
        "served, else uniform",
    )
    min_seconds_apart: float | None = Field(
        None,
        ge=0,
        le=86_400,
        description="between two chosen frames; default: a quarter of an even spread's distance",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="decides between frames equally good")
    labeling_tool: Literal["folder", "label-studio"] | None = Field(
        None, description="where people label; default: Label Studio where one is set"
    )
    training: ClientTraining = ClientTraining()
    confidence: float = Field(0.25, gt=0, lt=1)
    iou: float = Field(0.7, gt=0, le=1)


class TaskRequest(UploadedTaskRequest):
    """A video that is to become a served model and an analysis."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "file_path": "https://example.org/mouse.mp4",
                    "task": "pose",
                    "names": ["mouse"],
                    "keypoints": ["nose", "tail"],
                    "num_frames": 60,
                    "training": {"epochs": 60, "imgsz": 320},
                }
            ]
        }
    )

    file_path: Place


class TaskCreated(BaseModel):
    """The answer to a new task."""

    task_id: str = Field(examples=["t-0123456789ab"])


class TaskSummary(BaseModel):
    """A task as it is listed."""

    task_id: str
    user_id: str
    kind: str
    state: TaskState
    percent: float = Field(ge=0, le=100)
    error: str
    created: datetime
    updated: datetime


class TaskList(BaseModel):
    """A page of tasks, the newest first."""

    tasks: list[TaskSummary]
    after: str | None = Field(description="where the next page begins; null on the last one")
    next: str | None = Field(description="the next page's address")


class KeptFolder(BaseModel):
    """A folder of the storage that a cancelled task has left there."""

    folder: str = Field(examples=["frames/t-0123456789ab"])
    own: bool = Field(description="among your own files, below /files/")
    files: int
    bytes: int


class Cancelled(BaseModel):
    """What became of a task that was to be cancelled."""

    task_id: str
    state: TaskState = Field(description="cancelled, unless it had ended before")
    cancelled_steps: list[str]
    finished_steps: list[str]
    kept: list[KeptFolder] = Field(description="what is kept of it")


class ResultFile(BaseModel):
    """A result file."""

    path: str = Field(examples=["results.csv", "chunks/result_chunk_0.json"])
    bytes: int
    modified: datetime
    media_type: str
    link: str = Field(
        description="presigned, or below this gateway (then it needs the key, and takes Range)"
    )


class ResultList(BaseModel):
    """A page of a task's result files."""

    task_id: str
    complete: bool = Field(description="whether the task has written all of them")
    files: list[ResultFile]
    after: str | None = Field(description="where the next page begins; null on the last one")
    next: str | None = Field(description="the next page's address")


def learning_of(request: Learning) -> dict[str, Any]:
    """The particulars of a request as ``Work`` takes them."""
    return request.model_dump(exclude={"user_id"})
