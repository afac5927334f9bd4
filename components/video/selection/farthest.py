"""Farthest-first: each next frame is the one least like those already chosen."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from components.video.selection.spacing import Spacing, unspaced


class Coverage:
    """How far each of n embeddings lies from the nearest chosen one.

    Attributes:
        nearest: (n,) float32; infinite while nothing is chosen.
    """

    def __init__(self, embeddings: np.ndarray, chosen: Sequence[int] = ()) -> None:
        self._embeddings = np.asarray(embeddings, np.float32)
        self.nearest = np.full(len(self._embeddings), np.inf, np.float32)
        for row in chosen:
            self.choose(row)

    def choose(self, row: int) -> None:
        """Count row as chosen."""
        distances = np.linalg.norm(self._embeddings - self._embeddings[row], axis=1)
        np.minimum(self.nearest, distances, out=self.nearest)


def farthest_first(
    embeddings: np.ndarray,
    number: int,
    seed: int = 0,
    start: Sequence[int] = (),
    spacing: Spacing | None = None,
) -> list[int]:
    """Choose rows so that every row lies near a chosen one (greedy k-centre).

    Args:
        embeddings: (n, D).
        number: rows to choose at most.
        seed: chooses the first where there is no ``start``, and among equals.
        start: rows chosen before; they count as centres and are not chosen again.
        spacing: of the rows in time; without it only their looks count. It is used up.

    Returns:
        At most ``number`` rows in the order in which they were chosen, so the first k are
        the choice for k.
    """
    return [row for row, _ in farthest_with_distances(embeddings, number, seed, start, spacing)]


def farthest_with_distances(
    embeddings: np.ndarray,
    number: int,
    seed: int = 0,
    start: Sequence[int] = (),
    spacing: Spacing | None = None,
) -> list[tuple[int, float]]:
    """``farthest_first`` with each row's distance to the nearest one chosen before it.

    The first row of all has nothing to be far from: 0.
    """
    spacing = spacing or unspaced(len(embeddings))
    for row in start:
        spacing.choose(row)
    coverage = Coverage(embeddings, start)
    return list(islice(_farthest(coverage, spacing, tie_order(len(embeddings), seed)), number))


def _farthest(
    coverage: Coverage, spacing: Spacing, order: np.ndarray
) -> Iterator[tuple[int, float]]:
    while spacing.open.any():
        row = best_open(coverage.nearest, spacing.open, order)
        distance = float(coverage.nearest[row])
        yield row, distance if np.isfinite(distance) else 0.0
        coverage.choose(row)
        spacing.choose(row)


def tie_order(n: int, seed: int) -> np.ndarray:
    """(n,) rows in the order in which equals are taken."""
    return np.random.default_rng(seed).permutation(n)


def best_open(values: np.ndarray, open_: np.ndarray, order: np.ndarray) -> int:
    """The open row of the greatest value; of equals the first in ``order``.

    Args:
        values: (n,) without NaN.
        open_: (n,) bool, at least one of them true.
        order: (n,) rows, of ``tie_order``.
    """
    return int(order[np.argmax(np.where(open_, values, -np.inf)[order])])
