"""How few frames of a long video are compared with one another."""

import numpy as np

from components.video.extract import uniform_indices

# Enough that each of a few hundred chosen frames has many to be chosen from; their
# embeddings take 7 MB.
MAX_CANDIDATES = 4000


def evenly(indices: np.ndarray, number: int = MAX_CANDIDATES) -> np.ndarray:
    """At most ``number`` of the (n,) indices, evenly spread."""
    return indices[uniform_indices(len(indices), number)] if len(indices) else indices


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
