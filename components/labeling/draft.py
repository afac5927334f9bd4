"""Labels in one file: a task's own, and those last read from a tool, which may lose them."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from components.errors import BadInput, NotFound
from components.files import write_text
from components.labeling.label_set import LabelledFrame, LabelSet
from components.labels import FrameLabels, LabelSpec

KEPT = "labels.json"
"""Beside a task's label files: all of them, with the sizes of their images."""


class _Frame(BaseModel):
    """One image; lengths are relative to it, as in YOLO text."""

    file: str
    size_wh: tuple[int, int]
    class_ids: list[int]
    boxes_cxcywhn: list[list[float]]
    keypoints_xyvn: list[list[list[float]]]


class _Draft(BaseModel):
    spec: LabelSpec
    frames: dict[str, _Frame]
    skipped: list[str]


def save_draft(labels: LabelSet, path: Path) -> None:
    """Write labels to one JSON file, which appears whole."""
    frames: dict[str, Any] = {
        stem: {
            "file": frame.file,
            "size_wh": frame.size_wh,
            "class_ids": frame.labels.class_ids.tolist(),
            "boxes_cxcywhn": frame.labels.boxes_cxcywhn.tolist(),
            "keypoints_xyvn": frame.labels.keypoints_xyvn.tolist(),
        }
        for stem, frame in labels.frames.items()
    }
    draft = {"spec": labels.spec, "frames": frames, "skipped": sorted(labels.skipped)}
    write_text(path, to_json(draft).decode())


def load_draft(path: Path) -> LabelSet:
    """The labels that ``save_draft`` wrote.

    Raises:
        NotFound: if there is no such file.
        BadInput: if it is none of ours.
    """
    try:
        draft = _Draft.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(f"No labels are kept in {path}.") from error
    except (OSError, ValidationError) as error:
        raise BadInput(f"{path} cannot be read as kept labels: remove it.") from error
    points = len(draft.spec.keypoints)
    frames = {}
    for stem, frame in draft.frames.items():
        n = len(frame.class_ids)
        frames[stem] = LabelledFrame(
            frame.file,
            frame.size_wh,
            FrameLabels(
                np.asarray(frame.class_ids, np.int64),
                np.asarray(frame.boxes_cxcywhn, np.float32).reshape(n, 4),
                np.asarray(frame.keypoints_xyvn, np.float32).reshape(n, points, 3),
            ),
        )
    return LabelSet(draft.spec, frames, frozenset(draft.skipped))
