"""Fundamentals: every number that companies reported to the SEC in XBRL, by the filing that reported it.

Here: what a fact is, and since when it could be known. Not here: which fact of a period to take (the view ``asof``), statements, ratios.
``fy`` and ``fp`` are the filing's, not the fact's, and ``frame`` marks one occurrence of several: select by ``start`` and ``end``.
Per-share facts that a split restates are restatements like others, not to be adjusted for the split again.
The facts: https://www.sec.gov/search-filings/edgar-application-programming-interfaces.
"""

import polars as pl

from quantlake.contract import (
    PARTITION_DATE,
    SOURCE_COLUMNS,
    Column,
    Date,
    Input,
    Integer,
    Ordered,
    Price,
    Rows,
    Stream,
    Table,
    Text,
    Timestamp,
    View,
)
from quantlake.datasets.reference import common, filings, sec

LATE_DAYS = 120  # a filing may be accepted long before the date that it is filed under: 86 days in recorded ones
PERIOD = ("cik", "taxonomy", "concept", "unit", "start", "end")
FACT = (
    sec.SOURCE,
    sec.CIK,
    Column("taxonomy", Text, "Of the concept: `us-gaap`, `dei`, `ifrs-full`."),
    Column("concept", Text, "XBRL name: `EarningsPerShareDiluted`."),
    Column("unit", Text, "Of the value: `USD`, `USD/shares`, `shares`, `pure`."),
    Column("start", Date, "First day of the period; null: the value is of one instant, `end`.", null=True),
    Column("end", Date, "Last day of the period, or the instant."),
)
REPORT = (
    Column("accn", Text, "Accession number of the filing that reported it."),
    Column("form", Text, "The filing's form type.", null=True),
    Column("fy", Integer, "Fiscal year of the filing, not of the fact.", null=True),
    Column("fp", Text, "Fiscal period of the filing, not of the fact: `FY`, `Q1`.", null=True),
    Column("frame", Text, "The SEC's mark on one occurrence of a period: `CY2009Q2I`.", null=True),
    sec.FILED,
)

raw = Stream(
    __name__,
    doc="A fact of a company's facts as the SEC lists them.",
    owner="reference-data",
    topic="reference.fundamentals.v1",
    topic_partitions=4,
    message_key="cik",
    files="log",
    storage_partition="year",
    columns=(
        *FACT,
        Column("value", Price, "As reported, in `unit`; null where the list has none.", null=True),
        *REPORT,
        Column("known_at", Timestamp, "00:00 New York on the day after `filed`, UTC: the list has no time."),
        PARTITION_DATE,
        *SOURCE_COLUMNS,
    ),
    key=(*PERIOD, "accn"),
)


@raw.fill
def complete(facts: pl.DataFrame) -> pl.DataFrame:
    return facts.with_columns(pl.col("known_at").fill_null(sec.day_after("filed")), pl.col("partition_date").fill_null(pl.col("filed")))


conflicting = (pl.col("value").n_unique() > 1).over("partition_date", *PERIOD)

facts = Table(
    __name__,
    of=raw,
    doc="A fact as one filing reported it; a restatement is a row of its own filing.",
    owner="reference-data",
    key=(*PERIOD, "accn"),
    fallback_key=("cik", "taxonomy", "concept", "unit", "end", "accn"),
    sort_by=(*PERIOD, "accn"),
    storage_partition="year",
    looks_up=(Input(filings.filings, -LATE_DAYS, 3),),
    views=(
        View(
            name="asof", per=PERIOD, newest=("known_at", "accn"), conflict=("value", "filed"),
            doc="Of each period the fact known last, of several the one of the greatest `accn`.",
        ),
    ),
    columns=(
        *FACT,
        Column("value", Price, "As reported, in `unit`."),
        *REPORT,
        Column("event_time", Timestamp, "00:00 UTC of `end`."),
        sec.KNOWN_AT,
        common.KNOWN_AT_PRECISION,
        PARTITION_DATE,
        *SOURCE_COLUMNS,
    ),
    checks=(
        Ordered("start", "end"),
        Rows("one_value_a_filed_date", conflicting, "with another value of the same period and filed date", (*PERIOD, "value", "accn"), blocking=False),
    ),
)


@facts.build
def curate(received: pl.LazyFrame, filed: pl.LazyFrame) -> pl.LazyFrame:
    """Known at the acceptance of the filing; by its date where the filings do not have it."""
    accepted = filed.group_by("accession").agg(pl.col("accepted_at").min())
    found = received.join(accepted, left_on="accn", right_on="accession", how="left", maintain_order="left")
    return found.with_columns(*sec.known("accepted_at", "filed"), event_time=pl.col("end").cast(pl.Datetime("us", "UTC")))
