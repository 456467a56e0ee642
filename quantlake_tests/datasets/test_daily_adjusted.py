"""Adjusted daily prices: against Quandl's own, by hand, and whatever dates are built together."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract.compute import compute, compute_each
from quantlake.datasets.market import vendor_bars
from quantlake.datasets.market.adjustments import adjustments
from quantlake.datasets.market.daily_adjusted import daily_adjusted
from quantlake.datasets.reference import corporate_actions
from quantlake.sources import csv_bars
from quantlake_tests.empty import NO_SYMBOLS
from quantlake_tests.recorded import recorded

QUANDL = "reference/quandl_wiki_adjustments/prices_actions_adjusted.csv"
FIRST = date(2024, 3, 4)


def curated(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The bars and actions of a file."""
    found = {stream: pl.DataFrame(rows) for stream, rows in csv_bars.read(path)}
    return vendor_bars.curate(found[vendor_bars.raw].lazy(), NO_SYMBOLS).collect(), found.get(corporate_actions.raw, nothing(corporate_actions.raw))


def nothing(dataset: Any) -> pl.DataFrame:
    return pl.DataFrame(dataset.spec.arrow.empty_table()).select(c.name for c in dataset.columns)


def adjusted(bars: pl.DataFrame, actions: pl.DataFrame, dates: list[date] | None = None) -> pl.DataFrame:
    """All dates built at once, or ``dates`` each alone."""
    days = sorted(bars["partition_date"].unique())
    factors, broken = compute_each(adjustments, [actions, bars], sorted(set(actions["ex_date"])))
    assert not broken
    if dates is None:
        rows, broken = compute_each(daily_adjusted, [bars, pl.DataFrame(factors)], days)
        assert not broken
        return pl.DataFrame(rows)
    later = pl.DataFrame(factors)
    alone = [
        compute(daily_adjusted, [bars.filter(pl.col("partition_date") == d).lazy(), later.filter(pl.col("partition_date") > d).lazy()], d) for d in dates
    ]
    return pl.concat([pl.DataFrame(table) for table in alone])


