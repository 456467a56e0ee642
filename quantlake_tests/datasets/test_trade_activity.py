"""Half-hour features from minute bars."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import log
from statistics import stdev
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.datasets.market.bars_1m import bars
from quantlake.datasets.market.trade_activity import from_bars, trade_activity

OPEN = datetime(2013, 10, 7, 13, 30, tzinfo=UTC)
DAY = date(2013, 10, 7)
MINUTE = timedelta(minutes=1)


def bar(minute: int, close: str | None, **others: Any) -> dict[str, Any]:
    price = Decimal(close) if close else None
    start = OPEN + MINUTE * minute
    return {
        "symbol": "IBM", "venue": "usa", "bar_start": start, "open": price, "high": price, "low": price, "close": price,
        "volume": Decimal(10), "notional": Decimal(0), "trade_count": 2, "known_at": start + MINUTE, "partition_date": DAY,
        **others,
    }  # fmt: skip


def features(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    built = from_bars(pl.DataFrame(pa.Table.from_pylist(rows, schema=bars.spec.arrow)).lazy()).collect().to_arrow()
    assert built.column_names == trade_activity.spec.arrow.names
    made: list[dict[str, Any]] = built.cast(trade_activity.spec.arrow).to_pylist()
    return made


def test_no_bars_no_features() -> None:
    assert features([]) == []


def test_the_window_is_left_open() -> None:
    made = features([bar(0, "100"), bar(29, "101"), bar(30, "102")])
    assert [r["event_time"] for r in made] == [OPEN + MINUTE * n for n in (1, 30, 31)]
    assert [r["volume_30m"] for r in made] == [10, 20, 20]
    assert [r["trade_count_30m"] for r in made] == [2, 4, 4]


def test_volatility_needs_two_returns_and_skips_missing_closes() -> None:
    made = features([bar(0, "100"), bar(1, None), bar(2, "101"), bar(3, "99")])
    assert [r["volatility_30m"] for r in made[:3]] == [None, None, None]
    assert made[3]["volatility_30m"] == pytest.approx(stdev([log(101 / 100), log(99 / 101)]), rel=1e-12)


def test_windows_do_not_cross_days_venues_or_symbols() -> None:
    others: list[dict[str, Any]] = [{"partition_date": DAY + timedelta(1)}, {"venue": "coinbase"}, {"symbol": "BAC"}]
    rows = [bar(0, "100"), bar(1, "101"), *(bar(2 + n, "102", **other) for n, other in enumerate(others))]
    made = features(rows)
    assert sorted(r["volume_30m"] for r in made) == [10, 10, 10, 10, 20]
    assert {r["volatility_30m"] for r in made} == {None}


def test_a_late_bar_makes_its_windows_late() -> None:
    late = OPEN + timedelta(days=1)
    made = features([bar(0, "100", known_at=late), bar(40, "101"), bar(41, "102"), bar(80, "103"), bar(81, None), bar(120, None)])
    assert [r["known_at"] for r in made] == [late, late, late, OPEN + MINUTE * 81, OPEN + MINUTE * 82, OPEN + MINUTE * 121]


minute_bars = st.dictionaries(st.integers(0, 90), st.tuples(st.sampled_from([None, "99", "100", "101.5"]), st.integers(0, 5)))


@settings(deadline=None, max_examples=30)
@given(minute_bars)
def test_every_value_is_known_by_known_at(given_bars: dict[int, tuple[str | None, int]]) -> None:
    """What comes of the bars known by a row's ``known_at`` holds that row already, unchanged."""
    rows = [bar(n, close, known_at=OPEN + MINUTE * (n + 1 + late)) for n, (close, late) in given_bars.items()]
    for made in features(rows):
        assert made in features([r for r in rows if r["known_at"] <= made["known_at"]])
