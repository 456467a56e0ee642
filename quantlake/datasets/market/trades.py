"""Trades: every print of equities, futures and crypto in one schema.

Here: what a trade is, how one is identified, what is suspicious about one. Not here: bars, what a venue's message says
(quantlake/exchanges), which format a source has.
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
from quantlake.datasets.market.conditions import Policy, updates_ohlc, updates_volume
from quantlake.datasets.reference import symbol_map

SUSPICIOUS = "|suspicious"

COLUMNS = (
    Column("symbol", Text, "As the source prints it."),
    Column("venue", Text, "Exchange or consolidated tape, lower case: `usa`, `coinbase`."),
    Column("trade_id", Text, "The venue's own id; null where its files have none.", null=True),
    Column("price", Price, "In the quote currency, unadjusted."),
    Column("size", Size, "In `size_unit`; 0 is legal and flagged.", minimum=0),
    Column("side", Text, "The aggressor's side.", allowed=("buy", "sell", "unknown")),
    Column("exchange", Text, "Reporting exchange's code as printed, where the venue is a consolidated tape.", null=True),
    Column("conditions", Text, "Sale conditions as printed; LEAN's are a hexadecimal bit mask.", null=True),
    Column("event_time", Timestamp, "When it traded, UTC."),
    Column("known_at", Timestamp, "When it could first be known, UTC."),
    PARTITION_DATE,
    *SOURCE_COLUMNS,
    *common.AT_SOURCE,
    common.SIZE_UNIT,
    Column("suspicious", Boolean, "Whether the source itself says so.", null=True),
    Column("sequence", Integer, "The feed's own number of the message, where it has one.", null=True),
)

raw = Stream(
    __name__,
    doc="A trade as received.",
    owner="market-data",
    topic="market.trades.v1",
    topic_partitions=4,
    message_key="symbol",
    files="complete",
    sessions=common.XNYS,
    columns=COLUMNS,
    key=("venue", "symbol", "trade_id"),
)


@raw.fill
def complete(trades: pl.DataFrame) -> pl.DataFrame:
    """The session date: New York's for the US tape, UTC's elsewhere; an unstated side is unknown."""
    return trades.with_columns(pl.col("side").fill_null("unknown"), pl.col("partition_date").fill_null(common.session_date()))


trades = Table(
    __name__,
    of=(raw, exchange_messages.raw),
    looks_up=(symbol_map.LOOKED_UP,),
    doc="A trade, once: corrections are versions of their key; byte-identical prints of a file are different trades.",
    owner="market-data",
    key=("venue", "symbol", "trade_id"),
    fallback_key=("source_name", "line_number", "item_index"),
    sort_by=("symbol", "event_time"),
    columns=(
        *COLUMNS,
        common.flags(
            "`zero_size`; `suspicious` (the source says so); `out_of_order` (after a later one of its file); `clock_skew` (known over 1 s before it happened); `outside_window` (its "
            "message came more than a day off, and it keeps the message's date)"
        ),
        common.INSTRUMENT_ID,
        Column("first_trade_id", Integer, "Of an aggregate: its first trade's id.", null=True),
        Column("last_trade_id", Integer, "Of an aggregate: its last trade's id.", null=True),
        Column("updates_ohlc", Boolean, "Whether its price counts for bars, by the consolidated tape's rules.", null=True),
        Column("updates_volume", Boolean, "Whether its size counts for bars, by the consolidated tape's rules.", null=True),
        Column("is_snapshot", Boolean, "Whether it came as history at the start of a connection.", null=True, provenance=True),
    ),
    checks=(
        Rows("price_above_zero", (pl.col("price") <= 0) & pl.col("size_unit").ne_missing("contracts"), "not above 0", ("symbol", "price")),
        common.IN_ORDER,
        common.CLOCK,
    ),
)


@trades.build
def curate(received: pl.LazyFrame, messages: pl.LazyFrame, mapped: pl.LazyFrame) -> pl.LazyFrame:
    whole = pl.concat([_of_files(received), exchanges.trades(messages)], how="diagonal_relaxed")
    odd = {
        "zero_size": pl.col("size") == 0,
        "suspicious": pl.col("suspicious"),
        "outside_window": pl.col("outside_window"),
        "out_of_order": ~pl.col("is_snapshot").fill_null(False) & common.out_of_order(),
    }
    told = whole.with_columns(
        updates_ohlc=updates_ohlc(Policy.sip), updates_volume=updates_volume(Policy.sip), flags=common.flagged(odd)
    )
    return symbol_map.with_instruments(told, mapped)


def _of_files(received: pl.LazyFrame) -> pl.LazyFrame:
    """Older messages say that a trade is suspicious at the end of its conditions."""
    marked = pl.col("conditions").str.ends_with(SUSPICIOUS)
    plain = pl.col("conditions").str.strip_suffix(SUSPICIOUS).replace("", None)
    return received.with_columns(
        item_index=common.first_item(),
        suspicious=pl.coalesce(pl.col("suspicious"), marked.fill_null(False)),
        conditions=plain,
        outside_window=pl.lit(False),
        is_snapshot=pl.lit(None, pl.Boolean),
    )
