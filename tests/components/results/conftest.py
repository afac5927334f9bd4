"""A short video of two moving squares, and the chunks of an analysis that found them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from components.frame_results import (
    FrameResult,
    ResultsMetadata,
    write_chunk,
    write_metadata,
)
from components.labels import LabelSpec
from components.video.writer import Mp4Writer

WH = (160, 120)
FRAMES = 25
SPEC = LabelSpec(task="pose", names=("mouse", "=rat, big"), keypoints=("nose", "tail"))


@dataclass(frozen=True)
class Analysed:
    """An analysis' folder, its video and what the chunks hold."""

    results: Path
    video: Path
    metadata: ResultsMetadata
    frames: list[FrameResult]


def squares(index: int) -> np.ndarray:
    """(2, 4) corners of the squares in frame ``index``; the second appears at frame 5."""
    boxes = np.asarray(
        [[10 + 2 * index, 20, 40 + 2 * index, 50], [90, 60 + index, 120, 90 + index]]
    )
    return boxes[: 1 + (index >= 5)]


def found_in(index: int, spec: LabelSpec = SPEC) -> FrameResult:
    """What a faultless model finds in frame ``index``; nothing in frame 3."""
    if index == 3:
        return FrameResult(frame=index, timestamp=index / 25)
    boxes = squares(index).astype(float)
    points = [[[x1 / WH[0], y1 / WH[1]], [x2 / WH[0], y2 / WH[1]]] for x1, y1, x2, y2 in boxes]
    pose = spec.task == "pose"
    return FrameResult(
        frame=index,
        timestamp=index / 25,
        ids=["1", "2"][: len(boxes)] if index else [""],
        boxes=boxes.tolist(),
        boxes_score=[0.9, 0.8][: len(boxes)],
        classes=list(spec.names[: len(boxes)]),
        keypoints=points if pose else [],
        smoothed_keypoints=points if pose else [],
        keypoints_score=[[0.9, 0.3]] * len(boxes) if pose else [],
    )


def metadata_of(spec: LabelSpec, frame_count: int = FRAMES) -> ResultsMetadata:
    """The metadata of an analysis of that video."""
    return ResultsMetadata(
        task_id="task-1",
        model_name="squares",
        model_version=3,
        labels=spec,
        origin_width=WH[0],
        origin_height=WH[1],
        fps=25.0,
        frame_count=frame_count,
        confidence=0.25,
        iou=0.7,
    )


def write_analysis(folder: Path, metadata: ResultsMetadata, frames: list[FrameResult]) -> None:
    """Write chunks of ten frames each."""
    write_metadata(folder, metadata)
    for number, start in enumerate(range(0, len(frames), 10)):
        write_chunk(folder, number, frames[start : start + 10])


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """The video of the squares: white on grey."""
    path = tmp_path / "video.mp4"
    with Mp4Writer(path, wh=WH, fps=25) as writer:
        for index in range(FRAMES):
            frame = np.full((WH[1], WH[0], 3), 90, np.uint8)
            for x1, y1, x2, y2 in squares(index):
                frame[y1:y2, x1:x2] = 255
            writer.write(frame)
    return path


@pytest.fixture
def analysed(tmp_path: Path, video: Path) -> Analysed:
    """A finished pose analysis of the video."""
    results = tmp_path / "results"
    frames = [found_in(index) for index in range(FRAMES)]
    metadata = metadata_of(SPEC)
    write_analysis(results, metadata, frames)
    return Analysed(results, video, metadata, frames)


@pytest.fixture
def detect_analysis(tmp_path: Path) -> Path:
    """The results folder of an analysis without key points."""
    results = tmp_path / "detect"
    spec = LabelSpec(names=("mouse", "rat"))
    write_analysis(results, metadata_of(spec), [found_in(i, spec) for i in range(FRAMES)])
    return results
