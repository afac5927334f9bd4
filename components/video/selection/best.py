"""Best-first: each next frame is the one of the highest score."""

import numpy as np

from components.video.selection.farthest import best_open, tie_order
from components.video.selection.spacing import Spacing, unspaced


def best_first(
    scores: np.ndarray, number: int, seed: int = 0, spacing: Spacing | None = None
) -> list[int]:
    """Choose the rows of the highest scores.

    Args:
        scores: (n,); a row whose score is NaN is not chosen.
        number: rows to choose at most.
        seed: chooses among equals.
        spacing: of the rows in time; without it any may be chosen. It is used up.

    Returns:
        At most ``number`` rows, best first.
    """
    scores = np.asarray(scores, np.float64)
    spacing = spacing or unspaced(len(scores))
    order = tie_order(len(scores), seed)
    scored = ~np.isnan(scores)
    values = np.where(scored, scores, 0.0)
    rows: list[int] = []
    while len(rows) < number and (spacing.open & scored).any():
        row = best_open(values, spacing.open & scored, order)
        spacing.choose(row)
        rows.append(row)
    return rows
