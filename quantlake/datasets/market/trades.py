"""Trades: every print of equities and crypto in one schema.

Here: what a trade is, how one is identified, what is suspicious about one. Not here: bars, or which format a source has.
"""

from datetime import time

import polars as pl

from quantlake.contract import (
    PARTITION_DATE,
    SOURCE_COLUMNS,
    Column,
    Price,
    Sessions,
    Size,
    Stream,
    Table,
    Text,
    TextList,
    Timestamp,
)

CONSOLIDATED_US = "usa"  # the consolidated tape, whose day is New York's

COLUMNS = (
    Column("symbol", Text, "As the source prints it."),
    Column("venue", Text, "Exchange or consolidated tape, lower case: `usa`, `coinbase`."),
    Column("trade_id", Text, "The venue's own id; null where its files have none.", null=True),
    Column("price", Price, "In the quote currency, unadjusted.", above=0),
    Column("size", Size, "In shares or base currency; 0 is legal and flagged.", minimum=0),
    Column("side", Text, "The aggressor's side.", allowed=("buy", "sell", "unknown")),
    Column("exchange", Text, "Reporting exchange's code as printed, where the venue is a consolidated tape.", null=True),
    Column("conditions", Text, "Sale conditions as printed; LEAN's are a hexadecimal bit mask.", null=True),
    Column("event_time", Timestamp, "When it traded, UTC."),
    Column("known_at", Timestamp, "When it could first be known, UTC."),
    PARTITION_DATE,
    *SOURCE_COLUMNS,
)

raw = Stream(
    __name__,
    doc="A trade as received.",
    owner="market-data",
    topic="market.trades.v1",
    topic_partitions=4,
    message_key="symbol",
    files="complete",
    sessions=Sessions("XNYS", "America/New_York", opens=time(9, 30), due=time(22, 0)),
    columns=COLUMNS,
    key=("venue", "symbol", "trade_id"),
)


@raw.fill
def complete(trades: pl.DataFrame) -> pl.DataFrame:
    """The session date: New York's for the US tape, UTC's elsewhere; an unstated side is unknown."""
    return trades.with_columns(pl.col("side").fill_null("unknown"), pl.col("partition_date").fill_null(session_date()))


def session_date() -> pl.Expr:
    """The date of a print by its ``venue`` and ``event_time``."""
    new_york = pl.col("event_time").dt.convert_time_zone("America/New_York").dt.date()
    return pl.when(pl.col("venue") == CONSOLIDATED_US).then(new_york).otherwise(pl.col("event_time").dt.date())


trades = Table(
    __name__,
    of=raw,
    doc="A trade, once: corrections are versions of their key; byte-identical prints of a file are different trades.",
    owner="market-data",
    key=("venue", "symbol", "trade_id"),
    fallback_key=("source_name", "line_number"),
    sort_by=("symbol", "event_time"),
    columns=(
        *COLUMNS,
        Column("flags", TextList, "What is odd about it: `zero_size`."),
    ),
)


@trades.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    zero = pl.when(pl.col("size") == 0).then(pl.lit("zero_size"))
    return received.with_columns(flags=pl.concat_list(zero).list.drop_nulls())
