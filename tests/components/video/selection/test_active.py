"""Active: uncertain and unlike one another, in turns."""

import numpy as np

from components.video.selection.active import active_order
from components.video.selection.spacing import Spacing

RNG = np.random.default_rng(0)


def test_half_is_uncertain_half_is_diverse() -> None:
    picks = active_order(RNG.normal(size=(100, 5)), RNG.random(100), 9)
    assert [pick.strategy for pick in picks] == ["uncertain", "diverse"] * 4 + ["uncertain"]
    assert len({pick.row for pick in picks}) == 9


def test_the_first_is_the_most_uncertain_and_all_unsure_ones_are_uncertain() -> None:
    scores = RNG.random(100)
    picks = active_order(RNG.normal(size=(100, 5)), scores, 10)
    assert picks[0].row == scores.argmax()
    unsure = [pick for pick in picks if pick.strategy == "uncertain"]
    assert all(pick.score == scores[pick.row] for pick in unsure)
    assert all(pick.score >= np.sort(scores)[-15 - 5] for pick in unsure)


def test_the_uncertain_ones_look_unlike_each_other() -> None:
    # The most uncertain look alike, nearly as uncertain ones differ; what differs most of
    # all is sure.
    embeddings, scores = np.zeros((60, 20)), np.zeros(60)
    scores[:4] = 0.9
    embeddings[4:8, :4], scores[4:8] = np.eye(4), 0.8
    embeddings[20:30, 4:14] = 3 * np.eye(10)
    picks = active_order(embeddings, scores, 6, start=[59])
    unsure = [pick.row for pick in picks if pick.strategy == "uncertain"]
    assert len(unsure) == 3
    assert all(row in range(4, 8) for row in unsure)


def test_what_looks_like_taken_frames_comes_last() -> None:
    embeddings = np.repeat(np.eye(4), 10, axis=0)
    scores = np.full(40, 0.5)
    picks = active_order(embeddings, scores, 2, start=[0, 10])
    assert {pick.row // 10 for pick in picks} == {2, 3}


def test_unknown_scores_are_chosen_for_their_looks_only() -> None:
    scores = np.full(30, np.nan)
    scores[7] = 0.0
    picks = active_order(RNG.normal(size=(30, 3)), scores, 5)
    assert [pick.strategy for pick in picks] == ["uncertain"] + ["diverse"] * 4
    assert picks[0].row == 7
    assert not any(np.isnan(pick.score) for pick in picks)


def test_picks_of_both_kinds_keep_the_distance() -> None:
    times = np.arange(200) / 10
    spacing = Spacing(times, 1.0)
    picks = active_order(RNG.normal(size=(200, 5)), RNG.random(200), 15, 0, [100], spacing)
    chosen = np.sort(times[[100, *(pick.row for pick in picks)]])
    assert len(chosen) > 8
    assert np.diff(chosen).min() >= 1.0 - 1e-9


def test_the_same_seed_gives_the_same_picks() -> None:
    embeddings, scores = np.zeros((50, 3)), np.zeros(50)
    assert active_order(embeddings, scores, 6, 1) == active_order(embeddings, scores, 6, 1)
    assert active_order(embeddings, scores, 6, 1) != active_order(embeddings, scores, 6, 2)
