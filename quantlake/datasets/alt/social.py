"""Social messages: what people write about markets, their authors as hashes.

Here: what a message is, and how one is identified. Not here: formats, and how an author becomes a hash (sources/social.py).
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Column, Rows, Stream, Table, Text, TextList, Timestamp
from quantlake.datasets.alt import common
from quantlake.datasets.reference import symbol_map

KEY = ("source", "message_id")
MESSAGE = (
    Column("source", Text, "The service: `stocktwits`, `twitter`."),
    Column("message_id", Text, "The service's own id of the message."),
    Column("author_hash", Text, "HMAC-SHA256 of the author's id there, in hex, with a secret of this deployment."),
    Column("body", Text, "What it says, entities decoded; people named as `@user` or `user`."),
    Column("symbols", TextList, "Symbols the service tagged; in curated each once, sorted. May be empty."),
    Column("sentiment", Text, "The author's own word; null: none.", null=True, allowed=("bullish", "bearish")),
    Column("in_reply_to", Text, "The message_id it answers; null: none.", null=True),
    Column("reshare_of", Text, "The message_id it passes on; null: none.", null=True),
    Column("published_at", Timestamp, "When it was published, UTC."),
    Column("event_time", Timestamp, "The same."),
    Column("known_at", Timestamp, "When it could first be known, UTC."),
    PARTITION_DATE,
    *SOURCE_COLUMNS,
)

raw = Stream(
    __name__,
    doc="A social message as its service's interface gave it, without its author's name, handle and id.",
    owner="alt-data",
    topic="alt.social.v1",
    topic_partitions=4,
    message_key="message_id",
    files="log",
    columns=MESSAGE,
    key=KEY,
)


@raw.fill
def complete(messages: pl.DataFrame) -> pl.DataFrame:
    """The time of publication and its UTC date; no symbols where none are stated."""
    return messages.with_columns(
        pl.col("symbols").fill_null(pl.lit([], dtype=pl.List(pl.String))),
        pl.col("event_time").fill_null(pl.col("published_at")),
        pl.col("partition_date").fill_null(pl.col("published_at").dt.date()),
    )


social = Table(
    __name__,
    of=raw,
    looks_up=(symbol_map.LOOKED_UP,),
    doc="A social message, once: a changed text, sentiment or symbol is a version of its key.",
    owner="alt-data",
    key=KEY,
    sort_by=("source", "event_time", "message_id"),
    columns=(*MESSAGE, Column("instrument_ids", TextList, "Ours of its symbols, as of publication, sorted; empty where none is known.", null=True)),
    checks=(
        Rows("hashed", ~pl.col("author_hash").str.contains("^[0-9a-f]{64}$"), "whose author is no hash", ("message_id",)),
        common.IN_TIME,
        common.unmapped("symbols"),
    ),
)


@social.build
def curate(received: pl.LazyFrame, mapped: pl.LazyFrame) -> pl.LazyFrame:
    return common.with_instruments(received.with_columns(common.known_at(), pl.col("symbols").list.unique().list.sort()), mapped, "symbols")
