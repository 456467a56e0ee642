"""Kill -9 of landers at every commit step and at random instants: nothing is lost, nothing is there twice."""

import random
from pathlib import Path

import pytest

from quantlake.adapters.broker.tansu import Tansu
from quantlake_tests.faults import plan
from quantlake_tests.faults.planted import ALTERED, DOUBLED, DROPPED
from quantlake_tests.faults.record import PAGE, page
from quantlake_tests.faults.run import Run, kills
from quantlake_tests.faults.steps import RANDOM

SEED = 20240311


def test_twelve_kills_lose_nothing_and_repeat_nothing(home: Path, tansu: Tansu) -> None:
    chance = random.Random(SEED)
    planned = plan.few(chance)
    assert len(planned) == 12 and {k.name.split(" ", 1)[1] for k in planned if k.step != RANDOM} == {k.step for k in plan.points("follow")}
    run = kills(home, tansu.address, planned, chance)
    right(run, len(planned))


@pytest.mark.faults
@pytest.mark.timeout(0)
def test_many_kills_lose_nothing_and_repeat_nothing(home: Path, tansu: Tansu) -> None:
    chance, count = random.Random(SEED), plan.asked()

    def kept(run: Run) -> None:
        if count >= plan.LONG_RUN:
            PAGE.write_text(page(run, count, SEED))

    run = kills(home, tansu.address, plan.many(count, chance), chance, kept)
    right(run, count)


def right(run: Run, count: int) -> None:
    assert len(run.struck) == count
    assert (run.lost, run.doubled) == (0, 0)
    assert all(run.faults[name] == run.rounds for name in (DROPPED, DOUBLED, ALTERED)), run.faults
    met = sum(s.survived for s in run.struck), sum(s.in_flight for s in run.struck)
    assert count < 10 or min(met) > 0, f"the kills met landers at work: {met}"
