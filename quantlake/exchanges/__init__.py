"""What exchanges' messages say: a module a venue and version of its interface, pure functions over frames of messages.

Here: which module reads which source, and what all rows that come of messages have. Not here: landing, storage, live connections.

A module has ``SOURCE`` (as in the messages' column ``source``), ``VENUE``, ``channel(payload) -> pl.Expr`` (what a message names its
channel) and ``trades``, ``quotes``, ``book_deltas``: each takes the messages of its source (columns of
``raw/market/exchange_messages`` and ``row``, their number, in order of arrival) and returns a row an item with ``row``,
``item_index`` (Int64, its number among the message's items in that table), ``symbol``, ``event_time`` (null: the message says none),
``event_time_ns`` (null: no nanoseconds) and the table's own columns. What it cannot read it leaves out.
"""

from types import ModuleType
from typing import Literal

import polars as pl

from quantlake.exchanges import binance_v3, bitmex_v1, bitstamp_v2, bybit_v2, coinbase_pro, gemini_v2, kraken_v1

MODULES: dict[str, ModuleType] = {
    m.SOURCE: m for m in (binance_v3, bitmex_v1, bitstamp_v2, bybit_v2, coinbase_pro, gemini_v2, kraken_v1)
}
SPILL_DAYS = 1  # how far an item may lie off its message's date

OF_MESSAGE = (
    "source", "venue", "message_key", "connection_id", "receive_time", "partition_date", "source_name", "source_version", "source_records",
    "line_number",
)  # fmt: skip


def trades(messages: pl.LazyFrame) -> pl.LazyFrame:
    """The trades in messages, in their order; ``size_unit``, ``side`` (the aggressor's), ``is_snapshot`` among their columns."""
    return _rows(messages, "trades")


def quotes(messages: pl.LazyFrame) -> pl.LazyFrame:
    """The best bids and offers in messages, in their order."""
    return _rows(messages, "quotes")


def book_deltas(messages: pl.LazyFrame) -> pl.LazyFrame:
    """The changes of books in messages, in their order."""
    return _rows(messages, "book_deltas")


def _rows(messages: pl.LazyFrame, table: Literal["trades", "quotes", "book_deltas"]) -> pl.LazyFrame:
    """The rows of a table in all messages, with what they have of their message; a message that came twice counts once.

    ``partition_date`` is the UTC date of the event, or the message's where that is further off than ``SPILL_DAYS`` (``outside_window``).
    """
    once = messages.collect().unique(["message_key", "payload"], keep="first", maintain_order=True).with_row_index("row")
    parts: list[pl.DataFrame] = [
        getattr(MODULES[source], table)(own)
        for (source,), own in once.partition_by("source", as_dict=True, maintain_order=True).items()
        if source in MODULES
    ]
    if not any(part.height for part in parts):
        times = dict.fromkeys(("event_time", "known_at"), pl.Datetime("us", "UTC"))
        nothing = once.select(OF_MESSAGE).clear().lazy()
        return nothing.with_columns(outside_window=pl.lit(False), **{name: pl.lit(None, kind) for name, kind in times.items()})
    received, day = pl.col("receive_time"), pl.col("event_time").dt.date()
    off = (day - pl.col("partition_date")).abs() > pl.duration(days=SPILL_DAYS)
    rows: pl.DataFrame = (
        pl.concat(parts, how="diagonal_relaxed")
        .sort("row", maintain_order=True)
        .join(once.select("row", *OF_MESSAGE), on="row", how="left", maintain_order="left")
        .drop("row")
        .with_columns(
            event_time_source=pl.when(pl.col("event_time").is_null()).then(pl.lit("receive")).otherwise(pl.lit("exchange")),
            event_time=pl.coalesce("event_time", received),
            known_at=received,
        )
        .with_columns(outside_window=off, partition_date=pl.when(off).then("partition_date").otherwise(day))
    )
    return rows.lazy()
