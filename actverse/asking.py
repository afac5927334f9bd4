"""What is asked of a gateway, as the client's methods take it, and what is wrong with it."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from actverse.transfers import check_labels
from components.errors import BadInput
from components.steps import Progress

LabelFormat = Literal["yolo", "coco", "deeplabcut", "label-studio", "cvat", "sleap"]
Strategy = Literal["uniform", "diverse", "motion", "uncertain", "active"]

Place = str | PathLike[str]
"""A local path, a URL (http, https, s3), or ``key:`` and the key of a file of yours there."""


class LearningOptions(TypedDict, total=False):
    """What may be said of a model that is to be trained; what is left out is the gateway's to say.

    ``training`` holds its settings: epochs, imgsz, batch, model, seed …
    """

    model_name: str | None
    task: Literal["detect", "pose"]
    names: Sequence[str]
    keypoints: Sequence[str]
    flip_idx: Sequence[int]
    held_out: float
    training: Mapping[str, Any]


class ChoiceOptions(TypedDict, total=False):
    """How frames to label are chosen; ``seed`` decides between those that are equally good."""

    strategy: Strategy | None
    min_seconds_apart: float | None
    seed: int


class TaskOptions(LearningOptions, ChoiceOptions, total=False):
    """What may be said of a task besides; the format of labels is else told by a look at them."""

    num_frames: int
    labels_format: LabelFormat | None
    labeling_tool: Literal["folder", "label-studio"] | None
    confidence: float
    iou: float


class LabelingOptions(TypedDict, total=False):
    """What may be said of frames that are to be labelled."""

    task: Literal["detect", "pose"]
    names: Sequence[str]
    keypoints: Sequence[str]
    labeling_tool: Literal["folder", "label-studio"] | None


class InferenceOptions(TypedDict, total=False):
    """How a video is to be analysed."""

    confidence: float
    iou: float
    batch_size: int
    frame_skip: int
    max_frames: int | None


class Sending(TypedDict, total=False):
    """How something is sent: as ``Client.create_task`` says."""

    progress: Progress
    idempotency_key: str | None


def check_task(
    video: Place, labels: Place | None, weights: Place = "", **options: Unpack[TaskOptions]
) -> None:
    """Refuse what the gateway would refuse, before anything is sent.

    Raises:
        BadInput, BadLabels: with what is wrong.
    """
    from pydantic import ValidationError

    from gateway.schemas import TaskRequest

    if named_place(video) is None and not Path(video).is_file():
        raise BadInput(f"There is no file at {video}: give a path that exists.")
    if labels is not None and named_place(labels) is None:
        check_labels(Path(labels), options.get("labels_format"))
    body = learning_body(options)
    if weights and not Path(weights).is_file():
        body["training"]["weights"] = str(weights)
    try:
        TaskRequest.model_validate({**body, "file_path": "video"})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'task'}: "
            f"{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise BadInput(f"The task cannot be asked for: {faults}.") from error


def learning_body(options: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request that something is to be learnt; it always has a ``training``."""
    body = {name: value for name, value in options.items() if value is not None}
    return {**body, "training": dict(body.get("training", {}))}


def named_place(place: Place) -> str | None:
    """The URL or the key that a place names; None if it is local."""
    if not isinstance(place, str):
        return None
    if place.startswith("key:"):
        return place.removeprefix("key:")
    return place if "://" in place else None
