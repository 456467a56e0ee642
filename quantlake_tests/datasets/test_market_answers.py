"""Bars against what vendors published of the same ticks: every recorded pair of tick and bar files, to the last digit.

A vendor's bars are an answer nobody here made. Where not all are equal, the floor is what is known to differ by the vendor's own rules.
"""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from quantlake.datasets.market import bars, quote_bars
from quantlake.datasets.market.conditions import Policy, updates_ohlc, updates_volume
from quantlake_tests.datasets.answers import (
    PRICES,
    SIDES,
    Compared,
    compared,
    curated_bars,
    curated_quotes,
    curated_trades,
    pairs,
    quoted,
    regular,
)

INTERVALS = {"second": "1s", "minute": "1m"}
BOTH_SIDES = [f"{side}_{price}" for side in SIDES for price in PRICES]


def of_quotes(folder: str, resolution: str) -> Compared:
    """Quote bars of all ticks of a folder against the vendor's own."""
    files = pairs(folder, "tick", resolution, "quote")
    ours = quote_bars.build(curated_quotes(ticks for ticks, _ in files)).filter(pl.col("interval") == INTERVALS[resolution])
    return compared(quoted(curated_bars(own for _, own in files)), ours.collect(), BOTH_SIDES)


def of_trades(files: Sequence[tuple[Path, Path]], policy: Policy) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A vendor's minute bars, and ours of its ticks by a policy."""
    printed = curated_trades(ticks for ticks, _ in files)
    judged = printed.with_columns(updates_ohlc=updates_ohlc(policy), updates_volume=updates_volume(policy))
    return curated_bars(own for _, own in files), bars.from_trades(judged.lazy(), "1m").collect()


@pytest.mark.parametrize("resolution", INTERVALS)
def test_every_quote_bar_of_forex_is_equal_and_none_is_missing_or_extra(resolution: str) -> None:
    """A folder a venue; over both resolutions of EURUSD of FXCM and OANDA these are 156,910 bars."""
    found = of_quotes("market/lean_forex", resolution)
    assert (found.equal, found.missing, found.extra) == (found.bars, 0, 0)


@pytest.mark.parametrize(("resolution", "floor"), [("minute", 0.998), ("second", 0.999)])
def test_quote_bars_of_equities_carry_what_was_quoted_before(resolution: str, floor: float) -> None:
    found = of_quotes("market/lean_equity_us", resolution)
    assert (found.missing, found.extra) == (0, 0)
    assert found.share >= floor, found


def test_seconds_of_crypto_make_its_minutes_in_decimals() -> None:
    files = pairs("market/lean_crypto", "second", "minute", "trade")
    for seconds, minutes in files:
        vendor = curated_bars([minutes])
        ours = bars.resampled(curated_bars([seconds]).lazy(), "1m").collect()
        found = compared(vendor, ours, (*PRICES, "volume"))
        assert (found.equal, found.missing, found.extra) == (vendor.height, 0, 0), minutes
        floats = curated_bars([seconds]).group_by(pl.col("bar_start").dt.truncate("1m")).agg(pl.col("volume").cast(pl.Float64).sum())
        summed = vendor.join(floats, on="bar_start")
        exact = [Decimal(repr(total)) == volume for volume, total in summed.select("volume", "volume_right").iter_rows()]
        assert not all(exact), "a sum of floats would do as well, so that this shows nothing"


def test_regular_minutes_of_equities_by_the_vendors_policy() -> None:
    """What differs in volume is the closing auction, which the vendor books to 15:59 and the tape prints at 16:00."""
    vendor, ours = (regular(found, "bar_start") for found in of_trades(pairs("market/lean_equity_us", "tick", "minute", "trade"), Policy.lean))
    priced, sized = compared(vendor, ours, PRICES), compared(vendor, ours, ["volume"])
    assert priced.share >= 0.99, priced
    assert sized.share >= 0.985, sized
    assert (priced.missing, priced.extra) == (0, 0)


def test_the_tapes_policy_is_another_one() -> None:
    vendor, ours = (regular(found, "bar_start") for found in of_trades(pairs("market/lean_equity_us", "tick", "minute", "trade"), Policy.sip))
    assert compared(vendor, ours, PRICES).share < 0.99


def test_minutes_of_gold_in_which_something_was_traded() -> None:
    """A contract a symbol. The vendor makes bars of volume 0 from prints of size 0, which count for nothing here; else none is missing."""
    vendor, ours = of_trades(pairs("market/lean_futures", "tick", "minute", "trade"), Policy.sip)
    traded = compared(vendor.filter(pl.col("volume") > 0), ours, PRICES)
    assert (traded.missing, traded.extra) == (0, 0)
    assert traded.share >= 0.997, traded
