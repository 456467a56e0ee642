"""What the tables of reference data share: where a row is from, when it could be known, and how sure that is.

Here: those columns, local midnights, what a producer may omit. Not here: datasets.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Column, Integer, Text, Timestamp

NEW_YORK = "America/New_York"

SOURCE = Column("source", Text, "Who said it: `lean`, `databento`, `exchange_calendars`.")
EVENT_TIME = Column("event_time", Timestamp, "When it took effect, UTC.")
KNOWN_AT = Column("known_at", Timestamp, "When it could first be known, UTC.")
KNOWN_AT_PRECISION = Column(
    "known_at_precision", Text,
    "How sure `known_at` is: the source's own instant, the start of the right day, or a rule's assumption.",
    allowed=("exact", "day", "assumed"),
)  # fmt: skip
ITEM_INDEX = Column("item_index", Integer, "Number of the item in its record, from 0.", null=True, provenance=True)
FILE_RECORDS = Column("file_records", Integer, "Records that version has on all dates.", null=True, provenance=True)
TIMES = (EVENT_TIME, KNOWN_AT, KNOWN_AT_PRECISION, PARTITION_DATE, *SOURCE_COLUMNS, ITEM_INDEX, FILE_RECORDS)


def midnight(day: str | pl.Expr, zone: str = NEW_YORK) -> pl.Expr:
    """00:00 of a date in a time zone, as UTC."""
    day = pl.col(day) if isinstance(day, str) else day
    return day.cast(pl.Datetime("us")).dt.replace_time_zone(zone, ambiguous="earliest").dt.convert_time_zone("UTC")


def completed(rows: pl.DataFrame, happened: pl.Expr) -> pl.DataFrame:
    """A bitemporal table's rows with what a producer may omit: ``event_time``, its precision, the UTC date of ``known_at``."""
    return rows.with_columns(
        pl.col("event_time").fill_null(happened),
        pl.col("known_at_precision").fill_null("exact"),
        pl.col("partition_date").fill_null(pl.col("known_at").dt.date()),
    )
