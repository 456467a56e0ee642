"""What a corporate action does to earlier prices: the factors of each ex-date, by its own close.

Here: factors of one ex-date. Not here: their product over later ones, and what a source has adjusted already (daily_adjusted); what the
actions are (corporate_actions).

A split of ``ratio`` new shares for an old one makes earlier prices 1 / ratio, a dividend close / (close + dividend), with the close of the
ex-date, or where there is no bar of it of the next: the rule of Quandl's WIKI prices. A bar takes the actions of its own source.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, Date, Derived, Input, Price, Rows, Size, Text, Timestamp
from quantlake.datasets.market import vendor_bars
from quantlake.datasets.reference import corporate_actions

SERIES = ("source", "instrument_id")
SOURCE = Column("source", Text, "Who published the bar and the action.")
INSTRUMENT_ID = Column("instrument_id", Text, "Ours; of a symbol that no map knows `<source>:<symbol>`.")
NEXT_BAR_DAYS = 31  # so long trading may be halted over an ex-date

adjustments = Derived(
    __name__,
    of=(Input(corporate_actions.actions, None, None, on="ex_date"), Input(vendor_bars.bars, 0, NEXT_BAR_DAYS, makes="none")),
    many=True,
    rare=True,
    doc="The factors of an ex-date.",
    owner="market-data",
    key=("source", "instrument_id", "ex_date"),
    storage_partition="year",
    columns=(
        SOURCE,
        INSTRUMENT_ID,
        Column("symbol", Text, "As the source printed it on that date.", null=True),
        Column("ex_date", Date, "First date without the dividend, or at the new number of shares."),
        Column("split_ratio", Size, "New shares for an old one; null: no split.", null=True, above=0),
        Column("dividend", Price, "Cash a share; null: none.", null=True),
        Column("close", Price, "Of the ex-date's bar, else of the next, as printed; null: there is none.", null=True),
        Column("split_factor", Price, "By which the split makes earlier prices comparable."),
        Column("dividend_factor", Price, "By which the dividend does; 1 where there is no close to weigh it by."),
        Column("event_time", Timestamp, "00:00 UTC of the ex-date."),
        Column("known_at", Timestamp, "When the actions, and the bar that a dividend is weighed by, were known, UTC."),
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
def build(actions: pl.LazyFrame, bars: pl.LazyFrame) -> pl.LazyFrame:
    standing = actions.filter((pl.col("status").fill_null("active") == "active") & pl.col("type").is_in(["split", "dividend"]))
    split, dividend = pl.col("type") == "split", (pl.col("type") == "dividend") & pl.col("amount").is_not_null()
    events = standing.group_by(*SERIES, "ex_date").agg(
        pl.col("symbol").drop_nulls().first(),
        ratio=pl.col("ratio").filter(split).cast(pl.Float64).product(), amount=pl.col("amount").filter(dividend).sum(),
        splits=split.sum(), dividends=dividend.sum(), acted_at=pl.col("known_at").max(),
    )  # fmt: skip
    closes = daily(bars).select(*SERIES, "close", bar_date="partition_date", closed_at="known_at").sort("bar_date")
    weighed = events.sort("ex_date").join_asof(
        closes, left_on="ex_date", right_on="bar_date", by=list(SERIES), strategy="forward", tolerance=f"{NEXT_BAR_DAYS}d", check_sortedness=False
    )
    close, amount, paid = pl.col("close").cast(pl.Float64), pl.col("amount").cast(pl.Float64), pl.col("dividends") > 0
    return weighed.with_columns(
        split_ratio=pl.when(pl.col("splits") > 0).then(factor("ratio")),
        dividend=pl.when(paid).then("amount"),
        split_factor=factor(pl.when(pl.col("splits") > 0).then(1 / pl.col("ratio")).otherwise(1.0)),
        dividend_factor=factor(pl.when(paid & (close > 0)).then(close / (close + amount)).otherwise(1.0)),
        event_time=pl.col("ex_date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        known_at=pl.max_horizontal("acted_at", pl.when(paid).then("closed_at")),
        partition_date="ex_date",
    ).sort(*SERIES, "ex_date")


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
