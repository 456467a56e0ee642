"""Bars as a person asks for them, of curated trades in a lake: sessions and half days, auctions, empty bars, policies, what is not there."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import QuantLakeError
from quantlake.contract.catalog import Catalog
from quantlake.contract.compute import compute
from quantlake.datasets.market import exchange_messages
from quantlake.datasets.market.bars import COLUMNS, INTERVALS
from quantlake.datasets.market.conditions import Policy
from quantlake.datasets.market.trades import raw, trades
from quantlake.serving.bars import Bars
from quantlake_tests.empty import NO_SYMBOLS
from quantlake_tests.serving.world import platform

NEW_YORK = ZoneInfo("America/New_York")
FULL, HALF, EVE, HOLIDAY = date(2013, 10, 7), date(2013, 11, 29), date(2013, 7, 3), date(2013, 11, 28)
OPENED, CLOSING, FORM_T, ODD_LOT, OFFICIAL_CLOSE = "41", "81", "400", "80000000", "1000000"
PRICES = ("open", "high", "low", "close")


def printed(day: date, clock: str, price: str, size: int = 100, conditions: str | None = "1", **others: Any) -> dict[str, Any]:
    """A trade at a time of New York's clock."""
    at = datetime.combine(day, datetime.strptime(clock, "%H:%M:%S").time(), NEW_YORK)
    return {
        "symbol": "IBM", "venue": "usa", "price": Decimal(price), "size": Decimal(size), "side": "unknown", "conditions": conditions,
        "event_time": at, "known_at": at, "partition_date": day, "source_name": f"of {day}", **others,
    }  # fmt: skip


class Home:
    """Trades as curated, in a lake of their own."""

    def __init__(self, lake: Iceberg) -> None:
        self._lake = lake
        self.bars = Bars(Catalog((raw, exchange_messages.raw, trades)), platform(lake))

    def hold(self, day: date, rows: Sequence[dict[str, Any]]) -> None:
        kinds = pl.DataFrame(raw.spec.arrow.empty_table()).schema
        numbered = [{**row, "line_number": n} for n, row in enumerate(rows, 1)]
        messages = pl.DataFrame(exchange_messages.raw.spec.arrow.empty_table()).lazy()
        self._lake.publish(trades.spec, [day], compute(trades, [pl.DataFrame(numbered, kinds).lazy(), messages, NO_SYMBOLS], day))


@pytest.fixture
def home(lake: Iceberg) -> Home:
    return Home(lake)


def clocks(bars: pl.DataFrame) -> list[str]:
    return bars["bar_start"].dt.convert_time_zone("America/New_York").dt.strftime("%H:%M").to_list()


@pytest.mark.parametrize(("day", "closes"), [(FULL, 16), (HALF, 13), (EVE, 13)])
def test_a_regular_session_ends_at_the_calendars_close(home: Home, day: date, closes: int) -> None:
    """On half days at 13:00: what is printed at the close itself, as auctions are, is after it, and stays at its time."""
    home.hold(day, [
        printed(day, "04:00:00", "9", conditions=FORM_T), printed(day, "09:29:59", "1"), printed(day, "09:30:00", "10", conditions=OPENED),
        printed(day, f"{closes - 1}:59:59", "11"), printed(day, f"{closes}:00:00", "12", 5_000, CLOSING),
        printed(day, f"{closes}:00:01", "13", 5_000, OFFICIAL_CLOSE), printed(day, f"{closes + 1}:00:00", "14"),
    ])  # fmt: skip
    asked = home.bars.of_trades("IBM", day, "1m", regular=True)
    assert clocks(asked) == ["09:30", f"{closes - 1}:59"]
    assert asked["close"].to_list() == [10, 11]
    whole = home.bars.of_trades("IBM", day, "1m")
    assert clocks(whole) == ["04:00", "09:29", "09:30", f"{closes - 1}:59", f"{closes}:00", f"{closes + 1}:00"]
    auction = whole.row(4, named=True)
    assert [auction[c] for c in (*PRICES, "volume")] == [12, 12, 12, 12, 5_000]  # the official close only repeats it
    session = home.bars.of_trades("IBM", day, "1d", regular=True).row(0, named=True)
    assert (session["open"], session["close"], session["volume"]) == (10, 11, 200)


