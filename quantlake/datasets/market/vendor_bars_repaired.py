"""Vendors' bars as their findings say they should be: only those with something to repair; all others stand in ``vendor_bars``.

Here: what is put in place of what. Not here: what is wrong (vendor_bar_findings), adjusted closes: a repaired dividend changes the factors of
all dates before, which daily_adjusted makes anew.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, Derived, Input, Integer, Text, TextList, Timestamp
from quantlake.datasets.market import vendor_bars
from quantlake.datasets.market.vendor_bar_findings import vendor_bar_findings
from quantlake.datasets.market.vendor_series import AT, PRICES

REPAIRED = (*PRICES, "dividend")

vendor_bars_repaired = Derived(
    __name__,
    of=(vendor_bar_findings, Input(vendor_bars.bars, makes="none")),
    many=True,
    rare=True,
    doc="A vendor's bar with what is expected in place of what is wrong, to 6 digits.",
    owner="market-data",
    key=AT,
    storage_partition="year",
    columns=(
        *vendor_bars.BAR,
        vendor_bars.DIVIDEND,
        vendor_bars.SPLIT_RATIO,
        vendor_bars.CAPITAL_GAIN,
        Column("repaired", TextList, "The columns that are not as printed."),
        Column("event_time", Timestamp, "The bar's start, UTC."),
        Column("known_at", Timestamp, "When the bar and all that is wrong with it was known, UTC."),
        PARTITION_DATE,
        Column("source_name", Text, "The bar's file.", null=True, provenance=True),
        Column("line_number", Integer, "Its record there.", null=True, provenance=True),
    ),
)


@vendor_bars_repaired.build
def build(findings: pl.LazyFrame, bars: pl.LazyFrame) -> pl.LazyFrame:
    """Of two rules that expect different values of a column the first by name counts."""
    repairs = (
        findings.filter(pl.col("column").is_in(REPAIRED) & pl.col("expected").is_not_null())
        .sort("rule")
        .group_by(AT)
        .agg(
            *(pl.col("expected").filter(pl.col("column") == c).first().alias(f"_{c}") for c in REPAIRED),
            repaired=pl.col("column").unique().sort(), found_at=pl.col("known_at").max(),
        )
    )  # fmt: skip
    trades = bars.filter(pl.col("price_type") == "trade")
    return (
        trades.join(repairs, on=AT)
        .with_columns(*(pl.coalesce(f"_{c}", c).alias(c) for c in REPAIRED), known_at=pl.max_horizontal("known_at", "found_at"))
        .sort(AT)
    )
