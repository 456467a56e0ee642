"""Quotes: the best bid and offer whenever either changes; on the wire in Protobuf, as many feeds send them.

Here: what a quote is, how one is identified, what is odd about one. Not here: trades, books, or which format a source has.
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
from quantlake.datasets.market.trades import session_date

COLUMNS = (
    Column("symbol", Text, "As the source prints it."),
    Column("venue", Text, "Exchange or consolidated tape, lower case: `usa`, `coinbase`."),
    Column("update_id", Text, "The venue's own id of the change; null where it has none.", null=True),
    Column("bid_price", Price, "In the quote currency, unadjusted; null: nobody bids.", null=True, above=0),
    Column("bid_size", Size, "In shares or base currency.", null=True, minimum=0),
    Column("ask_price", Price, "In the quote currency, unadjusted; null: nobody offers.", null=True, above=0),
    Column("ask_size", Size, "In shares or base currency.", null=True, minimum=0),
    Column("quote_condition", Text, "As printed.", null=True),
    Column("event_time", Timestamp, "When it was quoted, UTC."),
    Column("known_at", Timestamp, "When it could first be known, UTC."),
    PARTITION_DATE,
    *SOURCE_COLUMNS,
)

raw = Stream(
    __name__,
    doc="A quote as received.",
    owner="market-data",
    topic="market.quotes.v1",
    topic_partitions=4,
    message_key="symbol",
    wire="protobuf",
    files="complete",
    sessions=Sessions("XNYS", "America/New_York", opens=time(9, 30), due=time(22, 0)),
    columns=COLUMNS,
    key=("venue", "symbol", "update_id"),
)


@raw.fill
def complete(quotes: pl.DataFrame) -> pl.DataFrame:
    return quotes.with_columns(pl.col("partition_date").fill_null(session_date()))


quotes = Table(
    __name__,
    of=raw,
    doc="A quote, once: corrections are versions of their key; byte-identical quotes of a file are different quotes.",
    owner="market-data",
    key=("venue", "symbol", "update_id"),
    fallback_key=("source_name", "line_number"),
    sort_by=("symbol", "event_time"),
    columns=(
        *COLUMNS,
        Column("flags", TextList, "What is odd about it: `crossed` (the bid is above the ask)."),
    ),
)


@quotes.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    crossed = pl.when(pl.col("bid_price") > pl.col("ask_price")).then(pl.lit("crossed"))
    return received.with_columns(flags=pl.concat_list(crossed).list.drop_nulls())
