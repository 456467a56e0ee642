"""Quote bars: bid and ask of a second or a minute.

Here: how quotes become bars. Not here: trade bars, which quotes a source has.

A bar covers [bar_start, bar_start + interval) and exists where a quote was printed in it. Its two sides, which differ by venue:

- a venue whose quotes show both sides (FX, crypto): a side opens with its first value in the bar;
- the US tape, whose quotes show the side that changed: a side opens with the value carried from before the bar (of the same
  ``partition_date``), which counts for high and low too, and fills a side that is silent in the bar. So LEAN's own bars are met.

Crossed quotes count: they are what was printed. Suspicious ones (by their source) do not, nor do the US tape's with the condition
"closing" (bit 8 of LEAN's QuoteConditionFlags), which nobody can trade on.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, Derived, Ordered, Price, Size, Text, TextList, Timestamp
from quantlake.datasets.market import common
from quantlake.datasets.market.bars import INTERVALS
from quantlake.datasets.market.quotes import quotes

BAR = ("symbol", "venue", "bar_start", "partition_date")
SERIES = ("symbol", "venue", "partition_date")
CLOSING = 1 << 3
SIDES = {"bid": "Nobody bid: null.", "ask": "Nobody offered: null."}

quote_bars = Derived(
    __name__,
    of=(quotes,),
    doc="A second or a minute of a symbol's best bid and offer.",
    owner="market-data",
    key=("venue", "symbol", "interval", "bar_start"),
    columns=(
        Column("symbol", Text, "As the source prints it."),
        Column("venue", Text, "Exchange or consolidated tape."),
        Column("interval", Text, "Length of the bar.", allowed=("1s", "1m")),
        Column("bar_start", Timestamp, "Start of the bar, UTC."),
        *(Column(f"{side}_{part}", Price, absent, null=True) for side, absent in SIDES.items() for part in ("open", "high", "low", "close")),
        *(Column(f"{side}_size", Size, "The side's last size.", null=True, minimum=0) for side in SIDES),
        common.INSTRUMENT_ID,
        Column("known_at", Timestamp, "The bar's end, or when the last quote of the bar could be known, if later."),
        PARTITION_DATE,
        Column("flags", TextList, "`crossed` (a quote of the bar was).", null=True),
    ),
    checks=tuple(Ordered(f"{s}_low", f"{s}_{part}", f"{s}_high") for s in SIDES for part in ("open", "close")),
)


@quote_bars.build
def build(quotes: pl.LazyFrame) -> pl.LazyFrame:
    printed = quotes.filter(~_not_tradable()).sort("event_time", "line_number", "item_index", "source_name", maintain_order=True).collect().lazy()
    both = pl.concat([_bars(printed, interval) for interval in ("1s", "1m")])
    return both.select(c.name for c in quote_bars.columns).sort("symbol", "venue", "interval", "bar_start")


def _not_tradable() -> pl.Expr:
    condition = pl.col("quote_condition")
    mask = pl.when((pl.col("venue") == common.CONSOLIDATED_US) & condition.str.contains("^[0-9A-Fa-f]{1,8}$")).then(condition)
    closing = mask.str.to_integer(base=16, dtype=pl.Int64) & CLOSING != 0
    return closing.fill_null(False) | pl.col("suspicious").fill_null(False)


def _bars(printed: pl.LazyFrame, interval: str) -> pl.LazyFrame:
    values = {f"{side}_price": pl.col(f"{side}_price").drop_nulls() for side in SIDES}
    bars = printed.group_by(*SERIES, pl.col("event_time").dt.truncate(interval).alias("bar_start")).agg(
        *(value.first().alias(f"{side}_open") for side, value in zip(SIDES, values.values(), strict=True)),
        *(value.max().alias(f"{side}_high") for side, value in zip(SIDES, values.values(), strict=True)),
        *(value.min().alias(f"{side}_low") for side, value in zip(SIDES, values.values(), strict=True)),
        *(value.last().alias(f"{side}_close") for side, value in zip(SIDES, values.values(), strict=True)),
        *(pl.col(f"{side}_size").drop_nulls().last() for side in SIDES),
        known_at=pl.col("known_at").max(),
        instrument_id=pl.col("instrument_id").last(),
        crossed=(pl.col("bid_price") > pl.col("ask_price")).any(),
    )
    carries = pl.col("venue") == common.CONSOLIDATED_US
    before = {s: pl.when(carries).then(pl.col(f"{s}_close").forward_fill().shift().over(SERIES)) for s in SIDES}
    size_before = {s: pl.when(carries).then(pl.col(f"{s}_size").forward_fill().shift().over(SERIES)) for s in SIDES}
    return (
        bars.sort(*SERIES, "bar_start")
        .with_columns(
            *(pl.coalesce(before[s], f"{s}_open").alias(f"{s}_open") for s in SIDES),
            *(pl.max_horizontal(before[s], f"{s}_high").alias(f"{s}_high") for s in SIDES),
            *(pl.min_horizontal(before[s], f"{s}_low").alias(f"{s}_low") for s in SIDES),
            *(pl.coalesce(f"{s}_close", before[s]).alias(f"{s}_close") for s in SIDES),
            *(pl.coalesce(f"{s}_size", size_before[s]).alias(f"{s}_size") for s in SIDES),
            interval=pl.lit(interval),
            known_at=pl.max_horizontal(pl.col("bar_start") + INTERVALS[interval], "known_at"),
            flags=pl.concat_list(pl.when("crossed").then(pl.lit("crossed"))).list.drop_nulls(),
        )
    )
