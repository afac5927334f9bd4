"""results.csv: one row a detection, in source pixels, for spreadsheets and data frames."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.csv_text import csv_text
from components.files import whole_file
from components.frame_results import FrameResult, ResultsMetadata, read_chunks, read_metadata

COLUMNS = ["frame", "timestamp", "id", "class", "score", "x1", "y1", "x2", "y2"]


def csv_columns(metadata: ResultsMetadata) -> list[str]:
    """The header: ``COLUMNS``, then five columns for each key point.

    ``<name>_x``, ``<name>_y``, ``<name>_score``, ``<name>_smoothed_x`` and
    ``<name>_smoothed_y``. Names are written as ``components.csv_text`` does it.
    """
    parts = ("x", "y", "score", "smoothed_x", "smoothed_y")
    return COLUMNS + [
        csv_text(f"{name}_{part}") for name in metadata.labels.keypoints for part in parts
    ]


def csv_rows(frame: FrameResult, metadata: ResultsMetadata) -> Iterator[list[Any]]:
    """One row for each object of a frame; pixels are rounded to hundredths."""
    width, height = metadata.origin_width, metadata.origin_height
    for i, identity in enumerate(frame.ids):
        row = [frame.frame, frame.timestamp, identity, csv_text(frame.classes[i])]
        row += [frame.boxes_score[i], *frame.boxes[i]]
        if metadata.labels.keypoints:
            for (x, y), score, (smooth_x, smooth_y) in zip(
                frame.keypoints[i],
                frame.keypoints_score[i],
                frame.smoothed_keypoints[i],
                strict=True,
            ):
                row += [round(x * width, 2), round(y * height, 2), score]
                row += [round(smooth_x * width, 2), round(smooth_y * height, 2)]
        yield row


def write_csv(results: Path) -> Path:
    """Write ``results.csv`` in a task's results folder, whole.

    A frame without findings has no row; ``results.json`` has an entry for each frame.

    Returns:
        Its path.

    Raises:
        NotFound: if no analysis lies in ``results``.
        StorageFull: when the disk is full.
    """
    metadata = read_metadata(results)
    path = results / "results.csv"
    with (
        whole_file(path) as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(csv_columns(metadata))
        for chunk in read_chunks(results):
            for frame in chunk:
                writer.writerows(csv_rows(frame, metadata))
    return path
