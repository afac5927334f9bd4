"""Farthest-first: covers what there is, from what is taken on, the same for a seed."""

import numpy as np

from components.video.selection.farthest import farthest_first, farthest_with_distances
from components.video.selection.spacing import Spacing

CLUSTERS = np.repeat(np.eye(5), 20, axis=0) + np.random.default_rng(0).normal(0, 0.01, (100, 5))


def test_it_meets_every_cluster_before_any_twice() -> None:
    for seed in range(5):
        assert sorted(row // 20 for row in farthest_first(CLUSTERS, 5, seed)) == [0, 1, 2, 3, 4]


def test_each_is_the_farthest_from_those_before() -> None:
    embeddings = np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)
    picks = farthest_with_distances(embeddings, 10, start=[4])
    chosen = [4]
    for row, distance in picks:
        distances = np.linalg.norm(embeddings[:, None] - embeddings[None, chosen], axis=2).min(1)
        assert distance == np.float32(distances.max())
        assert row == distances.argmax()
        chosen.append(row)


def test_it_keeps_away_from_the_start() -> None:
    rows = farthest_first(CLUSTERS, 3, start=[0, 25])
    assert sorted(row // 20 for row in rows) == [2, 3, 4]


def test_a_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert farthest_first(CLUSTERS, 8, 3) == farthest_first(CLUSTERS, 8, 3)
    assert len({farthest_first(CLUSTERS, 1, seed)[0] for seed in range(10)}) > 3
    assert farthest_first(CLUSTERS, 8, 3)[:4] == farthest_first(CLUSTERS, 4, 3)


def test_more_than_there_are() -> None:
    assert sorted(farthest_first(CLUSTERS[:4], 9)) == [0, 1, 2, 3]
    assert farthest_first(np.zeros((0, 5)), 3) == []


def test_equal_looks_are_chosen_all_over_the_video() -> None:
    times = np.arange(1000) / 10
    rows = farthest_first(np.zeros((1000, 4)), 12, 0, spacing=Spacing(times, 2.0))
    assert len(rows) == 12
    assert max(rows) - min(rows) > 500
    assert np.diff(np.sort(times[rows])).min() >= 2.0


def test_taken_rows_keep_their_neighbours_closed() -> None:
    times = np.arange(100.0)
    rows = farthest_first(CLUSTERS, 100, 0, start=[50], spacing=Spacing(times, 10.0))
    assert rows
    assert min(abs(row - 50) for row in rows) >= 10
