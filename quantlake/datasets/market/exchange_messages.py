"""Exchange messages: what a venue's websocket or REST endpoint sent, byte for byte, before anyone read it.

Here: what a message is. Not here: what it says (quantlake/exchanges, by venue), what is built from it (trades, quotes, book_deltas).
"""

import polars as pl

from quantlake import exchanges
from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Column, Stream, Text, Timestamp

raw = Stream(
    __name__,
    doc="A message as an exchange sent it.",
    owner="market-data",
    topic="market.exchange_messages.v1",
    topic_partitions=4,
    message_key="connection_id",
    files="log",
    spill_days=exchanges.SPILL_DAYS,  # Gemini sends trades of up to ten days before with a book; these keep the message's date
    columns=(
        Column("source", Text, "Who sent it, and by which version of its interface: `binance_v3`, `coinbase_pro`, `bybit_v2`."),
        Column("venue", Text, "The exchange, lower case: `binance`."),
        Column("channel", Text, "As the message names it: `nknusdt@depth@100ms`, `book-1000`; of REST the path and query.", null=True),
        Column("url", Text, "The endpoint it came from; null where a capture does not say.", null=True),
        Column("transport", Text, "How it came.", allowed=("websocket", "rest")),
        Column("connection_id", Text, "One connection; its messages are ordered by `line_number`."),
        Column("message_key", Text, "`source_name:line_number` of a capture; live: connection id and counter."),
        Column("receive_time", Timestamp, "When it was received, UTC, by the receiver's clock."),
        Column("known_at", Timestamp, "The same."),
        Column("payload", Text, "The message, verbatim."),
        PARTITION_DATE,
        *SOURCE_COLUMNS,
    ),
    key=("message_key",),
)


@raw.fill
def complete(messages: pl.DataFrame) -> pl.DataFrame:
    """The UTC date of receipt."""
    received = pl.col("receive_time")
    return messages.with_columns(pl.col("partition_date").fill_null(received.dt.date()), pl.col("known_at").fill_null(received))
