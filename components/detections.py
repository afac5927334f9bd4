"""What a model found in one frame, and how two such findings are compared."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Detections:
    """The objects found in one frame, best score first.

    Attributes:
        xyxy: (n, 4) float32, corners in pixels of the source frame.
        scores: (n,) float32, 0 to 1.
        class_ids: (n,) int64.
        keypoints: (n, K, 3) float32, x and y in pixels of the source frame and a score
            0 to 1; K is 0 for detection.
    """

    xyxy: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    keypoints: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, mask: np.ndarray) -> "Detections":
        """Those of a (n,) boolean mask, or in the order of an index array."""
        return Detections(
            self.xyxy[mask], self.scores[mask], self.class_ids[mask], self.keypoints[mask]
        )

    def to_json(self) -> dict[str, list]:
        """Plain lists, for a file; ``from_json`` gives the same float32 values back."""
        return {
            "xyxy": self.xyxy.tolist(),
            "scores": self.scores.tolist(),
            "class_ids": self.class_ids.tolist(),
            "keypoints": self.keypoints.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, list]) -> "Detections":
        """The inverse of ``to_json``."""
        n = len(data["scores"])
        keypoints = np.asarray(data["keypoints"], np.float32)
        return cls(
            xyxy=np.asarray(data["xyxy"], np.float32).reshape(n, 4),
            scores=np.asarray(data["scores"], np.float32),
            class_ids=np.asarray(data["class_ids"], np.int64),
            keypoints=keypoints if keypoints.ndim == 3 else np.zeros((n, 0, 3), np.float32),
        )


def box_iou(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of (n, 4) and (m, 4) boxes: (n, m) float."""
    top_left = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    bottom_right = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    overlap = np.maximum(bottom_right - top_left, 0)
    # np.prod over two numbers costs more than all the rest of it.
    inter = overlap[..., 0] * overlap[..., 1]
    areas_a, areas_b = _areas(a_xyxy), _areas(b_xyxy)
    union = areas_a[:, None] + areas_b[None, :] - inter
    return inter / np.maximum(union, 1e-9)


def _areas(xyxy: np.ndarray) -> np.ndarray:
    return (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])


@dataclass(frozen=True)
class Comparison:
    """How far two models' findings in the same frame lie apart.

    Attributes:
        unmatched: findings of either side, surely above the threshold, without a partner
            of the same class and an IoU of at least 0.5 (or the same corners) on the other.
        matched: pairs of findings.
        box_error: greatest difference of a matched box's corner, pixels.
        score_error: greatest difference of matched scores, the key points' included.
        keypoint_error: greatest difference of a matched key point's x or y, pixels.
    """

    unmatched: int
    matched: int
    box_error: float
    score_error: float
    keypoint_error: float

    def within(self, tolerance: "Tolerance") -> bool:
        """Whether everything has its partner and no difference is above ``tolerance``."""
        return (
            self.unmatched == 0
            and self.box_error <= tolerance.box_px
            and self.score_error <= tolerance.score
            and self.keypoint_error <= tolerance.keypoint_px
        )

    def merged(self, other: "Comparison") -> "Comparison":
        """The comparison of two frames as one."""
        return Comparison(
            self.unmatched + other.unmatched,
            self.matched + other.matched,
            max(self.box_error, other.box_error),
            max(self.score_error, other.score_error),
            max(self.keypoint_error, other.keypoint_error),
        )


@dataclass(frozen=True)
class Tolerance:
    """The differences up to which two models count as one.

    Attributes:
        box_px: of a box's corner, pixels of the source frame.
        score: of a score; also the band above the threshold in which a finding may be
            missing on the other side.
        keypoint_px: of a key point's x or y, pixels of the source frame.
    """

    box_px: float = 1.0
    score: float = 0.02
    keypoint_px: float = 1.0


def compare(
    expected: Detections,
    found: Detections,
    *,
    confidence: float,
    tolerance: Tolerance = Tolerance(),
) -> Comparison:
    """Match two sets of findings one to one, per class, nearest first.

    Args:
        expected: the findings to be met, at ``confidence`` or above.
        found: the other side's, at ``confidence`` or above.
        confidence: the threshold both were made with; a finding less than
            ``tolerance.score`` above it may be missing on the other side.
        tolerance: how far the two may lie apart.
    """
    overlap = box_iou(expected.xyxy, found.xyxy)
    # A box that was clipped at the frame's edge may have no area left to overlap with.
    apart = np.abs(expected.xyxy[:, None] - found.xyxy[None]).max(axis=2, initial=0)
    partners = (overlap >= 0.5) | (apart <= tolerance.box_px)
    partners &= expected.class_ids[:, None] == found.class_ids[None, :]
    # Two same-class boxes on one spot differ only in score: let that decide between them.
    nearness = overlap - np.abs(expected.scores[:, None] - found.scores[None, :])
    candidates = np.argwhere(partners)
    candidates = candidates[np.argsort(-nearness[partners], kind="stable")]
    left_free, right_free = np.ones(len(expected), bool), np.ones(len(found), bool)
    pairs: list[tuple[int, int]] = []
    for i, j in candidates:
        if left_free[i] and right_free[j]:
            left_free[i] = right_free[j] = False
            pairs.append((i, j))
    left, right = np.asarray(pairs, int).reshape(-1, 2).T
    sure = confidence + tolerance.score
    lonely_expected = expected.scores[left_free] > sure
    lonely_found = found.scores[right_free] > sure

    points, found_points = expected.keypoints[left], found.keypoints[right]

    def worst(a: np.ndarray, b: np.ndarray) -> float:
        # Findings that came from a file have forgotten K where there are none.
        return float(np.abs(a - b).max(initial=0)) if pairs else 0.0

    return Comparison(
        unmatched=int(lonely_expected.sum() + lonely_found.sum()),
        matched=len(pairs),
        box_error=worst(expected.xyxy[left], found.xyxy[right]),
        score_error=max(
            worst(expected.scores[left], found.scores[right]),
            worst(points[..., 2], found_points[..., 2]),
        ),
        keypoint_error=worst(points[..., :2], found_points[..., :2]),
    )
