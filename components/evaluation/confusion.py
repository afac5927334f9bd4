"""Which class was taken for which: findings matched with labels, and the matrix of it.

The rule is that of Ultralytics' own validation (ultralytics/utils/metrics.py,
``ConfusionMatrix.process_batch``): findings of a confidence above 0.25 claim, the surest
first, the one free label that they overlap most, whatever its class, if that is by an IoU
above 0.45.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.detections import Detections, box_iou

CONFIDENCE, IOU = 0.25, 0.45


@dataclass(frozen=True)
class Matched:
    """The findings of a frame and the labels that they belong to.

    Attributes:
        found: (n,) int64, of each label the finding that claimed it, or -1.
        extra: (m,) bool, the findings that count and claimed no label.
    """

    found: np.ndarray
    extra: np.ndarray


def match(truth_xyxy: np.ndarray, found: Detections, *, confidence: float = CONFIDENCE) -> Matched:
    """Give each label its finding.

    Args:
        truth_xyxy: (n, 4), in the findings' pixels.
        found: m findings; those that are not above ``confidence`` do not count.
        confidence: 0 to 1.
    """
    counted = found.scores > confidence
    claimed = np.full(len(truth_xyxy), -1, np.int64)
    extra = counted.copy()
    overlap = box_iou(truth_xyxy, found.xyxy) if len(truth_xyxy) else np.zeros((0, len(found)))
    for finding in np.argsort(-found.scores, kind="stable"):
        if not counted[finding] or not len(truth_xyxy):
            continue
        label = int(overlap[:, finding].argmax())
        if overlap[label, finding] > IOU:
            claimed[label] = finding
            extra[finding] = False
            overlap[label] = 0
    return Matched(claimed, extra)


class ConfusionMatrix:
    """Counts over frames.

    Attributes:
        counts: (n + 1, n + 1) int64; a row is what was labelled, a column what was found. The
            last row is what was found where nothing is labelled, the last column what was
            missed.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self.counts = np.zeros((len(names) + 1, len(names) + 1), np.int64)

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of rows and columns, each once."""
        background = "background"
        while background in self._names:
            background = f"({background})"
        return (*self._names, background)

    def add(self, class_ids: np.ndarray, found: Detections, matched: Matched) -> None:
        """Count a frame: the labels' classes, its findings, and how they were matched."""
        nothing = len(self._names)
        for label, finding in zip(class_ids, matched.found, strict=True):
            self.counts[label, found.class_ids[finding] if finding >= 0 else nothing] += 1
        for class_id in found.class_ids[matched.extra]:
            self.counts[nothing, class_id] += 1

    def rows(self) -> list[list[int]]:
        """The counts as plain numbers."""
        return [[int(value) for value in row] for row in self.counts]
