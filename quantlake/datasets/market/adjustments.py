"""What a corporate action does to earlier prices: the factors of each ex-date, by its own close.

Here: factors of one ex-date. Not here: their product over later ones (daily_adjusted), what the actions are (corporate_actions).

A split of ``ratio`` new shares for an old one makes earlier prices 1 / ratio, a dividend close / (close + dividend), with the close of the
ex-date itself: the rule of Quandl's WIKI prices. Bars that their source has adjusted already, for splits or for both, are not adjusted
again. A bar takes the actions of its own source.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, Date, Derived, Input, Price, Rows, Size, Text, Timestamp
from quantlake.datasets.market import vendor_bars
from quantlake.datasets.reference import corporate_actions

SERIES = ("source", "instrument_id")
SOURCE = Column("source", Text, "Who published the bar and the action.")
INSTRUMENT_ID = Column("instrument_id", Text, "Ours; of a symbol that no map knows `<source>:<symbol>`.")
SPLIT_FACTOR = Column("split_factor", Price, "By which earlier prices are multiplied for splits; volumes are divided by it.")
TOTAL_FACTOR = Column("total_factor", Price, "By which earlier prices are multiplied for splits and dividends.")

adjustments = Derived(
    __name__,
    of=(vendor_bars.bars, Input(corporate_actions.actions, None, None, on="ex_date", makes="none")),
    many=True,
    rare=True,
    doc="The factors of an ex-date.",
    owner="market-data",
    key=("source", "instrument_id", "ex_date"),
    storage_partition="year",
    columns=(
        SOURCE,
        INSTRUMENT_ID,
        Column("symbol", Text, "As the source printed it on that date."),
        Column("ex_date", Date, "First date without the dividend, or at the new number of shares."),
        Column("split_ratio", Size, "New shares for an old one; null: no split.", null=True, above=0),
        Column("dividend", Price, "Cash a share; null: none.", null=True),
        Column("close", Price, "Of the ex-date, as printed.", null=True),
        SPLIT_FACTOR,
        TOTAL_FACTOR,
        Column("event_time", Timestamp, "Start of the ex-date's bar, UTC."),
        Column("known_at", Timestamp, "When bar and actions were known, UTC."),
        PARTITION_DATE,
    ),
    checks=(
        Rows(
            "dividend_counts", pl.col("dividend").is_not_null() & ~(pl.col("close") > 0).fill_null(False),
            "with a dividend, and no close above 0 to weigh it by", (*SERIES, "ex_date", "dividend"), blocking=False,
        ),
    ),
)  # fmt: skip


@adjustments.build
def build(bars: pl.LazyFrame, actions: pl.LazyFrame) -> pl.LazyFrame:
    standing = actions.filter((pl.col("status").fill_null("active") == "active") & pl.col("type").is_in(["split", "dividend"]))
    split, dividend = pl.col("type") == "split", pl.col("type") == "dividend"
    events = standing.group_by(*SERIES, partition_date="ex_date").agg(
        split_ratio=pl.col("ratio").filter(split).cast(pl.Float64).product(),
        dividend=pl.col("amount").filter(dividend & pl.col("amount").is_not_null()).sum(),
        splits=split.sum(), dividends=(dividend & pl.col("amount").is_not_null()).sum(), acted_at=pl.col("known_at").max(),
    )  # fmt: skip
    raw, paid = pl.col("adjustment") == "raw", pl.col("adjustment") != "total"
    close, amount = pl.col("close").cast(pl.Float64), pl.col("dividend").cast(pl.Float64)
    for_split = pl.when(raw & (pl.col("splits") > 0)).then(1 / pl.col("split_ratio")).otherwise(1.0)
    for_dividend = pl.when(paid & (pl.col("dividends") > 0) & (close > 0)).then(close / (close + amount)).otherwise(1.0)
    return (
        daily(bars)
        .drop("split_ratio", "dividend")  # as printed beside the bar
        .join(events, on=[*SERIES, "partition_date"])
        .with_columns(
            ex_date="partition_date",
            split_factor=factor(for_split), total_factor=factor(for_split * for_dividend),
            split_ratio=pl.when(pl.col("splits") > 0).then(factor("split_ratio")),
            dividend=pl.when(pl.col("dividends") > 0).then("dividend"),
            known_at=pl.max_horizontal("known_at", "acted_at"),
        )
        .sort(*SERIES, "ex_date")
    )  # fmt: skip


def daily(bars: pl.LazyFrame) -> pl.LazyFrame:
    """The daily bars of trades, one of a source's instrument and date: of several venues' that with most volume."""
    named = bars.filter((pl.col("interval") == "1d") & (pl.col("price_type") == "trade")).with_columns(
        instrument_id=pl.coalesce("instrument_id", pl.concat_str("source", pl.lit(":"), "symbol"))
    )
    largest = named.sort("volume", "venue", descending=[True, False], nulls_last=True)
    return largest.unique([*SERIES, "partition_date"], keep="first", maintain_order=True)


def factor(value: str | pl.Expr) -> pl.Expr:
    """A factor as a column holds it: 64-bit floats multiply them, whose error is below 1e-15 an action."""
    return (pl.col(value) if isinstance(value, str) else value).cast(pl.Decimal(38, 18))
