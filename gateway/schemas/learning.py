"""What a client may say of a model that is to be trained."""

from typing import Annotated, Literal

from pydantic import Field

from components.training.settings import TrainingSettings
from gateway.schemas.body import Body
from gateway.work import Name

Word = Annotated[str, Field(min_length=1, max_length=128)]
_Index = Annotated[int, Field(ge=0, lt=1000)]


class ClientTraining(TrainingSettings):
    """The settings of a training that a client gives."""

    weights: str = Field(
        "",
        max_length=1024,
        pattern=r"^(|yolo(v8|11|26)[nsmlx](-pose)?\.pt|key:.+)$",
        description="checkpoint to start from: 'key:' and the key of a file of yours, or the name "
        "of one that Ultralytics publishes; empty: from scratch",
        examples=["yolo11n.pt", "key:weights/mice.pt"],
    )


class Learning(Body):
    """What is to be learnt, and how it is judged."""

    model_name: Name | None = Field(
        None,
        description="the registered model, yours alone; default: one per user and kind of task",
    )
    task: Literal["detect", "pose"] = "detect"
    names: tuple[Word, ...] = Field(
        (), max_length=1000, description="class names; default: the label folder's own"
    )
    keypoints: tuple[Word, ...] = Field(
        (), max_length=1000, description="key point names, for pose"
    )
    flip_idx: tuple[_Index, ...] = Field(
        (), max_length=1000, description="mirrored key points, for pose"
    )
    held_out: float = Field(0.2, gt=0, lt=1, description="share of the labels kept for judging")
