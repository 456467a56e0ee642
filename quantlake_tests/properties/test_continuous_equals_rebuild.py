"""Whatever arrives, and however often a refresh is killed: a home that is refreshed on and on equals one built at once.

Here: the comparison. The sequences are ``arrivals``'; one that is drawn and fails is printed and not made smaller, since each takes
half a minute: paste it into an ``@example`` to play it again. ``QUANTLAKE_EXAMPLES`` says how many ``-m faults`` draws.
"""

import os
from datetime import UTC, datetime

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from quantlake_tests.conftest import temporary_folder
from quantlake_tests.properties.arrivals import (
    ARRIVALS,
    HISTORICAL,
    KILLS,
    ONE_OF_EACH,
    Correction,
    Historical,
    Step,
    Topics,
    Trade,
    sequences,
)
from quantlake_tests.properties.stack import rebuilt, stack

MANY = int(os.environ.get("QUANTLAKE_EXAMPLES", "60"))
SLOW = settings(deadline=None, database=None, phases=(Phase.explicit, Phase.generate))
ANY = ARRIVALS | HISTORICAL
NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)


def test_a_home_refreshed_on_and_on_equals_one_built_at_once() -> None:
    assert holds(ONE_OF_EACH) == 1


@pytest.mark.faults
@pytest.mark.timeout(MANY * 240)
@settings(SLOW, max_examples=MANY)
@given(sequences(ANY, st.none() | KILLS, most=6))
def test_so_it_does_over_many_sequences(steps: list[Step]) -> None:
    event(f"{holds(steps)} killed")  # counted by --hypothesis-show-statistics


@pytest.mark.faults
@pytest.mark.parametrize("second", [
    Correction(0, price=5, size=0, seconds=0), Correction(0, price=5, size=2, seconds=-120), Historical("ACME", "usa", NOON, 5, 2),
])  # fmt: skip
def test_the_online_store_follows_what_was_withdrawn(second: Correction | Historical) -> None:
    first = Historical if isinstance(second, Historical) else Trade
    holds([Step((first("ACME", "usa", NOON.replace(minute=5), 5, 1),)), Step((second,))])


def holds(steps: list[Step]) -> int:
    """Play the steps, then compare with a fresh home: content, commits, audit; and what is online. How many were killed."""
    killed = 0
    with temporary_folder() as home, temporary_folder() as other, stack(home) as continuous:
        topics = Topics(continuous.adapters)
        for step in steps:
            for arrival in step.arrivals:
                topics.play(arrival)
            if step.kill:
                killed += continuous.refresh_killed(step.kill)
            else:
                continuous.refresh()
        continuous.refresh()
        assert not continuous.unclean()
        assert not continuous.idle_commits()
        with rebuilt(continuous, other) as fresh:
            assert continuous.content() == fresh.content()
            assert fresh.online() == fresh.newest_offline() == continuous.newest_offline()
            assert continuous.online() == fresh.online()
    return killed
