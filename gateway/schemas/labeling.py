"""Frames that people label."""

from typing import Literal

from pydantic import BaseModel, Field

from components.labeling.formats import FormatName
from components.video.selection.options import Strategy
from gateway.schemas.body import Body, Key, UserId
from gateway.schemas.learning import ClientTraining, Word
from gateway.schemas.status import StepState, TaskState


class LabelingRequest(Body):
    """Frames that are to be laid out for labelling, for a task of yours that has ended."""

    folder_path: Key = Field(
        description="the folder of the frames", examples=["frames/t-0123456789ab"]
    )
    task_id: str = Field(min_length=1, max_length=64, examples=["t-0123456789ab"])
    user_id: UserId = None
    task: Literal["detect", "pose"] = "detect"
    names: tuple[Word, ...] = Field(
        (), max_length=1000, description="class names; default: those of the task"
    )
    keypoints: tuple[Word, ...] = Field((), max_length=1000, description="for pose")
    labeling_tool: Literal["folder", "label-studio"] | None = Field(
        None, description="where people label; default: Label Studio where one is set"
    )


class LabelsRequest(Body):
    """Labels that were made elsewhere, for the frames of a task that waits for labels."""

    labels_path: Key = Field(
        description="a file, folder or archive among your own files, named after the frames",
        examples=["uploads/labels.json"],
    )
    format: FormatName | None = Field(None, description="default: told by a look at it")
    user_id: UserId = None


class RoundRequest(Body):
    """A further round of labelling and training."""

    reopen: bool = Field(
        False, description="label the same frames again, instead of those that are proposed"
    )
    num_frames: int | None = Field(
        None, ge=1, le=100_000, description="frames to propose; default: as many as before"
    )
    strategy: Strategy | None = Field(None, description="by which they are chosen; default: active")
    min_seconds_apart: float | None = Field(
        None, ge=0, le=86_400, description="between two of them; default: by the video's length"
    )
    training: ClientTraining | None = Field(
        None, description="default: as before, from the champion's weights"
    )
    user_id: UserId = None


class Round(BaseModel):
    """One round of labelling and training, a task of its own."""

    round: int
    task_id: str
    state: TaskState
    reopens: str = Field("", description="the task whose frames are labelled again")


class LabelingStatus(BaseModel):
    """How far the labels of a task are."""

    task_id: str
    labelled: int = Field(description="frames that are labelled, confirmed negatives included")
    skipped: int = Field(0, description="frames that people chose not to label")
    total: int = Field(description="the frames to label; 0 until they are laid out")
    state: StepState = Field(description="waiting: for people, or for what error says")
    error: str = Field("", description="what somebody has to mend first")
    tool: str = Field("", description="folder or label-studio; empty where labels were given")
    project: str = Field(
        description="the key of the folder in which they are labelled, or the tool's own id"
    )
    url: str = Field("", description="where people label; empty for a folder")
    strategy: str = Field("", description="by which the frames were chosen")
    preannotated_by: str = Field("", description="the model and version; empty: nothing did")
    note: str = Field("", description="what else is to be known of the frames")
    round: int = 1
    rounds: list[Round] = Field([], description="all rounds that this task is one of")
