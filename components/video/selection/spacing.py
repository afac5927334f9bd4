"""The least distance in time between chosen frames."""

from collections.abc import Iterable
from copy import copy

import numpy as np

# Containers round time stamps to a millisecond.
ROUNDING = 1e-3


class Spacing:
    """Which of n candidates may still be chosen.

    Attributes:
        open: (n,) bool; a candidate closes when it, or one too near to it, is chosen.
    """

    def __init__(
        self, times: np.ndarray, seconds: float = 0.0, taken: Iterable[float] = ()
    ) -> None:
        """Open all candidates but those too near to what is taken already.

        Args:
            times: (n,) of the candidates, seconds.
            seconds: least distance between two chosen ones.
            taken: times of the frames that were chosen before.
        """
        self._times = np.asarray(times, np.float64)
        self._seconds = seconds
        self.open = np.ones(len(self._times), bool)
        for time in taken:
            self._close_around(time)

    def choose(self, row: int) -> None:
        """Close candidate ``row`` and its neighbours in time."""
        self.open[row] = False
        self._close_around(self._times[row])

    def copied(self) -> "Spacing":
        """One that goes on from here by itself."""
        other = copy(self)
        other.open = self.open.copy()
        return other

    def _close_around(self, time: float) -> None:
        self.open &= np.abs(self._times - time) >= self._seconds - ROUNDING


def unspaced(n: int) -> Spacing:
    """The ``Spacing`` of n candidates at any distance, a pool of pictures for example."""
    return Spacing(np.arange(n))
