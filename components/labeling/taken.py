"""The labels that a task has taken, as they lie in its labels folder."""

from collections.abc import Mapping
from pathlib import Path

from components.errors import NotFound
from components.labeling.draft import KEPT, load_draft
from components.labeling.formats import open_format
from components.labeling.label_set import LabelSet
from components.labeling.wanted import WantedLabels
from components.labels import LabelSpec


def read_taken(folder: Path, spec: LabelSpec, images: Mapping[str, Path]) -> LabelSet:
    """The labels of ``folder``, with the sizes of their images.

    Args:
        folder: a task's labels folder.
        spec: what the labels count by.
        images: by stem; looked at only for labels of a time at which no ``labels.json`` was kept.

    Raises:
        BadLabels, BadInput: if they cannot be read.
    """
    try:
        return load_draft(folder / KEPT)
    except NotFound:
        wanted = WantedLabels(spec.task, spec.names, spec.keypoints, spec.flip_idx)
        return open_format("yolo").read(folder, wanted, images)
