"""Uniform: evenly spread over what is open."""

import numpy as np

from components.video.extract import uniform_indices
from components.video.selection.spacing import ROUNDING


def spread(times: np.ndarray, number: int, seconds: float = 0.0) -> list[int]:
    """Choose rows in the middle of their equal shares, moved where they lie too near.

    Where the rows leave no room for ``number`` at that distance, it gives as many as fit;
    where they do, it gives ``number``.

    Args:
        times: (n,) of the rows, rising, seconds.
        number: rows to choose at most, 1 or more.
        seconds: least distance between two chosen rows.

    Returns:
        rising rows; with no distance to keep, those of ``uniform_indices``.
    """
    forward = _packed(times, number, seconds)
    number = len(forward)
    # The last place that leaves room for those behind it.
    latest = [len(times) - 1 - row for row in _packed(-times[::-1], number, seconds)][::-1]
    rows: list[int] = []
    for ideal, limit in zip(uniform_indices(len(times), number), latest, strict=True):
        first = _behind(times, rows[-1], seconds) if rows else 0
        rows.append(min(max(ideal, first), limit))
    return rows


def _packed(times: np.ndarray, number: int, seconds: float) -> list[int]:
    """The first rows that keep the distance, ``number`` at most."""
    rows: list[int] = []
    row = 0
    while row < len(times) and len(rows) < number:
        rows.append(row)
        row = _behind(times, row, seconds)
    return rows


def _behind(times: np.ndarray, row: int, seconds: float) -> int:
    """The first row that may follow ``row``."""
    return max(row + 1, int(np.searchsorted(times, times[row] + seconds - ROUNDING)))
