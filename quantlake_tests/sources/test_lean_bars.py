"""LEAN bars: recorded bars of trades, quotes and open interest read exactly; intervals, ends, absent sides, deep decimals."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from quantlake.contract import QuantLakeError
from quantlake.datasets.market import quotes, vendor_bars
from quantlake.sources import lean
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import frame, lines_of, require_counted, zipped

PRICES = ("open", "high", "low", "close")


def bars(path: Path) -> pl.DataFrame:
    rows = frame(vendor_bars.raw, lean.read(path))
    require_counted(rows)
    assert rows["bar_start"].equals(rows["event_time"].alias("bar_start"))
    assert rows.select("source", "adjustment", "is_final").unique().rows() == [("lean", "raw", True)]
    return rows


@pytest.mark.parametrize(("relative", "interval", "scale", "records"), [
    ("lean_equity_us/minute/ibm/20131007_trade.zip", "1m", 10_000, 453),
    ("lean_equity_us/second/spy/20131008_trade.zip", "1s", 10_000, 22_383),
    ("lean_equity_us/daily/ibm.zip", "1d", 10_000, 5_849),
    ("lean_equity_us/hour/aapl.zip", "1h", 10_000, 40_831),
    ("lean_crypto/coinbase/second/btcusd/20161007_trade.zip", "1s", 1, 4_063),
    ("lean_crypto/coinbase/daily/btcusd_trade.zip", "1d", 1, 1_318),
    ("lean_futures/comex/minute/gc/20131008_trade.zip", "1m", 1, 1_537),
])
def test_recorded_bars_of_trades(relative: str, interval: str, scale: int, records: int) -> None:
    path = recorded(f"market/{relative}")
    rows, lines = bars(path), lines_of(path)
    assert len(rows) == len(lines) == records
    for at, name in enumerate(PRICES, 1):
        assert rows[name].to_list() == [Decimal(c[at]) / scale for c in lines]
    assert rows["volume"].to_list() == [Decimal(c[5]) for c in lines]
    assert rows.select("interval", "price_type").unique().rows() == [(interval, "trade")]


@pytest.mark.parametrize(("relative", "scale", "records"), [
    ("lean_equity_us/second/ibm/20131007_quote.zip", 10_000, 11_676),
    ("lean_forex/fxcm/minute/eurusd/20140501_quote.zip", 1, 1_426),
    ("lean_crypto/coinbase/minute/btcusd/20170904_quote.zip", 1, 1_438),
])
def test_recorded_bars_of_quotes_are_two_rows(relative: str, scale: int, records: int) -> None:
    """Coinbase's sizes have up to 18 decimal places (``2.130000000000000000``)."""
    path = recorded(f"market/{relative}")
    rows, lines = bars(path), lines_of(path)
    assert len(rows) == 2 * len(lines) == 2 * records
    assert rows.select("line_number", "item_index").rows() == [(n, i) for n in range(1, records + 1) for i in (0, 1)]
    for index, (side, at) in enumerate((("bid", 1), ("ask", 6))):
        one = rows.filter(pl.col("price_type") == side)
        assert one["item_index"].unique().to_list() == [index]
        for offset, name in enumerate((*PRICES, "volume")):
            divisor = scale if name in PRICES else 1
            assert one[name].to_list() == [Decimal(c[at + offset]) / divisor for c in lines]


def test_recorded_open_interest_is_a_bar_of_one_number() -> None:
    path = recorded("market/lean_futures/comex/minute/gc/20131007_openinterest.zip")
    rows = bars(path)
    values = [Decimal(c[1]) for c in lines_of(path)]
    assert len(rows) == 57 and all(rows[name].to_list() == values for name in PRICES)
    assert rows.select("price_type", "volume", "interval").unique().rows() == [("open_interest", None, "1m")]


def test_clocks_and_ends() -> None:
    hour = bars(recorded("market/lean_equity_us/hour/ibm.zip"))
    assert hour.select("bar_start", "known_at", "partition_date").row(0) == (
        datetime(1998, 1, 2, 14, tzinfo=UTC), datetime(1998, 1, 2, 15, tzinfo=UTC), date(1998, 1, 2)
    )
    daily = bars(recorded("market/lean_equity_us/daily/ibm.zip"))
    assert daily["source_name"][0] == "equity/usa/daily/ibm/ibm.csv"
    assert daily.select("bar_start", "known_at", "partition_date").row(-1) == (
        datetime(2021, 3, 31, 4, tzinfo=UTC), datetime(2021, 4, 1, 4, tzinfo=UTC), date(2021, 3, 31)
    )
    changed = daily.filter(pl.col("known_at") - pl.col("bar_start") != timedelta(days=1))
    assert changed["partition_date"].dt.weekday().unique().to_list() == []  # New York's clock changes on Sundays
    path = recorded("market/lean_forex/fxcm/minute/eurusd/20140501_quote.zip")
    fxcm, late = bars(path), sum(int(cells[0]) >= 19 * 3_600_000 for cells in lines_of(path))
    assert fxcm["bar_start"][0] == datetime(2014, 5, 1, 5, tzinfo=UTC)
    assert late == 291
    assert dict(fxcm["partition_date"].value_counts().iter_rows()) == {date(2014, 5, 1): len(fxcm) - 2 * late, date(2014, 5, 2): 2 * late}
    gold = bars(recorded("market/lean_futures/comex/minute/gc/20131007_trade.zip"))
    assert dict(gold["partition_date"].value_counts().iter_rows()) == {date(2013, 10, 7): 1_406, date(2013, 10, 8): 94}


