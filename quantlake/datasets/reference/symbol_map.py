"""Symbols and the instruments they meant, from which day to which.

Here: validity of a symbol, and the instrument of rows as of their own day. Not here: formats, or what an instrument is.
A ticker is no identity: GOOG was Alphabet's class A until 2014-04-02 and is its class C since; TWX was AOL until 2003.
"""

from datetime import date

import polars as pl

from quantlake.contract import Column, Date, Rows, Stream, Table, Text
from quantlake.datasets.reference import common

OF = ("source", "venue", "symbol")
COLUMNS = (
    common.SOURCE,
    Column("venue", Text, "Exchange, market or consolidated tape, lower case."),
    Column("symbol", Text, "As the source prints it."),
    Column("valid_from", Date, "First local date on which it meant the instrument."),
    Column("valid_to", Date, "First local date on which it no longer did (exclusive); null: no end is known.", null=True),
    Column("instrument_id", Text, "The instrument."),
    *common.TIMES,
)

raw = Stream(
    __name__,
    doc="That a symbol meant an instrument from a date on; said again, with its end, once it has ended.",
    owner="reference-data",
    topic="reference.symbol_map.v1",
    message_key="symbol",
    files="complete",
    storage_partition="year",
    columns=COLUMNS,
    key=(*OF, "valid_from"),
)


@raw.fill
def complete(rows: pl.DataFrame) -> pl.DataFrame:
    return common.completed(rows, common.midnight("valid_from", "UTC"))


stands = pl.col("superseded_at").is_null()
end = pl.when(stands).then(pl.col("valid_to").fill_null(date.max)).otherwise(date.min)
earlier_end = end.cum_max().shift().over("partition_date", *OF, order_by="valid_from")

symbols = Table(
    __name__,
    of=raw,
    doc="What a symbol meant, and when: what ends it is a later version, so that no one knew a change before it came.",
    owner="reference-data",
    key=(*OF, "valid_from"),
    versions="across",
    sort_by=(*OF, "valid_from", "known_at"),
    storage_partition="year",
    columns=COLUMNS,
    checks=(
        Rows("validity", pl.col("valid_from") >= pl.col("valid_to"), "that end before they begin", (*OF, "valid_from", "valid_to")),
        Rows("overlapping_symbol_map", stands & (pl.col("valid_from") < earlier_end), "valid while an earlier one is", (*OF, "valid_from", "instrument_id")),
    ),
)


def with_instruments(rows: pl.LazyFrame, mapped: pl.LazyFrame, day: str = "partition_date") -> pl.LazyFrame:
    """``rows`` (with ``source``, ``venue``, ``symbol``) in their order, with the ``instrument_id`` as of each one's ``day``; null: unmapped.

    ``mapped``: this table's rows, one a key, as they are known; validities do not overlap.
    """
    valid = mapped.select(*OF, "valid_from", "valid_to", "instrument_id").sort("valid_from")
    numbered = rows.drop("instrument_id", strict=False).with_row_index("_row").sort(day)
    found = numbered.join_asof(valid, left_on=day, right_on="valid_from", by=list(OF), strategy="backward", check_sortedness=False)
    ended = pl.col(day) >= pl.col("valid_to")
    instrument = pl.when(ended.fill_null(False)).then(None).otherwise("instrument_id")
    return found.sort("_row").with_columns(instrument_id=instrument).drop("_row", "valid_from", "valid_to", strict=False)
