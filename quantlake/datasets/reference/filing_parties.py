"""Who a filing is of: its filers, issuers, subjects and those who report.

Here: parties by role, as the feed of current filings prints them. Not here: lists that name no role (filings.py has their companies).
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Column, Table, Text, Timestamp
from quantlake.datasets.reference import filings, sec

parties = Table(
    __name__,
    of=filings.raw,
    doc="A party of a filing in one role, once, however many pages of the feed carried it.",
    owner="reference-data",
    key=("accession", "cik", "role"),
    sort_by=("known_at", "accession", "cik", "role"),
    storage_partition="year",
    columns=(
        sec.SOURCE,
        sec.ACCESSION,
        sec.CIK,
        Column("role", Text, "As the feed prints it, lower case: `filer`, `issuer`, `reporting`, `subject`, `filed by`."),
        Column("name", Text, "As printed with that filing.", null=True),
        Column("event_time", Timestamp, "When the filing was accepted."),
        sec.KNOWN_AT,
        PARTITION_DATE,
        *SOURCE_COLUMNS,
    ),
)


@parties.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    stated = pl.col("role").is_not_null() & pl.col("cik").is_not_null()
    return received.filter(stated).with_columns(event_time=pl.coalesce("accepted_at", "known_at"))
