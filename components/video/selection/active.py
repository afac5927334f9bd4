"""Active: what the model is least sure of and what looks new, in turns."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from components.video.selection.best import best_first
from components.video.selection.farthest import Coverage, best_open, tie_order
from components.video.selection.spacing import Spacing, unspaced

# The unsure half is chosen among this many times as many frames, for their looks: frames
# that the model fails on in the same way teach it the same thing.
_POOL = 3


class Pick(NamedTuple):
    """One chosen row, what chose it, and its score there.

    For ``uncertain`` that is the row's uncertainty, for ``diverse`` its distance to the
    nearest row chosen before it (0 for the first of all).
    """

    row: int
    strategy: Literal["uncertain", "diverse"]
    score: float


def active_order(
    embeddings: np.ndarray,
    scores: np.ndarray,
    number: int,
    seed: int = 0,
    start: Sequence[int] = (),
    spacing: Spacing | None = None,
) -> list[Pick]:
    """Choose rows by uncertainty and by looks in turns, uncertainty first.

    A turn of uncertainty takes, of the ``3 * ceil(number / 2)`` most uncertain rows (which
    keep their distance in time from one another), the one that looks least like all chosen
    so far; the first of all is the most uncertain one. A turn of diversity takes, of all
    rows, the one that looks least like all chosen so far.

    Args:
        embeddings: (n, D).
        scores: (n,) uncertainty; NaN where it is not known, such rows are for diversity.
        number: rows to choose at most.
        seed: chooses among equals.
        start: rows chosen before; new ones lie far from them, and they are not chosen again.
        spacing: of the rows in time; without it any may be chosen. It is used up.

    Returns:
        At most ``number`` picks in the order in which they were chosen.
    """
    scores = np.asarray(scores, np.float64)
    spacing = spacing or unspaced(len(scores))
    for row in start:
        spacing.choose(row)
    coverage = Coverage(embeddings, start)
    order = tie_order(len(scores), seed)
    scored = ~np.isnan(scores)
    values = np.where(scored, scores, 0.0)
    pool = np.zeros(len(scores), bool)
    pool[best_first(scores, _POOL * -(-number // 2), seed, spacing.copied())] = True
    picks: list[Pick] = []
    while len(picks) < number and spacing.open.any():
        row, unsure = -1, len(picks) % 2 == 0
        if unsure and (spacing.open & pool).any():
            nothing_chosen = np.isinf(coverage.nearest).any()
            by = values if nothing_chosen else coverage.nearest
            row = best_open(by, spacing.open & pool, order)
        elif unsure and (spacing.open & scored).any():
            row = best_open(values, spacing.open & scored, order)
        if row >= 0:
            picks.append(Pick(row, "uncertain", float(scores[row])))
        else:
            row = best_open(coverage.nearest, spacing.open, order)
            distance = float(coverage.nearest[row])
            picks.append(Pick(row, "diverse", distance if np.isfinite(distance) else 0.0))
        coverage.choose(row)
        spacing.choose(row)
    return picks
