"""What was answered at T is answered for T ever after, whatever arrives later: recorded after each refresh, asked again at the end."""

import os
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from quantlake.serving.query import QueryService
from quantlake_tests.conftest import temporary_folder
from quantlake_tests.properties.arrivals import ARRIVALS, GRAPH, ONE_OF_EACH, Step, Topics, sequences
from quantlake_tests.properties.stack import stack

MANY = int(os.environ.get("QUANTLAKE_EXAMPLES", "60"))
SLOW = settings(deadline=None, database=None, phases=(Phase.explicit, Phase.generate))
QUESTIONS = (
    "SELECT * FROM curated_market_trades ORDER BY ALL",
    "SELECT * EXCLUDE superseded_at FROM curated_market_trades_versions ORDER BY ALL",
    "SELECT * FROM curated_alt_news ORDER BY ALL",
    "SELECT * FROM derived_market_bars_1m ORDER BY ALL",
    "SELECT * FROM rollup_market_bars_1m ORDER BY ALL",
    "SELECT * FROM feature_market_trade_activity ORDER BY ALL",
    "SELECT partition_date, symbol, count(*), sum(notional) FROM rollup_market_bars_1m JOIN curated_market_trades USING (symbol, partition_date) GROUP BY ALL ORDER BY ALL",
    "SELECT * FROM deadletters ORDER BY ALL",
)  # fmt: skip


def test_what_was_answered_at_a_time_is_answered_for_that_time_later() -> None:
    holds(ONE_OF_EACH)


@pytest.mark.faults
@pytest.mark.timeout(MANY * 240)
@settings(SLOW, max_examples=MANY)
@given(sequences(ARRIVALS, st.none(), most=6))
def test_so_it_is_over_many_sequences(steps: list[Step]) -> None:
    holds(steps)


def holds(steps: list[Step]) -> None:
    with temporary_folder() as home, stack(home) as continuous:
        topics, queries = Topics(continuous.adapters), QueryService(GRAPH, continuous.adapters)

        def answers(at: datetime | None = None) -> dict[str, list[dict[str, Any]]]:
            return {sql: queries.run(sql, at).read_all().to_pylist() for sql in QUESTIONS}

        recorded = []
        for step in steps:
            for arrival in step.arrivals:
                topics.play(arrival)
            continuous.refresh()
            recorded.append((datetime.now(UTC), answers()))
        for at, then in recorded:
            assert answers(at) == then
