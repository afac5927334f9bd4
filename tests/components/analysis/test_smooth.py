import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.analysis.smooth import KeypointSmoother

FPS = 30


def run(places, scores=None, centres=None, identity="1", **choices):
    """Smooth (frames, 2) places of one key point; give (frames, 2)."""
    places = np.asarray(places, float)
    scores = np.full(len(places), 0.9) if scores is None else scores
    centres = places if centres is None else np.asarray(centres, float)
    smoother = KeypointSmoother(**choices)
    return np.concatenate(
        [
            smoother.update([identity], place[None, None], np.asarray([[score]]), centre[None], t)[
                0
            ]
            for place, score, centre, t in zip(
                places, scores, centres, np.arange(len(places)) / FPS, strict=True
            )
        ]
    )


def reference(values, min_cutoff, beta, speed_cutoff):
    """The paper's algorithm, for one number, as it is printed there."""

    def alpha(cutoff):
        tau = 1 / (2 * np.pi * cutoff)
        return 1 / (1 + tau * FPS)

    result, speed = [values[0]], 0.0
    for value in values[1:]:
        speed = alpha(speed_cutoff) * (value - result[-1]) * FPS + (1 - alpha(speed_cutoff)) * speed
        share = alpha(min_cutoff + beta * abs(speed))
        result.append(share * value + (1 - share) * result[-1])
    return result


def test_it_is_the_one_euro_filter_of_the_paper():
    rng = np.random.default_rng(0)
    places = np.clip(0.5 + np.cumsum(rng.normal(0, 0.01, (80, 2)), axis=0), 0, 1)
    smoothed = run(places, min_cutoff=1.2, beta=7.0, speed_cutoff=1.5)
    for axis in (0, 1):
        expected = reference(places[:, axis], 1.2, 7.0, 1.5)
        assert smoothed[:, axis] == pytest.approx(expected)


def test_a_resting_point_trembles_less_and_a_running_one_does_not_lag():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.002, (120, 2))
    rest = run(0.5 + noise)
    assert rest[30:].std() < 0.5 * noise[30:].std()
    way = np.linspace([0.1, 0.1], [0.9, 0.9], 120)  # 0.2 of the frame a second
    assert np.abs(run(way + noise)[30:] - way[30:]).mean() < 0.008


def test_unsure_points_do_not_drag_and_stay_in_their_place_of_the_body():
    way = np.linspace([0.2, 0.5], [0.8, 0.5], 60)
    scores = np.full(60, 0.9)
    scores[20:40] = 0.1
    strayed = way.copy()
    strayed[20:40] = 0.05  # where the model guesses when it does not see it
    smoothed = run(strayed, scores, centres=way)
    assert np.abs(smoothed - way).max() < 0.03


def test_a_point_that_was_never_sure_and_one_without_identity_stay_as_they_are():
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 1, (10, 2))
    assert run(places, scores=np.full(10, 0.2)) == pytest.approx(places)
    assert run(places, identity="") == pytest.approx(places)


def test_identities_do_not_mix():
    smoother = KeypointSmoother()
    a, b = np.full((1, 2), 0.2), np.full((1, 2), 0.8)
    for index in range(10):
        ids = ["1", "2"] if index % 2 else ["2", "1"]
        points = np.stack([a, b] if index % 2 else [b, a])
        smoothed = smoother.update(ids, points, np.full((2, 1), 0.9), points[:, 0], index / FPS)
        assert smoothed == pytest.approx(points)


def test_an_identity_unseen_for_long_is_forgotten():
    smoother = KeypointSmoother(memory_seconds=1.0)
    nobody = np.zeros((0, 1, 2)), np.zeros((0, 1)), np.zeros((0, 2))
    for index in range(1000):
        point = np.full((1, 1, 2), 0.5)
        smoother.update([str(index)], point, np.ones((1, 1)), point[:, 0], index / FPS)
    assert len(smoother._paths) <= 31
    smoother.update([], *nobody, timestamp=100.0)
    assert not smoother._paths


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 100)),
        min_size=1,
        max_size=20,
    )
)
def test_whatever_comes_stays_in_the_frame_and_finite(rows):
    smoother = KeypointSmoother()
    for x, y, score, time in rows:
        point = np.asarray([[[x, y]]])
        smoothed = smoother.update(["1"], point, np.asarray([[score]]), point[:, 0], time)
        assert np.isfinite(smoothed).all()
        assert (smoothed >= 0).all()
        assert (smoothed <= 1).all()
