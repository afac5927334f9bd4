"""Models that are served, and what is asked of them."""

from typing import Literal

from pydantic import BaseModel, Field

from gateway.schemas.body import Body, Key, Place, UserId
from gateway.schemas.tasks import TaskCreated
from gateway.work import Name


class DeploymentRequest(Body):
    """A model that is to be served: the one a task has trained, or an ONNX file of one's own."""

    task_id: str = Field(min_length=1, max_length=64, examples=["t-0123456789ab"])
    model_path: Key | None = Field(None, description="the key of an ONNX file among your own")
    user_id: UserId = None


class ModelImport(Body):
    """A model that was trained elsewhere, and is to be served."""

    model_path: Key = Field(
        description="the key of an ONNX file or of an Ultralytics checkpoint (.pt) among your own",
        examples=["models/animals.pt"],
    )
    name: Name = Field(
        description="the registered model, yours alone; the global one, which pre-annotates "
        "everybody's frames, is an administrator's to bring",
        examples=["global"],
    )
    images_path: Key | None = Field(
        None,
        description="the key of a folder of images, or of a video, that show what the model "
        "finds: it is proven on some of them; default: the frames of your newest task",
        examples=["frames/t-0123456789ab"],
    )
    imgsz: int | None = Field(
        None,
        ge=32,
        le=4096,
        description="of a checkpoint: long side of the input, pixels; default: its training's",
    )
    user_id: UserId = None


class DeployedModel(BaseModel):
    """A model that is served."""

    model: str
    version: int = Field(description="the one that answers")
    versions: list[int] = Field(description="all that are loaded")
    task: Literal["detect", "pose"]
    names: list[str]
    keypoints: list[str]
    imgsz: int = Field(description="pixels, the long side that it was trained at")
    stride: int = Field(description="height and width of its input are multiples of it")


class ModelList(BaseModel):
    """What is deployed."""

    models: list[DeployedModel]


class InferenceRequest(Body):
    """A video that a task's model is to analyse."""

    data_path: Place
    confidence: float = Field(0.25, gt=0, lt=1)
    iou: float = Field(0.7, gt=0, le=1)
    batch_size: int = Field(8, ge=1, le=64)
    frame_skip: int = Field(1, ge=1, le=100_000, description="of so many frames, one is analysed")
    max_frames: int | None = Field(None, ge=1, lt=2**31)
    user_id: UserId = None


class InferenceCreated(TaskCreated):
    """The answer to it."""

    results: str = Field(
        description="where its results will be", examples=["/tasks/t-0123456789ab/results"]
    )
