"""Filings: what was filed with the SEC, and when it was accepted.

Here: what a filing is, and how what several lists say of one becomes one row. Not here: its parties by role (filing_parties.py), the
daily index, which has no acceptance (filing_index.py), the numbers filed (fundamentals.py).
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Column, Date, Stream, Table, Text, TextList, Timestamp
from quantlake.datasets.reference import common, sec

FILING = (
    sec.ACCESSION,
    sec.FORM,
    sec.FILED,
    sec.ACCEPTED_AT,
    Column("report_date", Date, "End of the period it reports on; null where there is none, or the source does not say.", null=True),
    Column("primary_document", Text, "File name of its main document; null where the source does not say.", null=True),
    Column("items", Text, "Items of an 8-K (`2.02,9.01`), exemptions of a D and the like, as the list has them; null: none.", null=True),
)
PLACED = Column("partition_date", Date, "UTC date of `accepted_at`; without it `filed`.")

raw = Stream(
    __name__,
    doc="A filing as one list names it: a company's submissions, or an entry of the current filings, which is of one party.",
    owner="reference-data",
    topic="reference.filings.v1",
    message_key="accession",
    files="log",
    storage_partition="year",
    columns=(
        sec.SOURCE,
        *FILING,
        Column("cik", Text, "Of the company whose submissions list it, or of the entry's party: ten digits.", null=True),
        Column("name", Text, "The party's name as printed.", null=True),
        Column("role", Text, "The party's role as the feed prints it, lower case: `filer`, `issuer`; null where the list has none.", null=True),
        Column("known_at", Timestamp, sec.KNOWN_AT.doc),
        PLACED,
        *SOURCE_COLUMNS,
    ),
    key=("accession", "cik", "role"),
)


@raw.fill
def complete(filings: pl.DataFrame) -> pl.DataFrame:
    known_at = pl.col("known_at").fill_null(pl.coalesce("accepted_at", sec.day_after("filed")))
    return filings.with_columns(known_at, pl.col("partition_date").fill_null(placed()))


def placed() -> pl.Expr:
    """The partition of a filing."""
    return pl.coalesce(pl.col("accepted_at").dt.date(), "filed")


filings = Table(
    __name__,
    of=raw,
    doc="A filing, once, whatever lists name it: the last that says something of a column has the word, none blanks another.",
    owner="reference-data",
    key=("accession",),
    sort_by=("known_at", "accession"),
    storage_partition="year",
    columns=(
        sec.SOURCE,
        *FILING,
        Column("ciks", TextList, "Of all parties that any list names, in order: ten digits each."),
        Column("event_time", Timestamp, "When it was accepted, else `known_at`."),
        sec.KNOWN_AT,
        common.KNOWN_AT_PRECISION,
        PARTITION_DATE,
        *SOURCE_COLUMNS,
    ),
)


@filings.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    """One version a filing: all that is said of it is known at its acceptance, so that of several none but the last could be seen."""
    said = [c for c in (sec.SOURCE, *FILING, *SOURCE_COLUMNS) if c is not sec.ACCESSION]
    folded = received.group_by("partition_date", "accession", maintain_order=True).agg(
        *(pl.col(c.name).drop_nulls().last() for c in said), ciks=pl.col("cik").drop_nulls().unique().sort(),
    )  # fmt: skip
    return folded.with_columns(sec.known("accepted_at", "filed")).with_columns(event_time=pl.coalesce("accepted_at", "known_at"))
