"""EDGAR's daily form index: what was filed on a date, by company.

Here: its lines. Not here: filings with their acceptance (filings.py). The index prints no acceptance time, and its date may be another
than that of the acceptance, so that its lines among the filings would count one twice; here they tell which filings are missing there.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Column, Stream, Table, Text, Timestamp
from quantlake.datasets.reference import common, sec

LINE = (
    sec.SOURCE,
    sec.ACCESSION,
    sec.CIK,
    Column("name", Text, "The company's or person's name as printed."),
    sec.FORM,
    sec.FILED,
    Column("document", Text, "Path of the whole filing under https://www.sec.gov/Archives/."),
    Column("known_at", Timestamp, "00:00 New York on the day after `filed`, UTC."),
    PARTITION_DATE,
    *SOURCE_COLUMNS,
)

raw = Stream(
    __name__,
    doc="A line of a daily form index.",
    owner="reference-data",
    topic="reference.filing_index.v1",
    message_key="accession",
    files="complete",
    storage_partition="year",
    columns=LINE,
    key=("accession", "cik"),
)


@raw.fill
def complete(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.with_columns(pl.col("known_at").fill_null(sec.day_after("filed")), pl.col("partition_date").fill_null(pl.col("filed")))


index = Table(
    __name__,
    of=raw,
    doc="A filing of a company by its filing date, once, however many lines of the index name it.",
    owner="reference-data",
    key=("accession", "cik"),
    sort_by=("form", "accession", "cik"),
    storage_partition="year",
    columns=(*LINE, Column("event_time", Timestamp, "00:00 New York of `filed`, UTC."), common.KNOWN_AT_PRECISION),
)


@index.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    return received.with_columns(event_time=common.midnight("filed"), known_at_precision=pl.lit("day"))
