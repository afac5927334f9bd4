"""One frame's results, and the chunk files in which they lie while an analysis goes on.

A chunk is written whole and never changed, so a restarted analysis goes on behind the
last one. The entries are those of ``results.json`` (see ``results/results.schema.json``).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.errors import BadInput, NotFound
from components.files import write_text
from components.labels import LabelSpec


class ResultsMetadata(BaseModel):
    """What holds for all frames of an analysis; stands at the top of ``results.json``."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    model_name: str
    model_version: int
    labels: LabelSpec
    origin_width: int
    origin_height: int
    fps: float
    frame_count: int
    confidence: float
    iou: float


class FrameResult(BaseModel):
    """What was found in one decoded frame; all lists but the first two levels are per object.

    Attributes:
        frame: index of the decoded frame, from 0.
        timestamp: presentation time, seconds from the first frame's.
        ids: identity of each object over time; empty where it has none (yet).
        boxes: x1, y1, x2, y2 in source pixels.
        boxes_score: 0 to 1.
        classes: names.
        keypoints: x, y of each key point relative to the frame, 0 to 1.
        smoothed_keypoints: the same, smoothed along the identity's path.
        keypoints_score: 0 to 1.
    """

    model_config = ConfigDict(frozen=True)

    frame: int
    timestamp: float
    ids: list[str] = []
    boxes: list[list[float]] = []
    boxes_score: list[float] = []
    classes: list[str] = []
    keypoints: list[list[list[float]]] = []
    smoothed_keypoints: list[list[list[float]]] = []
    keypoints_score: list[list[float]] = []


def chunk_path(results: Path, number: int) -> Path:
    """``chunks/result_chunk_{number}.json`` in a task's results folder."""
    return results / "chunks" / f"result_chunk_{number}.json"


def write_chunk(results: Path, number: int, frames: list[FrameResult]) -> None:
    """Write chunk ``number`` whole."""
    entries = [frame.model_dump() for frame in frames]
    write_text(chunk_path(results, number), json.dumps({"chunk": number, "results": entries}))


def read_chunks(results: Path) -> Iterator[list[FrameResult]]:
    """The chunks from number 0 on, until the first that is missing."""
    number = 0
    while (path := chunk_path(results, number)).exists():
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        yield [FrameResult.model_validate(entry) for entry in content["results"]]
        number += 1


def metadata_path(results: Path) -> Path:
    """``chunks/metadata.json``: written first, so that chunks can be read by themselves."""
    return results / "chunks" / "metadata.json"


def write_metadata(results: Path, metadata: ResultsMetadata) -> None:
    """Write the metadata of an analysis whole."""
    write_text(metadata_path(results), metadata.model_dump_json(indent=2))


def read_metadata(results: Path) -> ResultsMetadata:
    """Read the metadata of an analysis.

    Raises:
        NotFound: if no analysis has begun in ``results``.
        BadInput: if the file is not such metadata.
    """
    path = metadata_path(results)
    try:
        return ResultsMetadata.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"No analysis lies in {results}: run one first.") from error
    except ValueError as error:
        raise BadInput(f"{path} is not an analysis' metadata: run the analysis again.") from error
