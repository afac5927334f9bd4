"""What a task is to do, as it is stored; every endpoint that begins long work makes one."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.labeling.formats import FormatName
from components.labeling.wanted import WantedLabels
from components.layout import checked_name
from components.training.settings import TrainingSettings
from components.video.selection.options import Strategy
from components.video.source import is_url

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
_WEIGHTS_NAME = re.compile(r"yolo(v8|11|26)[nsmlx](-pose)?\.pt")


class Work(BaseModel):
    """The particulars of a task; each kind of task uses those that it needs.

    Places (``*_path``) are keys below the user's own prefix of the storage, or, for
    ``file_path``, an http, https or s3 URL. ``labels_now`` says that the labels that are
    there suffice, ``reopens`` names the task whose project is labelled again.
    """

    model_config = ConfigDict(frozen=True)

    file_path: str = ""
    labels_path: str = ""
    folder_path: str = ""
    download_path: str = ""
    upload_path: str = ""
    model_path: str = ""
    images_path: str = ""

    project_name: Name = "actverse"
    model_name: Name | None = None
    task: Literal["detect", "pose"] = "detect"
    names: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()
    flip_idx: tuple[int, ...] = ()
    num_frames: int = Field(120, ge=1, le=100_000)
    strategy: Strategy | None = None
    min_seconds_apart: float | None = Field(None, ge=0)
    seed: int = 0
    labels_format: FormatName | None = None
    labeling_tool: Literal["folder", "label-studio"] | None = None
    labels_now: bool = False
    labeling_task_id: str = ""
    round: int = Field(1, ge=1)
    reopens: str = ""
    held_out: float = Field(0.2, gt=0, lt=1)
    training: TrainingSettings = TrainingSettings()

    model_task_id: str = ""
    model_version: int | None = Field(None, ge=1)
    images_task_id: str = ""
    imgsz: int | None = Field(None, ge=32, le=4096)
    confidence: float = Field(0.25, gt=0, lt=1)
    iou: float = Field(0.7, gt=0, le=1)
    batch_size: int = Field(8, ge=1, le=64)
    frame_skip: int = Field(1, ge=1)
    max_frames: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _no_paths(self) -> Self:
        check_weights(self.training.weights)
        return self

    def storage_keys(self) -> list[str]:
        """The storage keys that are read."""
        named = [
            *(self.file_path, self.labels_path, self.folder_path),
            *(self.model_path, self.images_path),
        ]
        keys = [key for key in named if key and not is_url(key)]
        if self.training.weights.startswith("key:"):
            keys.append(self.training.weights.removeprefix("key:"))
        return keys

    @property
    def wanted(self) -> WantedLabels:
        """What is to be labelled, as far as the task says it."""
        return WantedLabels(self.task, self.names, self.keypoints, self.flip_idx)

    def served_name(self, user_id: str) -> str:
        """The registered model that this task's versions go to."""
        return self.model_name or checked_name(f"{user_id}-{self.task}", "model name")


def check_weights(weights: str) -> None:
    """Raise ValueError unless ``weights`` is empty, a published name or ``key:`` and a key."""
    if weights and not _WEIGHTS_NAME.fullmatch(weights) and not weights.startswith("key:"):
        raise ValueError(
            f"weights {weights!r} is neither a published name such as yolo11n.pt nor "
            "'key:' and the key of a file of yours."
        )
