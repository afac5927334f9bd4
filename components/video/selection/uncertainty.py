"""How unsure a model was of each frame, from what it found there and next to it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from components.detections import box_iou
from components.errors import BadInput
from components.frame_results import FrameResult

WEIGHTS = {"doubt": 0.3, "vanish": 0.2, "jump": 0.15, "points": 0.1, "disagreement": 0.25}
# Frames farther apart than this tell nothing about each other's boxes.
NEIGHBOUR_SECONDS = 1.0
# Boxes whose centres lie farther apart than this many times their size are two objects.
_SAME_OBJECT = 2.0


def uncertainty(
    results: Iterable[FrameResult],
    threshold: float,
    size_wh: tuple[int, int],
    other: Iterable[FrameResult] = (),
) -> Iterator[tuple[int, float, float]]:
    """Score each frame's uncertainty, with three frames in memory at a time.

    ``score = 0.3 doubt + 0.2 vanish + 0.15 jump + 0.1 points + 0.25 disagreement``; each
    term is 0 to 1, and 0 where it cannot be told. "Found" means a score of ``threshold`` or
    more.

    - doubt: the greatest over all boxes of ``1 - |score - threshold| / room``, where room is
      the threshold itself below it and ``1 - threshold`` above. 0.5 where there is no box.
    - vanish: the share of the found boxes of this frame and a neighbouring one that have
      no partner in the other: same class, centres within twice the boxes' size (the root of
      their mean area), paired nearest first.
    - jump: the greatest over those pairs of the mean of ``1 - IoU`` and of the distance of
      the centres over the size, at most 1.
    - points: the greatest over the found boxes of ``1 -`` their key points' mean score.
    - disagreement: 0 where both models found nothing, else one less the mean over both
      models' found boxes of ``IoU * (1 - d)`` with the partner in the other model's, 0
      without one; d is the key points' mean distance over the boxes' size, at most 1.

    vanish and jump are means over the analysed frame before and the one behind, as far as
    these are within a second: so a frame that differs from both stands out from its
    neighbours.

    Args:
        results: one model's, in frame order; may leave frames out.
        threshold: score from which on something counts as found, between 0 and 1.
        size_wh: of the frames, pixels.
        other: a second model's, in frame order; where it has no entry for a frame there is
            no disagreement.

    Yields:
        frame index, time stamp in seconds, score; in frame order.

    Raises:
        BadInput: if either is not in frame order, or the threshold is not between 0 and 1.
    """
    if not 0 < threshold < 1:
        raise BadInput(f"The threshold {threshold} is no score: give one between 0 and 1.")
    seconds = _Joined(other)
    before: tuple[float, float] | None = None
    here: _Found | None = None
    for result in _in_order(results):
        behind = _found(result, threshold, size_wh)
        if here is not None:
            link = _link(here, behind)
            yield _scored(here, (before, link), seconds, threshold, size_wh)
            before = link
        here = behind
    if here is not None:
        yield _scored(here, (before, None), seconds, threshold, size_wh)


@dataclass(frozen=True)
class _Found:
    """A frame's findings.

    Attributes:
        scores: (m,) of all boxes.
        xyxy: (n, 4) of the found ones, source pixels; what follows is theirs, too.
        classes: (n,) names.
        sizes: (n,) root of the boxes' area.
        points: (n, K, 2) source pixels.
        point_scores: (n, K).
    """

    frame: int
    timestamp: float
    scores: np.ndarray
    xyxy: np.ndarray
    classes: np.ndarray
    sizes: np.ndarray
    points: np.ndarray
    point_scores: np.ndarray


def _found(result: FrameResult, threshold: float, size_wh: tuple[int, int]) -> _Found:
    scores = np.asarray(result.boxes_score, np.float64)
    found = scores >= threshold
    n = len(scores)
    points = np.asarray(result.keypoints, np.float64)
    points = points if points.ndim == 3 else np.zeros((n, 0, 2))
    point_scores = np.asarray(result.keypoints_score, np.float64)
    point_scores = point_scores if point_scores.ndim == 2 else np.zeros((n, 0))
    xyxy = np.asarray(result.boxes, np.float64).reshape(n, 4)[found]
    wh = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0)
    return _Found(
        frame=result.frame,
        timestamp=result.timestamp,
        scores=scores,
        xyxy=xyxy,
        classes=np.asarray(result.classes, object)[found],
        sizes=np.sqrt(wh[:, 0] * wh[:, 1]),
        points=points[found] * size_wh,
        point_scores=point_scores[found],
    )


def _scored(
    here: _Found,
    links: tuple[tuple[float, float] | None, tuple[float, float] | None],
    seconds: "_Joined",
    threshold: float,
    size_wh: tuple[int, int],
) -> tuple[int, float, float]:
    known = [link for link in links if link is not None]
    vanish, jump = (
        (sum(terms) / len(known) for terms in zip(*known, strict=True)) if known else (0.0, 0.0)
    )
    second = seconds.at(here.frame)
    terms = {
        "doubt": _doubt(here.scores, threshold),
        "vanish": vanish,
        "jump": jump,
        "points": float((1 - here.point_scores.mean(axis=1)).max(initial=0))
        if here.point_scores.size
        else 0.0,
        "disagreement": _disagreement(here, _found(second, threshold, size_wh)) if second else 0.0,
    }
    score = sum(weight * min(max(float(terms[term]), 0.0), 1.0) for term, weight in WEIGHTS.items())
    return here.frame, here.timestamp, score


def _doubt(scores: np.ndarray, threshold: float) -> float:
    if not len(scores):
        return 0.5
    room = np.where(scores < threshold, threshold, 1 - threshold)
    return float((1 - np.abs(scores - threshold) / room).max())


def _link(a: _Found, b: _Found) -> tuple[float, float] | None:
    """Vanish and jump between two neighbouring frames; None where they are too far apart."""
    if b.timestamp - a.timestamp > NEIGHBOUR_SECONDS:
        return None
    total = len(a.xyxy) + len(b.xyxy)
    if total == 0:
        return 0.0, 0.0
    pairs, iou, distance = _pairs(a, b)
    jump = max((_jump(iou[pair], distance[pair]) for pair in pairs), default=0.0)
    return 1 - 2 * len(pairs) / total, jump


def _jump(iou: float, distance: float) -> float:
    return float((1 - iou + min(1.0, distance)) / 2)


def _disagreement(a: _Found, b: _Found) -> float:
    total = len(a.xyxy) + len(b.xyxy)
    if total == 0:
        return 0.0
    pairs, iou, _ = _pairs(a, b)
    agreement = 0.0
    for i, j in pairs:
        apart = 0.0
        if a.points.shape[1] == b.points.shape[1] > 0:
            size = max(float(a.sizes[i]), 1e-9)
            lengths = np.linalg.norm(a.points[i] - b.points[j], axis=1)
            apart = min(1.0, float(lengths.mean()) / size)
        agreement += float(iou[i, j]) * (1 - apart)
    return 1 - 2 * agreement / total


def _pairs(a: _Found, b: _Found) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray]:
    """One-to-one partners, nearest first.

    Returns:
        the pairs of rows, the (n, m) IoU, and the (n, m) distance of centres over size.
    """
    iou = box_iou(a.xyxy, b.xyxy)
    centres_a = (a.xyxy[:, :2] + a.xyxy[:, 2:]) / 2
    centres_b = (b.xyxy[:, :2] + b.xyxy[:, 2:]) / 2
    apart = centres_a[:, None] - centres_b[None]
    areas = (a.sizes[:, None] ** 2 + b.sizes[None] ** 2) / 2
    distance = np.hypot(apart[..., 0], apart[..., 1]) / np.maximum(np.sqrt(areas), 1e-9)
    partners = (distance <= _SAME_OBJECT) & (a.classes[:, None] == b.classes[None])
    free_a, free_b = np.ones(len(a.xyxy), bool), np.ones(len(b.xyxy), bool)
    pairs: list[tuple[int, int]] = []
    candidates = np.argwhere(partners)
    for i, j in candidates[np.argsort(distance[partners], kind="stable")]:
        if free_a[i] and free_b[j]:
            free_a[i] = free_b[j] = False
            pairs.append((int(i), int(j)))
    return pairs, iou, distance


def _in_order(results: Iterable[FrameResult]) -> Iterator[FrameResult]:
    last = -1
    for result in results:
        if result.frame <= last:
            raise BadInput(
                f"The detections name frame {result.frame} behind frame {last}: "
                "give them in the order of the frames, each once."
            )
        last = result.frame
        yield result


class _Joined:
    """A second stream of results, walked along with the first."""

    def __init__(self, results: Iterable[FrameResult]) -> None:
        self._results = _in_order(results)
        self._next = next(self._results, None)

    def at(self, frame: int) -> FrameResult | None:
        """The entry of ``frame``; asked for in rising order."""
        while self._next is not None and self._next.frame < frame:
            self._next = next(self._results, None)
        return self._next if self._next is not None and self._next.frame == frame else None
