"""When labels count as complete, and how often they are looked at."""

from typing import Any

from components.labeling.backend import LabelingState
from components.labeling.monitor import Look, look


def _look(labelled: int, memory: dict[str, Any], moment: float, *, skipped: int = 0) -> Look:
    state = LabelingState(4, labelled, skipped, f"{labelled} and {skipped}")
    return look(state, memory, moment, poll=10, poll_max=60, settle=30)


def test_complete_labels_count_once_they_were_left_alone():
    first = _look(4, {}, 100)
    assert (first.settled, first.changed, first.again_in) == (False, True, 10)
    second = _look(4, first.memory, 125)
    assert (second.settled, second.changed, second.again_in) == (False, False, 5)
    assert _look(4, second.memory, 130).settled
    # Somebody goes back to the image before: it begins anew.
    undone = _look(3, second.memory, 129)
    assert (undone.settled, undone.changed) == (False, True)
    again = _look(4, undone.memory, 131)
    assert not again.settled
    assert not _look(4, again.memory, 160).settled
    assert _look(4, again.memory, 161).settled


def test_looks_become_rarer_until_something_changes():
    memory: dict[str, Any] = {}
    moment, waits = 0.0, []
    for _ in range(7):
        seen = _look(1, memory, moment)
        memory, moment = seen.memory, moment + seen.again_in
        waits.append(seen.again_in)
    assert waits == [10, 15, 22.5, 33.75, 50.625, 60, 60]
    assert _look(2, memory, moment).again_in == 10


def test_skipped_images_count_as_done_but_not_alone():
    seen = _look(1, {}, 0, skipped=3)
    assert _look(1, seen.memory, 30, skipped=3).settled
    seen = _look(1, {}, 0, skipped=2)
    assert not _look(1, seen.memory, 1000, skipped=2).settled
    seen = _look(0, {}, 0, skipped=4)
    assert not _look(0, seen.memory, 1000, skipped=4).settled


def test_a_clock_that_was_set_back_only_costs_the_settling():
    seen = _look(4, {}, 1000)
    back = _look(4, seen.memory, 100)
    assert (back.settled, back.again_in) == (False, 15)
    assert _look(4, back.memory, 130).settled
