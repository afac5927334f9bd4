"""Motion: how much a frame differs from the one before it."""

import numpy as np


def change(before: np.ndarray, now: np.ndarray) -> float:
    """Mean absolute difference of two small frames, 0 to 1.

    Args:
        before, now: uint8 arrays of one shape.
    """
    return float(np.abs(now.astype(np.int16) - before).mean()) / 255
