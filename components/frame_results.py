"""One frame's results, and the chunk files in which they lie while an analysis goes on.

A chunk is written whole and never changed, so a restarted analysis goes on behind the
last one. The entries are those of ``results.json`` (see ``results/results.schema.json``),
one a line, so that ``results.json`` is put together without reading them:

    {"chunk": 0, "results": [
    {"frame": 0, ...},
    {"frame": 1, ...}
    ]}
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from components.errors import BadInput, NotFound
from components.files import whole_file, write_text
from components.labels import LabelSpec


class ResultsMetadata(BaseModel):
    """What holds for all frames of an analysis; stands at the top of ``results.json``."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    model_name: str
    model_version: int
    labels: LabelSpec
    origin_width: int = Field(description="width of a source frame, pixels")
    origin_height: int = Field(description="height of a source frame, pixels")
    fps: float = Field(description="frames a second of the source video")
    frame_count: int = Field(description="frames of the source video that decode")
    confidence: float
    iou: float
    tracking: bool = Field(True, description="whether identities were kept over time")
    frame_skip: int = Field(1, ge=1, description="every n-th frame was analysed")
    max_frames: int | None = Field(None, ge=1, description="frames analysed at most")
    video_digest: str = Field("", description="tells one source video from another")


class FrameResult(BaseModel):
    """What was found in one analysed frame; each list has one element an object.

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


class _Chunk(BaseModel):
    chunk: int
    results: list[FrameResult]


def chunk_path(results: Path, number: int) -> Path:
    """``chunks/result_chunk_{number}.json`` in a task's results folder."""
    return results / "chunks" / f"result_chunk_{number}.json"


def chunk_paths(results: Path) -> Iterator[Path]:
    """The chunk files from number 0 on, until the first that is missing."""
    number = 0
    while (path := chunk_path(results, number)).exists():
        yield path
        number += 1


def write_chunk(results: Path, number: int, frames: Iterable[FrameResult]) -> None:
    """Write chunk ``number`` whole.

    Raises:
        StorageFull: when the disk is full.
    """
    with whole_file(chunk_path(results, number)) as beside, beside.open("wb") as file:
        file.write(b'{"chunk": %d, "results": [\n' % number)
        file.write(b",\n".join(to_json(frame) for frame in frames))
        file.write(b"\n]}\n")


def read_chunk(path: Path) -> list[FrameResult]:
    """The entries of one chunk file.

    Raises:
        BadInput: if it is not one.
    """
    try:
        return _Chunk.model_validate_json(path.read_bytes()).results
    except ValidationError as error:
        raise BadInput(
            f"{path} is not a chunk of results: delete {path.parent} and run the analysis again."
        ) from error


def read_chunks(results: Path) -> Iterator[list[FrameResult]]:
    """The chunks from number 0 on, until the first that is missing; one at a time in memory."""
    return (read_chunk(path) for path in chunk_paths(results))


def chunk_lines(path: Path) -> Iterator[bytes]:
    """The entries of one chunk file as JSON, one at a time, without reading them."""
    with path.open("rb") as file:
        next(file)
        for line in file:
            if line.startswith(b"{"):
                yield line.rstrip(b",\n")


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


def clear_chunks(results: Path) -> None:
    """Remove the chunks and the metadata of an earlier analysis."""
    shutil.rmtree(results / "chunks", ignore_errors=True)


def drop_chunks(results: Path, number: int) -> None:
    """Remove chunk ``number`` and all that follow it."""
    for path in chunk_path(results, 0).parent.glob("result_chunk_*.json"):
        if int(path.stem.rsplit("_", 1)[1]) >= number:
            path.unlink()
