"""Key points smoothed along each identity's path, by the One Euro filter.

Casiez, Roussel and Vogel, 1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy
Input in Interactive Systems, CHI 2012: a low-pass whose cut-off rises with speed, so a
resting animal's points stop trembling and a running one's do not lag. It looks back only,
so a frame's values never depend on later frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class _Path:
    """The filter's state for one identity's K key points.

    ``places`` and ``speeds`` are (K, 2), relative to the frame and per second; ``times`` (K,)
    tells when each point was last seen surely, -inf for never; ``bodies`` (K, 2) where
    the box's centre was then.
    """

    places: np.ndarray
    speeds: np.ndarray
    times: np.ndarray
    bodies: np.ndarray
    seen: float


class KeypointSmoother:
    """Smooths the key points of one video's frames, in their order."""

    def __init__(
        self,
        *,
        min_cutoff: float = 1.5,
        beta: float = 20.0,
        speed_cutoff: float = 1.0,
        min_score: float = 0.5,
        memory_seconds: float = 5.0,
    ) -> None:
        """Begin a video.

        Args:
            min_cutoff: cut-off frequency at rest, Hz; lower trembles less and lags more.
            beta: by how many Hz the cut-off rises for a speed of one frame width (or
                height) a second.
            speed_cutoff: cut-off frequency of the speed itself, Hz.
            min_score: a key point with a lower score does not move the path.
            memory_seconds: an identity unseen for longer is forgotten.
        """
        self._min_cutoff = min_cutoff
        self._beta = beta
        self._speed_cutoff = speed_cutoff
        self._min_score = min_score
        self._memory_seconds = memory_seconds
        self._paths: dict[str, _Path] = {}

    def update(
        self,
        identities: Sequence[str],
        keypoints: np.ndarray,
        scores: np.ndarray,
        centres: np.ndarray,
        timestamp: float,
    ) -> np.ndarray:
        """The smoothed key points of the next frame.

        A key point of low score keeps its last sure place within the box, which it
        follows; one that was never sure, or has no identity, stays as it is.

        Args:
            identities: of the n objects; "" for none.
            keypoints: (n, K, 2) float, relative to the frame.
            scores: (n, K) float, 0 to 1.
            centres: (n, 2) float, the boxes' centres relative to the frame.
            timestamp: of the frame, seconds.

        Returns:
            (n, K, 2) float, 0 to 1.
        """
        smoothed = np.array(keypoints, np.float64)
        for i, identity in enumerate(identities):
            if identity:
                path = self._paths.get(identity) or self._begin(identity, smoothed[i])
                smoothed[i] = self._step(path, smoothed[i], scores[i], centres[i], timestamp)
        for identity, path in list(self._paths.items()):
            if path.seen < timestamp - self._memory_seconds:
                del self._paths[identity]
        return np.clip(smoothed, 0.0, 1.0)

    def _begin(self, identity: str, points: np.ndarray) -> _Path:
        none = np.full(len(points), -np.inf)
        path = _Path(points.copy(), np.zeros_like(points), none, np.zeros_like(points), 0.0)
        self._paths[identity] = path
        return path

    def _step(
        self,
        path: _Path,
        points: np.ndarray,
        scores: np.ndarray,
        centre: np.ndarray,
        timestamp: float,
    ) -> np.ndarray:
        path.seen = timestamp
        sure = scores >= self._min_score
        known = np.isfinite(path.times)

        first = sure & ~known
        path.places[first] = points[first]

        moved = sure & known
        # A frame without a later time moves nothing: the filter divides by it.
        elapsed = np.maximum(timestamp - path.times[moved], 1e-6)[:, None]
        speeds = (points[moved] - path.places[moved]) / elapsed
        share = _share(self._speed_cutoff, elapsed)
        path.speeds[moved] += share * (speeds - path.speeds[moved])
        cutoff = self._min_cutoff + self._beta * np.abs(path.speeds[moved])
        path.places[moved] += _share(cutoff, elapsed) * (points[moved] - path.places[moved])

        path.times[sure] = timestamp
        path.bodies[sure] = centre

        hidden = ~sure & known
        result = points.copy()
        result[sure] = path.places[sure]
        result[hidden] = path.places[hidden] + (centre - path.bodies[hidden])
        return result


def _share(cutoff: np.ndarray | float, elapsed: np.ndarray) -> np.ndarray:
    """How much of the new value a first-order low-pass takes; the paper's alpha."""
    return 1.0 / (1.0 + 1.0 / (2 * np.pi * cutoff * elapsed))