@pytest.mark.parametrize(("day", "minutes"), [("20161007", 1_419), ("20161008", 1_400)])
def test_recorded_seconds_of_coinbase_make_its_minutes(day: str, minutes: int) -> None:
    second, minute = (bars(recorded(f"market/lean_crypto/coinbase/{step}/btcusd/{day}_trade.zip")) for step in ("second", "minute"))
    made = second.sort("bar_start").group_by(pl.col("bar_start").dt.truncate("1m"), maintain_order=True).agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(), pl.col("volume").sum()
    )  # fmt: skip
    assert len(made) == minutes
    assert made.equals(minute.select(made.columns))


@pytest.mark.parametrize(("market", "step", "interval", "expected"), [
    ("fxcm", "second", "1s", 84_019), ("fxcm", "minute", "1m", 5_772), ("oanda", "second", "1s", 61_638), ("oanda", "minute", "1m", 5_481),
])
def test_recorded_ticks_of_forex_make_its_bars(market: str, step: str, interval: str, expected: int) -> None:
    """All 156,910 of them: prices and clocks of ticks and bars are read alike."""
    compared = 0
    for day in ("20140501", "20140502", "20140504", "20140505", "20140506"):
        ticks = frame(quotes.raw, lean.read(recorded(f"market/lean_forex/{market}/tick/eurusd/{day}_quote.zip")))
        published = bars(recorded(f"market/lean_forex/{market}/{step}/eurusd/{day}_quote.zip"))
        for side in ("bid", "ask"):
            price = pl.col(f"{side}_price")
            made = ticks.group_by(bar_start=pl.col("event_time").dt.truncate(interval), maintain_order=True).agg(
                open=price.first(), high=price.max(), low=price.min(), close=price.last()
            )
            assert made.equals(published.filter(pl.col("price_type") == side).select(made.columns))
        compared += len(made)
    assert compared == expected


def test_a_day_of_clock_change_is_as_long_as_it_was(tmp_path: Path) -> None:
    rows = bars(zipped(tmp_path / "equity/usa/daily/x.zip", "x.csv", "20130310 00:00,1,1,1,1,1\n20131103 00:00,1,1,1,1,1"))
    assert (rows["known_at"] - rows["bar_start"]).to_list() == [timedelta(hours=23), timedelta(hours=25)]


def test_a_daily_bar_of_a_future_is_of_the_date_that_it_prints(tmp_path: Path) -> None:
    content = "20131006 00:00,1,2,1,2,5\n20131007 00:00,1,2,1,2,5"
    rows = bars(zipped(tmp_path / "future/comex/daily/gc_trade.zip", "gc_trade_201312.csv", content))
    assert rows["partition_date"].to_list() == [date(2013, 10, 6), date(2013, 10, 7)]
    assert rows["source_name"][0] == "future/comex/daily/gc/gc_trade_201312.csv"
    hours = zipped(tmp_path / "future/comex/hour/gc_trade.zip", "gc_trade_201312.csv", "20131007 21:00,1,2,1,2,5\n20131007 22:00,1,2,1,2,5")
    assert bars(hours)["partition_date"].to_list() == [date(2013, 10, 7), date(2013, 10, 8)]


def test_a_side_that_was_absent_has_no_prices(tmp_path: Path) -> None:
    content = "0,,,,,0,11000,12000,11000,12000,7\n60000,0,0,0,0,0,11000,12000,11000,12000,7"
    rows = bars(zipped(tmp_path / "equity/usa/minute/x/a.zip", "20131007_x_minute_quote.csv", content))
    sides = [(None,) * 5, (Decimal("1.1"), Decimal("1.2"), Decimal("1.1"), Decimal("1.2"), Decimal(7))]
    assert rows.select(*PRICES, "volume").rows() == 2 * sides


@pytest.mark.parametrize(("content", "found"), [
    ("0,1,1,1,1,1,1,1,1,1,1\n60000,1,,1,1,1,1,1,1,1,1", "line 2: the bid has some of its prices and size and not others"),
    ("0,1,1,1,1,1,1,1,1,1,", "line 1: the ask has some of its prices and size and not others"),
    ("0,1,1,1,1,1,1,1,1,1,1\n60000,1,1,1,1,1", "line 2 has 6 columns, not 11"),
    ("0,1,1,1,1,1,1,1,1,1,x", "line 1: ask_size cannot be 'x'"),
    ("99999999,1,1,1,1,1,1,1,1,1,1", "line 1: 99999999 ms is no time of 2013-10-07"),
])
def test_a_bad_quote_bar_is_named(tmp_path: Path, content: str, found: str) -> None:
    path = zipped(tmp_path / "equity/usa/minute/x/a.zip", "20131007_x_minute_quote.csv", content)
    with pytest.raises(QuantLakeError, match=found):
        next(lean.read(path))


@pytest.mark.parametrize("stamp", ["20131307 00:00", "20131007 25:00", "20130310 02:30"])
def test_a_time_that_is_none_is_named(tmp_path: Path, stamp: str) -> None:
    path = zipped(tmp_path / "equity/usa/hour/x.zip", "x.csv", f"20131007 09:00,1,1,1,1,1\n{stamp},1,1,1,1,1")
    with pytest.raises(QuantLakeError, match=rf"x\.csv line 2: {stamp} is no time in America/New_York"):
        next(lean.read(path))
