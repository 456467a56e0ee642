"""What is wrong with vendors' daily and weekly bars: each finding with the row, the rule, and the value expected.

Here: which bars are judged, by which rules, and what a finding is. Not here: the rules (vendor_levels, vendor_payouts), repairs: the
bars stay as they came.

A rule compares a bar with others of its series, so what it says of a date changes with what comes later: the newest finding counts.
A finding is known when the last bar was that is part of its evidence.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, Derived, Input, Integer, Price, Rows, Text, Timestamp
from quantlake.datasets.market import vendor_bars, vendor_levels, vendor_payouts
from quantlake.datasets.market.vendor_series import AT, LOOKS_BACK_DAYS, measured

RULES = {
    "unit_100x": "with a price a hundred times, or a hundredth of, what other bars or its others say",
    "split_unapplied": "with a price that a split was applied to once too often, or not at all",
    "dividend_100x": "with a dividend a hundred times, or a hundredth of, what was paid",
    "dividend_twice": "with a dividend that another date has already",
    "dividend_missing": "without the dividend that its adjusted close is adjusted for",
    "dividend_not_split_adjusted": "with a dividend in shares of before its split",
    "dividend_not_adjusted": "with a dividend that no adjusted close before is adjusted for",
    "dividend_adjusted_100x": "with a dividend that adjusted closes before are adjusted for in another unit",
    "dividend_adjustment": "with a dividend that adjusted closes before are adjusted for by another amount",
    "capital_gain_counted_twice": "with a capital gain that adjusted closes before are adjusted for twice",
    "adj_close_no_number": "without the adjusted close that their neighbours have",
}
SHOWN = ("symbol", "bar_start", "column", "found", "expected", "detail")
AHEAD_DAYS = max(vendor_levels.AHEAD_DAYS + vendor_levels.EXCURSION_DAYS + vendor_levels.SPLIT_DAYS, vendor_payouts.AHEAD_DAYS) + 10
BACK_DAYS = vendor_payouts.BACK_DAYS + LOOKS_BACK_DAYS

vendor_bar_findings = Derived(
    __name__,
    of=(Input(vendor_bars.bars, -BACK_DAYS, AHEAD_DAYS),),
    many=True,
    rare=True,
    doc="Something wrong with a vendor's daily or weekly bar.",
    owner="market-data",
    key=(*AT, "rule", "column"),
    storage_partition="year",
    columns=(
        *(c for c in vendor_bars.BAR if c.name in AT),
        Column("rule", Text, "What found it; each is a check of that name.", allowed=tuple(RULES)),
        Column("column", Text, "What is wrong: a price, `dividend` or `adj_close`."),
        Column(
            "found", Price, "What stands there, exact; of `adj_close` the amount a share it is adjusted for on that date, to 6 digits.", null=True
        ),
        Column("expected", Price, "What should, in the same terms, to 6 digits; null where the rule cannot say.", null=True),
        Column("detail", Text, "The evidence."),
        Column("event_time", Timestamp, "The bar's start, UTC."),
        Column("known_at", Timestamp, "When the last bar was known that is part of the evidence."),
        PARTITION_DATE,
        Column("source_name", Text, "The bar's file.", null=True, provenance=True),
        Column("line_number", Integer, "Its record there.", null=True, provenance=True),
    ),
    checks=tuple(Rows(rule, pl.col("rule") == rule, fault, SHOWN, blocking=False) for rule, fault in RULES.items()),
)


@vendor_bar_findings.build
def build(bars: pl.LazyFrame) -> pl.LazyFrame:
    vendors = bars.filter(~pl.col("source").is_in(vendor_bars.JUDGED))
    found = findings(vendors)
    place = vendors.select(*AT, "price_type", "partition_date", "source_name", "line_number").filter(pl.col("price_type") == "trade")
    return found.lazy().join(place, on=AT).with_columns(event_time="bar_start").sort(vendor_bar_findings.key)


def findings(bars: pl.LazyFrame) -> pl.DataFrame:
    """What is wrong with daily and weekly bars of one or many series, in the columns of ``vendor_bars``: columns ``AT``, ``rule``,
    ``column``, ``found``, ``expected``, ``known_at``, ``detail``."""
    rows, of_prices = vendor_levels.findings(measured(bars))
    return pl.concat([of_prices, vendor_payouts.findings(rows)])
