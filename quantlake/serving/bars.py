"""Bars as a person asks for them: of one symbol and date, by either policy, of the regular session alone, with empty bars filled.

Here: what the options mean. Not here: how trades become bars (datasets/market/bars), which trades count (conditions), output.
"""

from datetime import date, datetime

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.contract.catalog import Catalog
from quantlake.contract.sessions import session_hours
from quantlake.datasets.market import bars as trade_bars
from quantlake.datasets.market import common
from quantlake.datasets.market.bars import INTERVALS
from quantlake.datasets.market.conditions import Policy, updates_ohlc, updates_volume
from quantlake.ports import Platform
from quantlake.serving.frames import Tables

CALENDARS = {common.CONSOLIDATED_US: "XNYS", **dict.fromkeys(common.US_FUTURES, "CMES")}
OPEN_CLOSE = ("open", "high", "low", "close")


class Bars:
    """Bars of one home, computed from curated trades. Raises ``QuantLakeError`` where there is no such interval, symbol or date."""

    def __init__(self, catalog: Catalog, platform: Platform) -> None:
        self._tables = Tables(catalog, platform)

    def of_trades(
        self, symbol: str, day: date, interval: str, *, policy: Policy = Policy.sip, venue: str | None = None, regular: bool = False,
        fill: bool = False, as_known_at: datetime | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """The bars (columns of derived/market/bars_1m) of a symbol's trades of a partition date.

        ``regular``: of the trades from the exchange's open to its close alone, on half days too; a venue that is always open has no
        others. ``fill``: with a bar of volume 0 at the last close for each empty interval between the first bar and the last.
        """
        if interval not in INTERVALS:
            raise QuantLakeError(f"there are no bars of {interval!r}; there are {', '.join(INTERVALS)}")
        trades = self._of("curated/market/trades", symbol, day, venue, as_known_at)
        judged = trades.with_columns(updates_ohlc=updates_ohlc(policy), updates_volume=updates_volume(policy))
        found = trade_bars.from_trades((_regular(judged, day) if regular else judged).lazy(), interval).collect()
        if as_known_at is not None:  # of a minute that is not over, nobody knows the bar
            found = found.filter(pl.col("known_at") <= as_known_at)
        return _filled(found, interval) if fill else found

    def of_vendor(self, symbol: str, day: date, interval: str, shorter: str, *, venue: str | None = None) -> pl.DataFrame:
        """A vendor's bars of ``interval`` ``shorter`` as longer ones (venue, symbol, bar_start, open .. volume), exact."""
        bars = self._of("curated/market/vendor_bars", symbol, day, venue, None).filter(
            (pl.col("interval") == shorter) & (pl.col("price_type") == "trade")
        )
        if not bars.height:
            raise QuantLakeError(f"there are no vendor's bars of {shorter} of {symbol} on {day}; replay a file of them first")
        return trade_bars.resampled(bars.lazy(), interval).collect()

    def _of(self, path: str, symbol: str, day: date, venue: str | None, as_known_at: datetime | None) -> pl.DataFrame:
        rows = self._tables.table(path, as_known_at).filter(pl.col("partition_date") == day)
        found = rows.filter(pl.col("symbol") == symbol, *([pl.col("venue") == venue] if venue else [])).collect()
        if found.height:
            return found
        there = rows.select("symbol", "venue").unique().sort("symbol", "venue").collect()
        listed = ", ".join(f"{s} ({v})" for s, v in there.head(20).iter_rows()) or "nothing"
        of = f"{symbol} of {venue}" if venue else symbol
        raise QuantLakeError(f"{path} has no {of} on {day}; of that date it has {listed}{', ...' if there.height > 20 else ''}")


def _regular(trades: pl.DataFrame, day: date) -> pl.DataFrame:
    keep = pl.lit(True)
    for venue in trades["venue"].unique().to_list():
        if venue in CALENDARS:
            hours = session_hours(CALENDARS[venue], day)
            inside = pl.lit(False) if hours is None else (pl.col("event_time") >= hours[0]) & (pl.col("event_time") < hours[1])
            keep = keep & ((pl.col("venue") != venue) | inside)
    return trades.filter(keep)


def _filled(bars: pl.DataFrame, interval: str) -> pl.DataFrame:
    series = ["venue", "symbol"]
    step = INTERVALS[interval]
    every = bars.group_by(series, maintain_order=True).agg(
        pl.datetime_ranges(pl.col("bar_start").min(), pl.col("bar_start").max(), interval, time_zone="UTC").first().alias("bar_start")
    )
    whole = every.explode("bar_start").join(bars, on=[*series, "bar_start"], how="left", maintain_order="left")
    close = pl.col("close").forward_fill().over(series)
    empty = pl.col("trade_count").is_null()
    filled = whole.with_columns(
        *(pl.when(empty).then(close).otherwise(pl.col(c)).alias(c) for c in OPEN_CLOSE),
        pl.col("volume", "notional", "trade_count").fill_null(0),
        pl.col("partition_date").forward_fill(),
        pl.when(empty).then(pl.col("bar_start") + step).otherwise("known_at").alias("known_at"),
        pl.when(empty).then(pl.lit(["filled"])).otherwise("flags").alias("flags"),
    )
    return filled.select(bars.columns)
