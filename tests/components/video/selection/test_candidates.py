"""Candidates: few of many, none of the best ones lost."""

import numpy as np

from components.video.selection.candidates import MAX_CANDIDATES, BestOfBins, evenly


def test_evenly_spread_ones_are_at_most_so_many() -> None:
    indices = np.arange(100, 200)
    assert evenly(indices, 30, 50, 4).tolist() == [112, 137, 162, 187]
    assert evenly(indices, 30, 50).tolist() == indices.tolist()
    assert evenly(indices[:0], 30, 5).tolist() == []
    assert len(evenly(np.arange(200_000), 30, 5)) == MAX_CANDIDATES


def test_ten_a_second_are_enough_unless_many_are_wanted() -> None:
    indices = np.arange(900)
    assert len(evenly(indices, 30, 5)) == 300
    assert len(evenly(indices, 30, 50)) == 400
    assert len(evenly(indices, 5, 5)) == 900


def test_each_part_keeps_its_best() -> None:
    scores = np.random.default_rng(0).random(1000)
    bests = BestOfBins(1000, 10)
    for index, score in enumerate(scores):
        bests.offer(index, index / 30, score)
    indices, times, kept = bests.kept()
    assert indices.tolist() == (scores.reshape(10, 100).argmax(1) + np.arange(10) * 100).tolist()
    assert np.array_equal(kept, scores[indices])
    assert np.array_equal(times, indices / 30)


def test_a_short_video_keeps_all_that_was_offered() -> None:
    bests = BestOfBins(7, 10)
    for index in (1, 2, 6):
        bests.offer(index, index, -1.0)
    assert bests.kept()[0].tolist() == [1, 2, 6]
