"""Best-first: the highest scores that keep their distance."""

import numpy as np

from components.video.selection.best import best_first
from components.video.selection.spacing import Spacing


def test_the_highest_scores_in_their_order() -> None:
    assert best_first(np.array([0.1, 0.9, np.nan, 0.5, 0.0]), 3) == [1, 3, 0]
    assert best_first(np.array([np.nan, 0.2, np.nan]), 3) == [1]


def test_a_neighbour_of_a_better_one_is_passed_over() -> None:
    times = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    scores = np.array([0.1, 0.9, 0.8, 0.7, 0.2])
    assert best_first(scores, 5, spacing=Spacing(times, 2.0)) == [1, 3]
    assert best_first(scores, 5, spacing=Spacing(times, 2.0, [1.5])) == [4]


def test_a_distance_of_exactly_that_many_seconds_is_enough() -> None:
    # Frames 60 apart at 30 a second, with time stamps rounded to a millisecond.
    times = np.round(np.arange(0, 601, 60) / 29.99, 3)
    assert len(best_first(np.zeros(11), 11, spacing=Spacing(times, 2.0))) == 11


def test_equals_fall_by_the_seed() -> None:
    picks = {tuple(best_first(np.ones(50), 3, seed)) for seed in range(5)}
    assert len(picks) == 5
    assert best_first(np.ones(50), 3, 4) == best_first(np.ones(50), 3, 4)
