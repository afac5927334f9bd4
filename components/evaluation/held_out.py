"""A look at what a model finds in held-out frames: who is taken for whom, and pictures of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from components.dataset.held_out import held_out_images
from components.detections import Detections
from components.evaluation.confusion import CONFIDENCE, ConfusionMatrix, match
from components.export.parity import HeldOutFrame, spread
from components.labels import FrameLabels, LabelSpec, read_yolo_labels
from components.steps import Progress, no_progress

MOST_FRAMES = 500
# What look_at_held_out wants to be given; the threshold of the findings lies above it.
LEAST_CONFIDENCE = 0.01
_LOWER_CONFIDENCES = (0.1, 0.05, LEAST_CONFIDENCE)
SAMPLES = 12
SAMPLE_SIDE = 560

Detect = Callable[[np.ndarray], Detections]


@dataclass(frozen=True)
class Sample:
    """A frame to be shown, with what is labelled and what was found in it.

    Attributes:
        picture_bgr: (h, w, 3) uint8, at most 560 pixels on its long side.
        truth, found: in pixels of ``picture_bgr``; the scores of ``truth`` are 1, of its key
            points half the visibility, so that a hidden one has 0.5 and one without a label 0.
        missed: (n,) bool, the labels without a finding.
        extra: (m,) bool, the findings without a label.
    """

    name: str
    picture_bgr: np.ndarray
    truth: Detections
    found: Detections
    missed: np.ndarray
    extra: np.ndarray


@dataclass(frozen=True)
class HeldOutLook:
    """What was seen.

    Attributes:
        frames: number of frames that were looked at; ``held_out`` there are.
        confusion: of all of them, at a confidence of 0.25.
        confidence: that of the samples' findings; lower where nothing reaches 0.25, so that one
            sees what the model only suspects.
        samples: a few of them, in time order.
    """

    frames: int
    held_out: int
    confusion: ConfusionMatrix
    confidence: float
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class _Seen:
    path: Path
    truth: Detections
    found: Detections

    def above(self, confidence: float) -> "_Seen":
        return _Seen(self.path, self.truth, self.found.where(self.found.scores > confidence))

    def faults(self) -> int:
        """Labels that were missed or taken for another class, and findings too many."""
        matched = match(self.truth.xyxy, self.found, confidence=0)
        named = np.append(self.found.class_ids, -1)[matched.found]
        return int((named != self.truth.class_ids).sum() + matched.extra.sum())


def look_at_held_out(
    detect: Detect, dataset: Path, spec: LabelSpec, *, progress: Progress = no_progress
) -> HeldOutLook:
    """Run a model on a dataset's held-out frames, at most five hundred, evenly spread.

    Shown are those in which it errs most, up to a third of the samples, and others evenly
    spread over time. One frame is in memory at a time.

    Args:
        detect: gives a frame's findings, in its pixels, at ``LEAST_CONFIDENCE``.
        dataset: as ``components/dataset`` wrote it.
        spec: its classes and key points.
        progress: counts frames.

    Raises:
        BadInput: if there is no held-out frame, or one cannot be read.
        BadLabels: if a frame's labels cannot be read.
    """
    paths = held_out_images(dataset)
    chosen = spread(paths, MOST_FRAMES)
    confusion = ConfusionMatrix(spec.names)
    seen = []
    for number, path in enumerate(chosen, start=1):
        frame = HeldOutFrame(path).read()
        labels = read_yolo_labels(dataset / "labels" / "val" / f"{path.stem}.txt", spec)
        truth = _as_detections(labels, (frame.shape[1], frame.shape[0]))
        found = detect(frame)
        confusion.add(truth.class_ids, found, match(truth.xyxy, found))
        seen.append(_Seen(path, truth, found))
        progress(number, len(chosen))
    confidence = _telling_confidence([one.found for one in seen])
    samples = (_sample(one) for one in _telling([one.above(confidence) for one in seen]))
    return HeldOutLook(len(chosen), len(paths), confusion, confidence, tuple(samples))


def _telling_confidence(found: list[Detections]) -> float:
    """0.25, or where nothing reaches it, that which half of the frames reach."""
    best = [float(one.scores.max(initial=0)) for one in found]
    if max(best) > CONFIDENCE or max(best) <= LEAST_CONFIDENCE:
        return CONFIDENCE
    middle = float(np.median(best))
    return next((one for one in _LOWER_CONFIDENCES if middle > one), LEAST_CONFIDENCE)


def _as_detections(labels: FrameLabels, wh: tuple[int, int]) -> Detections:
    size = np.asarray(wh, np.float32)
    centre, extent = labels.boxes_cxcywhn[:, :2] * size, labels.boxes_cxcywhn[:, 2:] * size
    points = labels.keypoints_xyvn.copy()
    points[..., :2] *= size
    points[..., 2] /= 2
    return Detections(
        xyxy=np.hstack([centre - extent / 2, centre + extent / 2]),
        scores=np.ones(len(labels), np.float32),
        class_ids=labels.class_ids,
        keypoints=points,
    )


def _telling(seen: list[_Seen]) -> list[_Seen]:
    """The worst few, and others from the whole time."""
    faults = [one.faults() for one in seen]
    worst = sorted((i for i in range(len(seen)) if faults[i]), key=lambda i: -faults[i])
    worst = worst[: SAMPLES // 3]
    others = [i for i in range(len(seen)) if i not in worst]
    return [seen[i] for i in sorted([*worst, *spread(others, SAMPLES - len(worst))])]


def _sample(seen: _Seen) -> Sample:
    frame = HeldOutFrame(seen.path).read()
    scale = min(1.0, SAMPLE_SIDE / max(frame.shape[:2]))
    if scale < 1:
        wh = [max(1, round(side * scale)) for side in frame.shape[1::-1]]
        frame = cv2.resize(frame, wh, interpolation=cv2.INTER_AREA)

    def scaled(one: Detections) -> Detections:
        points = one.keypoints.copy()
        points[..., :2] *= scale
        return Detections(one.xyxy * scale, one.scores, one.class_ids, points)

    matched = match(seen.truth.xyxy, seen.found, confidence=0)
    return Sample(
        seen.path.name,
        frame,
        scaled(seen.truth),
        scaled(seen.found),
        matched.found < 0,
        matched.extra,
    )
