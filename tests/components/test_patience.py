"""Waiting for a service that is away: bounded, in sight, and only for what passes."""

import pytest

from components.errors import BadInput, Interrupted, NotFound, StepFailed, Unavailable
from components.patience import NO_PATIENCE, Patience


class Service:
    """Raises what it is given, one after the other; then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.asked = list(errors), 0

    def __call__(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "here"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time; the clock goes on by them."""
    taken: list[float] = []
    monkeypatch.setattr("components.patience.time.sleep", taken.append)
    monkeypatch.setattr("components.patience.time.monotonic", lambda: sum(taken))
    return taken


def test_a_service_that_comes_back_is_waited_for_in_sight(pauses: list[float]):
    told: list[str] = []
    service = Service(Unavailable("It is away."), Interrupted("It was killed."))
    assert Patience(60, told.append)(service) == "here"
    assert [sentence.partition(": ")[2] for sentence in told[:2]] == [
        "It is away.",
        "It was killed.",
    ]
    assert all(sentence.startswith("Waiting since 2") for sentence in told[:2])
    assert told[2:] == [""]
    assert pauses == [0.5, 1.0]


def test_the_wait_is_bounded_and_ends_with_the_last_word(pauses: list[float]):
    service = Service(*(Unavailable(f"Away {number}.") for number in range(100)))
    with pytest.raises(Unavailable, match="Away"):
        Patience(60)(service)
    assert sum(pauses) == 60
    assert max(pauses) == 15
    # The next service is waited for as long.
    assert Patience(60)(Service(Unavailable("Away."))) == "here"


@pytest.mark.parametrize("error", [NotFound, BadInput, StepFailed, ZeroDivisionError])
def test_what_does_not_pass_is_raised_at_once(pauses: list[float], error: type[Exception]):
    told: list[str] = []
    service = Service(error("No."))
    with pytest.raises(error):
        Patience(60, told.append)(service)
    assert (service.asked, told, pauses) == (1, [], [])


def test_without_patience_nothing_is_waited_for(pauses: list[float]):
    service = Service(Unavailable("Away."))
    with pytest.raises(Unavailable):
        NO_PATIENCE(service)
    assert (service.asked, pauses) == (1, [])
