"""From a frame's detections to its entry in the results: identities and smoothed key points."""

import numpy as np

from components.analysis.smooth import KeypointSmoother
from components.analysis.track import IdentityTracker
from components.detections import Detections
from components.frame_results import FrameResult, ResultsMetadata

# What a file keeps of a value. The tracker and the smoother are given the kept values, so
# they go on from a file exactly as they would have gone on in one run.
_PIXEL_DIGITS, _SCORE_DIGITS, _RELATIVE_DIGITS, _TIME_DIGITS = 2, 4, 5, 6


class EntryWriter:
    """Makes the entries of one video's frames, in their order."""

    def __init__(self, metadata: ResultsMetadata) -> None:
        self._names = metadata.labels.names
        self._class_ids = {name: i for i, name in enumerate(self._names)}
        self._points = len(metadata.labels.keypoints)
        self._wh = np.asarray([metadata.origin_width, metadata.origin_height], np.float64)
        self._tracker = (
            IdentityTracker(metadata.fps / metadata.frame_skip) if metadata.tracking else None
        )
        self._smoother = KeypointSmoother()

    def entry(self, frame: int, timestamp: float, found: Detections) -> FrameResult:
        """The entry of the next frame.

        Args:
            frame: its index.
            timestamp: seconds from the first frame's.
            found: in source pixels.
        """
        boxes = _kept(found.xyxy, _PIXEL_DIGITS)
        scores = _kept(found.scores, _SCORE_DIGITS)
        points = _kept(found.keypoints[..., :2] / self._wh, _RELATIVE_DIGITS)
        point_scores = _kept(found.keypoints[..., 2], _SCORE_DIGITS)
        timestamp = round(timestamp, _TIME_DIGITS)
        identities, smoothed = self._follow(
            timestamp, boxes, scores, found.class_ids, points, point_scores
        )
        pose = self._points > 0
        # Not validated: every value is made right here, and it is a third of the time.
        return FrameResult.model_construct(
            frame=frame,
            timestamp=timestamp,
            ids=identities,
            boxes=boxes.tolist(),
            boxes_score=scores.tolist(),
            classes=[self._names[class_id] for class_id in found.class_ids.tolist()],
            keypoints=points.tolist() if pose else [],
            smoothed_keypoints=_kept(smoothed, _RELATIVE_DIGITS).tolist() if pose else [],
            keypoints_score=point_scores.tolist() if pose else [],
        )

    def replay(self, entry: FrameResult) -> None:
        """Take over an entry that was made before, so that the next one follows it."""
        n = len(entry.ids)
        self._follow(
            entry.timestamp,
            np.asarray(entry.boxes, np.float64).reshape(n, 4),
            np.asarray(entry.boxes_score, np.float64),
            np.asarray([self._class_ids[name] for name in entry.classes], np.int64),
            np.asarray(entry.keypoints, np.float64).reshape(n, self._points, 2),
            np.asarray(entry.keypoints_score, np.float64).reshape(n, self._points),
        )

    def _follow(
        self,
        timestamp: float,
        boxes: np.ndarray,
        scores: np.ndarray,
        class_ids: np.ndarray,
        points: np.ndarray,
        point_scores: np.ndarray,
    ) -> tuple[list[str], np.ndarray]:
        identities = [""] * len(scores)
        if self._tracker is not None:
            found = Detections(boxes, scores, class_ids, np.zeros((len(scores), 0, 3)))
            identities = self._tracker.update(found, timestamp)
        if not self._points:
            return identities, points
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / self._wh
        return identities, self._smoother.update(
            identities, points, point_scores, centres, timestamp
        )


def _kept(values: np.ndarray, digits: int) -> np.ndarray:
    return np.round(np.asarray(values, np.float64), digits)
