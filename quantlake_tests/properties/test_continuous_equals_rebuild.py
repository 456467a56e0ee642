"""Whatever arrives, and however often a refresh is killed: a home that is refreshed on and on equals one built at once.

Sequences are drawn (see ``arrivals``); one that fails is printed and not made smaller, since each takes half a minute: paste it
into ``@example`` to play it again. ``QUANTLAKE_EXAMPLES`` says how many ``-m faults`` draws.
"""

import os

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from quantlake_tests.conftest import temporary_folder
from quantlake_tests.properties.arrivals import KILLS, Step, Topics, sequences
from quantlake_tests.properties.stack import rebuilt, stack

MANY = int(os.environ.get("QUANTLAKE_EXAMPLES", "60"))
SLOW = settings(deadline=None, database=None, phases=(Phase.explicit, Phase.generate))


@settings(SLOW, max_examples=2, derandomize=True)
@given(sequences(st.none() | KILLS, most=3))
def test_a_home_refreshed_on_and_on_equals_one_built_at_once(steps: list[Step]) -> None:
    holds(steps)


@pytest.mark.faults
@pytest.mark.timeout(MANY * 120)
@settings(SLOW, max_examples=MANY)
@given(sequences(st.none() | KILLS, most=6))
def test_so_it_does_over_many_sequences(steps: list[Step]) -> None:
    holds(steps)


def holds(steps: list[Step]) -> None:
    with temporary_folder() as home, temporary_folder() as other, stack(home) as continuous:
        topics = Topics(continuous.adapters)
        for step in steps:
            for arrival in step.arrivals:
                topics.play(arrival)
            continuous.refresh_killed(step.kill) if step.kill else continuous.refresh()
        continuous.refresh()
        assert not continuous.unclean()
        assert not continuous.idle_commits()
        with rebuilt(continuous, other) as fresh:
            assert continuous.content() == fresh.content()
            assert continuous.online() == continuous.newest_offline() == fresh.online()
