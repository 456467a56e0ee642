"""Daily bars with the factors of all later corporate actions: prices as printed, and what makes them comparable.

Here: the product of later ex-dates' factors, and which source's bar is an instrument's. Not here: factors of one ex-date (adjustments).

Walking back from the newest row: emit close x f, then f /= split, f *= close / (close + dividend); f begins at 1. A vendor's adjusted
series is met by multiplying all factors with its last adj_close / close. As known at a time, later actions are those known then. What a
source has adjusted its prices for already (``adjustment``), splits or all, counts no more.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, Date, Derived, Input, Price, Rows, Size, Text, Timestamp
from quantlake.datasets.market import vendor_bars
from quantlake.datasets.market.adjustments import INSTRUMENT_ID, SERIES, SOURCE, adjustments, daily, factor

ADJUSTED_LAST = ["raw", "split", "total"]

daily_adjusted = Derived(
    __name__,
    of=(vendor_bars.bars, Input(adjustments, 1, None, makes="none")),
    many=True,
    doc="A day of an instrument: bars nobody has adjusted come before adjusted ones, then sources by name.",
    owner="market-data",
    key=("instrument_id", "date"),
    storage_partition="year",
    columns=(
        INSTRUMENT_ID,
        Column("symbol", Text, "As the source printed it on that date."),
        Column("date", Date, "The bar's local date."),
        Column("open", Price, "As printed, as are the others; times a factor it is comparable with the newest.", null=True),
        Column("high", Price, "Highest price.", null=True),
        Column("low", Price, "Lowest price.", null=True),
        Column("close", Price, "Last price.", null=True),
        Column("volume", Size, "As printed; divided by split_factor it is comparable.", null=True, minimum=0),
        Column("split_factor", Price, "By which prices are multiplied for later splits; volumes are divided by it."),
        Column("total_factor", Price, "By which prices are multiplied for later splits and dividends."),
        Column("adj_close", Price, "close x total_factor.", null=True),
        SOURCE,
        Column("venue", Text, "Exchange or tape; `unknown` where the file does not say."),
        Column("adjustment", Text, "What the source had adjusted its prices for already.", allowed=tuple(ADJUSTED_LAST)),
        Column("event_time", Timestamp, "The bar's start, UTC."),
        Column("known_at", Timestamp, "When the bar, and all actions in its factors, were known, UTC."),
        PARTITION_DATE,
    ),
    checks=(Rows("factors_above_zero", (pl.col("total_factor") <= 0) | (pl.col("split_factor") <= 0), "with a factor not above 0", ("symbol", "date")),),
)


@daily_adjusted.build
def build(bars: pl.LazyFrame, later: pl.LazyFrame) -> pl.LazyFrame:
    factors = [pl.col(c).cast(pl.Float64).cum_prod().over(SERIES) for c in ("split_factor", "dividend_factor")]
    back = later.select(*SERIES, "ex_date", "split_factor", "dividend_factor", acted_at="known_at").sort("ex_date", descending=True)
    steps = back.with_columns(*factors, pl.col("acted_at").cum_max().over(SERIES)).sort("ex_date")
    order = pl.col("adjustment").replace_strict(ADJUSTED_LAST, [0, 1, 2], return_dtype=pl.Int8)
    best = daily(bars).sort(order, "source", maintain_order=True).unique(["instrument_id", "partition_date"], keep="first", maintain_order=True)
    joined = best.sort("partition_date").join_asof(
        steps, left_on="partition_date", right_on="ex_date", by=list(SERIES), strategy="forward", allow_exact_matches=False,
        check_sortedness=False,
    )  # fmt: skip
    for_splits = pl.when(pl.col("adjustment") == "raw").then(pl.col("split_factor").fill_null(1.0)).otherwise(1.0)
    for_dividends = pl.when(pl.col("adjustment") != "total").then(pl.col("dividend_factor").fill_null(1.0)).otherwise(1.0)
    return (
        joined.with_columns(
            date="partition_date",
            split_factor=factor(for_splits),
            total_factor=factor(for_splits * for_dividends),
            known_at=pl.max_horizontal("known_at", "acted_at"),
        )
        .with_columns(adj_close=pl.col("close") * pl.col("total_factor"))
        .sort("date", "instrument_id")
    )