def test_a_holiday_has_no_regular_session(home: Home) -> None:
    home.hold(HOLIDAY, [printed(HOLIDAY, "10:00:00", "10")])
    assert home.bars.of_trades("IBM", HOLIDAY, "1m", regular=True).is_empty()
    assert home.bars.of_trades("IBM", HOLIDAY, "1m").height == 1


def test_a_venue_that_never_closes_has_no_other_session(home: Home) -> None:
    coins: dict[str, Any] = {"symbol": "BTCUSD", "venue": "coinbase", "trade_id": "1", "conditions": None}
    home.hold(FULL, [printed(FULL, "03:00:00", "600", **coins)])
    assert home.bars.of_trades("BTCUSD", FULL, "1h", regular=True).height == 1


@pytest.mark.parametrize("interval", ["1s", "1m", "1h"])
def test_filling_repeats_the_last_close_between_the_first_bar_and_the_last(home: Home, interval: str) -> None:
    step = INTERVALS[interval]
    start = datetime.combine(FULL, datetime.min.time(), NEW_YORK) + timedelta(hours=10)
    times = [start, start + 3 * step, start + 4 * step]
    rows = [printed(FULL, f"{at:%H:%M:%S}", price, conditions=c) for at, price, c in zip(times, ("10", "12", "13"), ("1", ODD_LOT, "1"), strict=True)]
    home.hold(FULL, rows)
    assert home.bars.of_trades("IBM", FULL, interval).height == 3
    filled = home.bars.of_trades("IBM", FULL, interval, fill=True)
    assert filled.columns == [c.name for c in COLUMNS]
    assert [t.astimezone(NEW_YORK) for t in filled["bar_start"]] == [start + n * step for n in range(5)]
    assert filled["volume"].to_list() == [100, 0, 0, 100, 100]
    assert filled["trade_count"].to_list() == [1, 0, 0, 1, 1]
    assert filled["close"].to_list() == [10, 10, 10, None, 13]  # an odd lot has a volume and no price: it is no empty bar
    assert filled["open"].to_list() == filled["high"].to_list() == filled["low"].to_list() == [10, 10, 10, None, 13]
    assert filled["flags"].to_list() == [[], ["filled"], ["filled"], ["volume_only"], []]
    assert filled["known_at"].to_list() == [start + (n + 1) * step for n in range(5)]
    assert filled["partition_date"].to_list() == [FULL] * 5


def test_a_policy_decides_what_counts(home: Home) -> None:
    """An odd lot, and a trade out of sequence: LEAN's bars have the price of the first, the tape's of neither."""
    home.hold(FULL, [printed(FULL, "10:00:00", "10"), printed(FULL, "10:00:01", "11", 7, ODD_LOT), printed(FULL, "10:00:02", "5", 9, "4000")])
    sip, lean = (home.bars.of_trades("IBM", FULL, "1m", policy=policy).row(0, named=True) for policy in (Policy.sip, Policy.lean))
    assert [sip[c] for c in (*PRICES, "volume")] == [10, 10, 10, 10, 116]
    assert [lean[c] for c in (*PRICES, "volume")] == [10, 11, 10, 11, 116]


@pytest.mark.parametrize(("symbol", "day", "interval", "venue", "said"), [
    ("IBM", FULL, "2m", None, r"no bars of '2m'; there are 1s, 1m, 1h, 1d"),
    ("BAC", FULL, "1m", None, r"has no BAC on 2013-10-07; of that date it has IBM \(usa\)"),
    ("ibm", FULL, "1m", None, r"has no ibm on 2013-10-07; of that date it has IBM \(usa\)"),
    ("IBM", FULL, "1m", "coinbase", r"has no IBM of coinbase on 2013-10-07; of that date it has IBM \(usa\)"),
    ("IBM", HALF, "1m", None, r"has no IBM on 2013-11-29; of that date it has nothing"),
])
def test_what_is_not_there_is_named_beside_what_is(home: Home, symbol: str, day: date, interval: str, venue: str | None, said: str) -> None:
    home.hold(FULL, [printed(FULL, "10:00:00", "10")])
    with pytest.raises(QuantLakeError, match=said):
        home.bars.of_trades(symbol, day, interval, venue=venue)
