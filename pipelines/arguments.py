"""The pipelines' parameters, checked before anything is submitted."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from components.errors import ActverseError, BadInput
from components.json_text import read_json
from components.labels import LabelSpec
from components.layout import checked_name
from components.storage_keys import checked_key
from components.training.settings import TrainingSettings
from components.video.source import is_url
from pipelines.backend import PipelineName

_MOST_VIDEOS = 1000


def _checked(check: Any) -> AfterValidator:
    """Our own errors as pydantic's, which say what parameter they are about."""

    def validate(value: Any) -> Any:
        try:
            check(value)
        except ActverseError as error:
            raise ValueError(str(error)) from error
        return value

    return AfterValidator(validate)


def _name(what: str) -> AfterValidator:
    return _checked(lambda value: checked_name(value, what))


def _check_source(source: str) -> None:
    if not is_url(source):
        checked_key(source)


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _TrainingArguments(_Arguments):
    task_id: Annotated[str, _name("task id")]
    model_name: Annotated[str, _name("model name")]
    labels: Annotated[str, _checked(LabelSpec.model_validate_json)]
    training: Annotated[str, _checked(TrainingSettings.model_validate_json)]
    held_out: float = Field(0.2, gt=0, lt=0.95)
    labels_digest: str = Field("", max_length=128)


class _Video(_Arguments):
    id: Annotated[str, _name("video's id")]
    source: Annotated[str, _checked(_check_source)]


class _AnalysisArguments(_Arguments):
    run_id: Annotated[str, _name("run id")]
    videos: list[_Video] = Field(min_length=1, max_length=_MOST_VIDEOS)
    model_name: Annotated[str, _name("model name")]
    model_version: int = Field(0, ge=0)
    confidence: float = Field(0.25, ge=0, le=1)
    iou: float = Field(0.7, ge=0, le=1)
    batch_size: int = Field(8, ge=1, le=64)
    frame_skip: int = Field(1, ge=1)
    max_frames: int = Field(0, ge=0)

    @field_validator("videos")
    @classmethod
    def _each_once(cls, videos: list[_Video]) -> list[_Video]:
        ids = [video.id for video in videos]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"the id {twice[0]} is given twice: give each video its own")
        return videos


_ARGUMENTS: dict[str, type[_Arguments]] = {
    "training": _TrainingArguments,
    "analysis": _AnalysisArguments,
}


def check_arguments(name: PipelineName, arguments: Mapping[str, Any]) -> None:
    """Check a pipeline's parameters as they are to be submitted.

    Raises:
        BadInput: naming each parameter that is unknown, missing or out of range; for a
            pipeline that does not exist.
    """
    if name not in _ARGUMENTS:
        raise BadInput(f"There is no pipeline {name!r}: name one of {', '.join(_ARGUMENTS)}.")
    try:
        _ARGUMENTS[name].model_validate(dict(arguments))
    except ValidationError as error:
        faults = "; ".join(map(_fault, error.errors(include_url=False)))
        raise BadInput(
            f"The parameters of the pipeline {name} cannot be used: {faults}."
        ) from error


def read_argument(name: PipelineName, parameter: str, text: str) -> Any:
    """A parameter's value out of text: JSON, unless it is text itself.

    Raises:
        BadInput: if it is no JSON.
    """
    field = _ARGUMENTS[name].model_fields.get(parameter)
    if field is None or field.annotation is str:
        return text
    try:
        return read_json(text)
    except ValueError as error:
        raise BadInput(
            f"The parameter {parameter} is {text!r}, which is no JSON: {error}."
        ) from error


def _fault(error: Any) -> str:
    """One fault in words, with the parameter's name first."""
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{place} is missing"
    if error["type"] == "extra_forbidden":
        return f"{place} is unknown"
    said = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    given = error["input"]
    shown = f" ({json.dumps(given)})" if isinstance(given, int | float) else ""
    return f"{place}{shown}: {said}"
