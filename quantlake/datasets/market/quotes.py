"""Quotes: the best bid and offer whenever either changes; on the wire in Protobuf, as many feeds send them.

Here: what a quote is, how one is identified, what is odd about one. Not here: trades, books, what a venue's message says
(quantlake/exchanges), or which format a source has.
"""

import polars as pl

from quantlake import exchanges
from quantlake.contract import (
    PARTITION_DATE,
    SOURCE_COLUMNS,
    Boolean,
    Column,
    Integer,
    Price,
    Rows,
    Size,
    Stream,
    Table,
    Text,
    Timestamp,
)
from quantlake.datasets.market import common, exchange_messages
from quantlake.datasets.reference import symbol_map

COLUMNS = (
    Column("symbol", Text, "As the source prints it."),
    Column("venue", Text, "Exchange or consolidated tape, lower case: `usa`, `coinbase`."),
    Column("update_id", Text, "The venue's own id of the change; null where it has none.", null=True),
    Column("bid_price", Price, "In the quote currency, unadjusted; null: nobody bids, or the row is of the other side alone.", null=True),
    Column("bid_size", Size, "In `size_unit`; null where the source has none.", null=True, minimum=0),
    Column("ask_price", Price, "In the quote currency, unadjusted; null: nobody offers, or the row is of the other side alone.", null=True),
    Column("ask_size", Size, "In `size_unit`; null where the source has none.", null=True, minimum=0),
    Column("quote_condition", Text, "As printed.", null=True),
    Column("event_time", Timestamp, "When it was quoted, UTC."),
    Column("known_at", Timestamp, "When it could first be known, UTC."),
    PARTITION_DATE,
    *SOURCE_COLUMNS,
    *common.AT_SOURCE,  # Protobuf numbers columns by their place: new ones go last
    common.SIZE_UNIT,
    Column("exchange", Text, "Quoting exchange's code as printed, where the venue is a consolidated tape.", null=True),
    Column("suspicious", Boolean, "Whether the source itself says so.", null=True),
    Column("sequence", Integer, "The feed's own number of the message, where it has one.", null=True),
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
    sessions=common.XNYS,
    columns=COLUMNS,
    key=("venue", "symbol", "update_id"),
)


@raw.fill
def complete(quotes: pl.DataFrame) -> pl.DataFrame:
    return quotes.with_columns(pl.col("partition_date").fill_null(common.session_date()))


quotes = Table(
    __name__,
    of=(raw, exchange_messages.raw),
    looks_up=(symbol_map.LOOKED_UP,),
    doc="A quote, once: corrections are versions of their key; byte-identical quotes of a file are different quotes.",
    owner="market-data",
    key=("venue", "symbol", "update_id"),
    fallback_key=("source_name", "line_number", "item_index"),
    sort_by=("symbol", "event_time"),
    columns=(
        *COLUMNS,
        common.flags(
            "`crossed` (the bid is above the ask), `locked` (they are equal); `suspicious`; `out_of_order`; `clock_skew` (known over 1 s before it "
            "happened); `outside_window`"
        ),
        common.INSTRUMENT_ID,
    ),
    checks=(
        Rows(
            "price_above_zero",
            ((pl.col("bid_price") <= 0) | (pl.col("ask_price") <= 0)) & pl.col("size_unit").ne_missing("contracts"),
            "with a price not above 0",
            ("symbol", "bid_price", "ask_price"),
        ),
        Rows("not_crossed", pl.col("bid_price") >= pl.col("ask_price"), "crossed or locked", ("venue", "bid_price", "ask_price"), blocking=False),
        common.IN_ORDER,
        common.CLOCK,
    ),
)


@quotes.build
def curate(received: pl.LazyFrame, messages: pl.LazyFrame, mapped: pl.LazyFrame) -> pl.LazyFrame:
    of_files = received.with_columns(item_index=common.first_item(), outside_window=pl.lit(False))
    whole = pl.concat([of_files, exchanges.quotes(messages)], how="diagonal_relaxed")
    odd = {
        "crossed": pl.col("bid_price") > pl.col("ask_price"),
        "locked": pl.col("bid_price") == pl.col("ask_price"),
        "suspicious": pl.col("suspicious"),
        "outside_window": pl.col("outside_window"),
        "out_of_order": common.out_of_order(),
    }
    return symbol_map.with_instruments(whole.with_columns(flags=common.flagged(odd)), mapped)
