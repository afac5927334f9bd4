"""Frames that people label."""

from pydantic import BaseModel, Field

from gateway.schemas.body import Body, Key, UserId
from gateway.schemas.status import StepState


class LabelingRequest(Body):
    """Frames that are to be laid out for labelling, for a task of yours that has ended."""

    folder_path: Key = Field(
        description="the folder of the frames", examples=["frames/t-0123456789ab"]
    )
    task_id: str = Field(min_length=1, max_length=64, examples=["t-0123456789ab"])
    user_id: UserId = None


class LabelingStatus(BaseModel):
    """How far the labels of a task are."""

    task_id: str
    labelled: int
    total: int = Field(description="the frames to label; 0 until they are laid out")
    state: StepState = Field(description="waiting: for people")
    project: str = Field(description="the key of the folder in which they are labelled")
