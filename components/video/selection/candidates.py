"""How few frames of a long video are compared with one another."""

import numpy as np

from components.video.extract import uniform_indices

# Enough that each of a few hundred chosen frames has many to be chosen from; their
# embeddings take 7 MB.
MAX_CANDIDATES = 4000
# Frames closer together look alike, unless many are to be chosen.
_A_SECOND = 10
_FOR_EACH = 8


def evenly(indices: np.ndarray, fps: float, number: int, limit: int = MAX_CANDIDATES) -> np.ndarray:
    """Evenly spread ones of (n,) indices, to choose ``number`` from by their looks.

    At most ``limit``, and no more than ten a second where these are eight for each that is
    to be chosen.
    """
    if not len(indices):
        return indices
    wanted = max(int(_A_SECOND * len(indices) / fps), _FOR_EACH * number, 1)
    return indices[uniform_indices(len(indices), min(limit, wanted))]


class BestOfBins:
    """The best frame of each of so many equal parts of a video, as scores stream by.

    A video of no more frames than parts keeps them all.
    """

    def __init__(self, frame_count: int, bins: int = MAX_CANDIDATES) -> None:
        self._frame_count = frame_count
        self._bins = min(bins, frame_count)
        self._indices = np.full(self._bins, -1)
        self._times = np.zeros(self._bins)
        self._scores = np.full(self._bins, -np.inf)

    def offer(self, index: int, time: float, score: float) -> None:
        """Keep the frame if it is the best of its part so far."""
        place = index * self._bins // self._frame_count
        if score > self._scores[place]:
            self._indices[place] = index
            self._times[place] = time
            self._scores[place] = score

    def kept(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices, times and scores, each (n,), by rising index."""
        rows = self._indices >= 0
        return self._indices[rows], self._times[rows], self._scores[rows]