@pytest.fixture(scope="module")
def quandl() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Bars, actions, and what the vendor says."""
    path = recorded(QUANDL)
    bars, actions = curated(path)
    return bars, actions, pl.read_csv(path, try_parse_dates=True)


def test_quandl_s_adjusted_closes_are_met_when_seeded(quandl: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]) -> None:
    bars, actions, printed = quandl
    found = adjusted(bars, actions)
    both = found.join(printed.rename({"ticker": "symbol"}), on=["symbol", "date"], suffix="_printed").sort("symbol", "date")
    assert both.height == printed.height == found.height
    newest = both.group_by("symbol", maintain_order=True).agg(seed=(pl.col("adj_close_printed") / pl.col("close_printed")).last())
    assert newest.filter(pl.col("symbol") == "AAPL")["seed"][0] == pytest.approx(0.9500041822042037, rel=1e-15)
    seeded = both.join(newest, on="symbol").with_columns(ours=pl.col("adj_close").cast(pl.Float64) * pl.col("seed"))
    error = seeded.select(((pl.col("ours") - pl.col("adj_close_printed")) / pl.col("adj_close_printed")).abs().max()).item()
    assert error < 1e-13
    one = seeded.filter(pl.col("symbol") == "BRK_A")
    assert one["adj_close"].equals(one["close"].alias("adj_close"))
    assert (one["ours"] == one["adj_close_printed"]).all()
    split = found.filter((pl.col("symbol") == "AAPL") & (pl.col("date") == date(2014, 6, 6)))
    assert float(split["split_factor"][0]) == pytest.approx(1 / 7, rel=1e-15)


def test_zipline_s_bars_are_split_adjusted_already() -> None:
    bars, actions = curated(recorded("reference/zipline_csvdir_daily/csvdir/daily/AAPL.csv.gz"))
    found = adjusted(bars, actions)
    assert found["split_factor"].unique().to_list() == [1]
    assert set(found["adjustment"]) == {"split"}
    assert (found["total_factor"] < 1).any()


def bar(n: int, close: str, **others: Any) -> dict[str, Any]:
    at = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=n)
    return {
        "source": "s", "venue": "v", "symbol": "X", "interval": "1d", "bar_start": at, "price_type": "trade", "open": close, "high": close,
        "low": close, "close": close, "volume": "100", "is_final": True, "adjustment": "raw", "event_time": at, "known_at": at + timedelta(days=1),
        "partition_date": at.date(), "source_name": "f", "flags": [], **others,
    }  # fmt: skip


def action(n: int, kind: str, value: str, **others: Any) -> dict[str, Any]:
    at = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=n)
    term = {"ratio" if kind == "split" else "amount": value}
    return {
        "source": "s", "instrument_id": "s:X", "type": kind, "ex_date": at.date(), "status": "active", "event_time": at, "known_at": at,
        "known_at_precision": "day", "partition_date": at.date(), "source_name": "f", **term, **others,
    }  # fmt: skip


def frame(dataset: Any, rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = nothing(dataset).schema
    texts = {c: pl.String if isinstance(t, pl.Decimal) else t for c, t in schema.items()}
    return pl.DataFrame([{c: r.get(c) for c in schema} for r in rows], schema=texts).cast(schema)  # type: ignore[arg-type]


def shown(bars: list[dict[str, Any]], actions: list[dict[str, Any]]) -> list[tuple[float, float]]:
    found = adjusted(frame(vendor_bars.bars, bars), frame(corporate_actions.actions, actions)).sort("instrument_id", "date")
    return [(round(float(s), 12), round(float(t), 12)) for s, t in found.select("split_factor", "total_factor").rows()]


def test_factors_by_hand() -> None:
    """A dividend of 1 at a close of 9, a day later 2 new shares for an old one: 0.9, and half of it before."""
    bars = [bar(0, "10"), bar(1, "9"), bar(2, "5"), bar(3, "5")]
    actions = [action(1, "dividend", "1"), action(2, "split", "2")]
    assert shown(bars, actions) == [(0.5, 0.45), (0.5, 0.5), (1, 1), (1, 1)]
    assert shown(bars, [*actions, action(3, "split", "3", status="cancelled")]) == [(0.5, 0.45), (0.5, 0.5), (1, 1), (1, 1)]
    assert shown(bars, [action(2, "dividend", "1"), action(2, "split", "2")])[0] == (0.5, round(0.5 * 5 / 6, 12)), "both on one date"
    assert shown([b | {"adjustment": "split"} for b in bars], actions) == [(1, 0.9), (1, 1), (1, 1), (1, 1)]
    assert shown([b | {"adjustment": "total"} for b in bars], actions) == [(1, 1)] * 4
    assert shown(bars, [action(1, "dividend", "1", source="another")]) == [(1, 1)] * 4, "of another source"
    assert shown(bars, [action(9, "split", "2"), action(9, "dividend", "1")]) == [(0.5, 0.5)] * 4, "no bar ever: a split counts, a dividend has no weight"
    assert shown([*bars, bar(12, "4")], [action(9, "dividend", "1")]) == [(1, 0.8)] * 4 + [(1, 1)], "weighed by the next bar there is"
    assert shown([bars[0], bar(30, "5")], [action(7, "split", "2")]) == [(0.5, 0.5), (1, 1)], "halted over the ex-date"


def test_of_an_instrument_s_bars_those_that_nobody_adjusted_come_first() -> None:
    mapped = {"instrument_id": "ID"}
    bars = frame(vendor_bars.bars, [
        bar(0, "10", source="a", adjustment="split", **mapped), bar(0, "20", source="z", **mapped), bar(0, "30", source="b", adjustment="total", **mapped),
        bar(0, "40", source="z", venue="w", volume="1", **mapped), bar(0, "1", interval="1m", **mapped), bar(0, "2", price_type="bid", **mapped),
    ])  # fmt: skip
    found = adjusted(bars, nothing(corporate_actions.actions))
    assert found.select("instrument_id", "source", "venue", "close").rows() == [("ID", "z", "v", Decimal(20))]


def test_a_day_is_known_when_its_last_action_is() -> None:
    late = datetime(2025, 1, 1, tzinfo=UTC)
    found = adjusted(frame(vendor_bars.bars, [bar(0, "10"), bar(1, "9")]), frame(corporate_actions.actions, [action(1, "dividend", "1", known_at=late)]))
    assert found.sort("date")["known_at"].to_list() == [late, datetime(2024, 3, 6, tzinfo=UTC)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12, unique=True),
    st.lists(st.tuples(st.integers(0, 61), st.sampled_from(["split", "dividend"]), st.integers(1, 9)), max_size=8),
)
def test_a_date_alone_is_as_among_others(days: list[int], events: list[tuple[int, str, int]]) -> None:
    """And as the walk back from the newest row says."""
    bars = frame(vendor_bars.bars, [bar(n, str(n + 5)) for n in days])
    actions = frame(corporate_actions.actions, [action(n, kind, str(value)) for n, kind, value in events])
    together = adjusted(bars, actions).sort("date")
    alone = adjusted(bars, actions, sorted(bars["partition_date"].to_list())).sort("date")
    assert together.equals(alone)
    f, walked = 1.0, {}
    for n in range(62, -1, -1):
        if n in days:
            walked[n] = f
        of_date = [(kind, value) for at, kind, value in events if at == n]
        for kind, value in of_date:
            f /= value if kind == "split" else 1
        paid = sum(value for kind, value in of_date if kind == "dividend")
        following = [day for day in days if n <= day <= n + 31]
        if following:
            f *= (min(following) + 5) / (min(following) + 5 + paid)
    assert [float(t) for t in together["total_factor"]] == pytest.approx([walked[n] for n in sorted(days)], rel=1e-12, abs=1e-17)
