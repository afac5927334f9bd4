"""A seed says every kill; each kind of moment and of process comes."""

import pytest

from tests.chaos.plan import AIMS, SERVERS, How, Shape, Target, make_plan


@pytest.mark.parametrize("shape", Shape)
def test_a_seed_is_one_plan(shape: Shape):
    assert make_plan(7, 50, shape) == make_plan(7, 50, shape)
    assert make_plan(7, 50, shape) != make_plan(8, 50, shape)
    assert make_plan(7, 50, shape)[:15] == make_plan(7, 15, shape)


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("seed", range(5))
def test_fifty_kills_come_at_every_moment_and_meet_every_process(shape: Shape, seed: int):
    plan = make_plan(seed, 50, shape)
    assert {kill.aim for kill in plan} == {*AIMS, ""}
    assert sum(1 for kill in plan if kill.aim) == 25
    assert {kill.target for kill in plan} == set(Target) - (
        set() if shape is Shape.CLUSTER else set(SERVERS)
    )


@pytest.mark.parametrize("seed", range(20))
def test_what_takes_no_sigterm_is_sent_none(seed: int):
    for kill in make_plan(seed, 50, Shape.CLUSTER):
        if kill.target in (Target.REAPER, Target.BOTH, Target.POSTGRES):
            assert kill.how is not How.TERM


@pytest.mark.parametrize("shape", Shape)
def test_without_trainings_nothing_of_theirs_is_killed(shape: Shape):
    plan = make_plan(7, 50, shape, trainings=False)
    assert all(AIMS[kill.aim].needs != "loop" for kill in plan if kill.aim)
    assert not {kill.target for kill in plan} & {Target.RUN, Target.STEP}


@pytest.mark.parametrize("only", [("exported",), ("idle", "analysing")])
def test_only_these_moments(only: tuple[str, ...]):
    assert {kill.aim for kill in make_plan(7, 9, Shape.EMBEDDED, only=only)} == set(only)
