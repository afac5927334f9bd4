"""Uniform: as even as the distance, and what is taken, allow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.video.extract import uniform_indices
from components.video.selection.uniform import spread


@pytest.mark.parametrize(("count", "number"), [(100, 7), (5, 5), (3, 10), (1, 1), (1000, 24)])
def test_without_a_distance_it_is_uniform_indices(count: int, number: int) -> None:
    assert spread(np.arange(count) / 30, number) == uniform_indices(count, number)


def test_as_many_as_fit() -> None:
    rows = spread(np.arange(10.0), 10, seconds=3)
    assert len(rows) == 4
    assert np.diff(rows).min() >= 3


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=40, unique=True),
    st.integers(1, 30),
    st.integers(0, 25),
)
def test_it_keeps_the_distance_and_loses_no_frame_to_it(
    seconds: list[int], number: int, apart: int
) -> None:
    times = np.sort(np.array(seconds, float))
    rows = spread(times, number, apart)
    possible, last = 0, -np.inf
    for time in times:
        if time - last >= apart and time > last:
            possible, last = possible + 1, time
    assert len(rows) == min(number, possible)
    assert len(set(rows)) == len(rows)
    assert all(np.diff(times[rows]) >= apart)
