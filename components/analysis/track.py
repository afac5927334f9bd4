"""Identities over time, by ByteTrack.

Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection Box, ECCV
2022, as implemented in the ``trackers`` package, with two choices for animals filmed from
afar: boxes are compared after widening both (a fast, small animal's boxes need not overlap
from frame to frame), and each class is tracked by itself (a rat never becomes a mouse).
"""

import numpy as np

from components.detections import Detections

_WIDENED = 0.3
_LEAST_OVERLAP = 0.1


class IdentityTracker:
    """Gives the detections of one video's frames, in their order, their identities.

    The same frames give the same identities. Memory does not grow with the video's length.
    """

    def __init__(self, fps: float, *, min_score: float = 0.4, memory_seconds: float = 2.0) -> None:
        """Begin a video.

        Args:
            fps: analysed frames a second.
            min_score: an identity begins with a detection of at least this score; one
                with a lower score can only continue an identity.
            memory_seconds: an object that stays out of sight for longer comes back as
                another identity.
        """
        self._fps = fps
        self._min_score = min_score
        self._memory_seconds = memory_seconds
        self._trackers: dict[int, _ByteTrack] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._given = 0
        self._time = float("-inf")

    def update(self, detections: Detections, timestamp: float) -> list[str]:
        """The identity of each detection of the next frame, in the detections' order.

        Identities are "1", "2", ... in the order in which they are confirmed; a detection
        that has none (an object's first, or one below ``min_score`` that continues none)
        gets "".

        Args:
            detections: what was found in the frame.
            timestamp: of the frame, seconds.
        """
        # Time stamps that stand still or step back happen in broken files.
        self._time = max(timestamp, self._time + 0.1 / self._fps)
        for class_id in sorted({*detections.class_ids.tolist()} - self._trackers.keys()):
            self._trackers[class_id] = _ByteTrack(self._fps, self._min_score, self._memory_seconds)
        identities = [""] * len(detections)
        for class_id, tracker in self._trackers.items():
            places = np.flatnonzero(detections.class_ids == class_id)
            numbers = tracker.update(detections.xyxy[places], detections.scores[places], self._time)
            for place, number in zip(places.tolist(), numbers, strict=True):
                if number >= 0:
                    identities[place] = self._name(class_id, number)
        return identities

    def _name(self, class_id: int, number: int) -> str:
        key = class_id, number
        if key not in self._names:
            self._given += 1
            self._names[key] = str(self._given)
        return self._names[key]


class _ByteTrack:
    """The package's tracker for the boxes of one class, in and out in the same order."""

    def __init__(self, fps: float, min_score: float, memory_seconds: float) -> None:
        # Late: the package takes two seconds to import.
        from trackers import ByteTrackTracker
        from trackers.utils.iou import BIoU

        self._tracker = ByteTrackTracker(
            frame_rate=fps,
            lost_track_buffer=round(memory_seconds * 30),  # in frames of 1/30 s, whatever fps
            track_activation_threshold=min_score,
            high_conf_det_threshold=min_score,
            minimum_consecutive_frames=2,
            minimum_iou_threshold=_LEAST_OVERLAP,
            iou=BIoU(buffer_ratio=_WIDENED),
        )

    def update(self, xyxy: np.ndarray, scores: np.ndarray, timestamp: float) -> list[int]:
        from supervision import Detections as SvDetections

        n = len(scores)
        tracked = self._tracker.update(
            SvDetections(xyxy=xyxy, confidence=scores, data={"place": np.arange(n)}),
            timestamp=timestamp,
        )
        numbers = [-1] * n
        # It gives them back in an order of its own.
        for place, number in zip(tracked.data.get("place", ()), tracked.tracker_id, strict=True):
            numbers[int(place)] = int(number)
        return numbers
