"""Gemini market data, version 2: what its messages say.

Here: l2_updates with the trades in them, trade. Not here: candles, auctions, heartbeats.
A symbol's first l2_updates on a connection is its snapshot. It alone has the key ``trades`` (an empty list too), which is how it is
known here: what came first cannot be seen in a part of a connection, such as a day of it.
Format: https://docs.gemini.com/websocket/market-data/v2/l2-data
"""

import polars as pl

from quantlake.exchanges import rows
from quantlake.exchanges.parsing import fields, milliseconds, named, of_websocket

SOURCE = "gemini_v2"
VENUE = "gemini"

KEYS = ("type", "symbol", "event_id", "timestamp", "price", "quantity", "side")
TRADES = rows.shape(*KEYS)


def channel(payload: pl.Expr) -> pl.Expr:
    """The kind of message; the feed names no channel."""
    return named(payload, "$.type")


def trades(messages: pl.DataFrame) -> pl.DataFrame:
    """trade, and the up to 50 of up to ten days before that a snapshot of the book has; ``side`` is the aggressor's."""
    single = fields(of_websocket(messages, "quantity"), {key: f"$.{key}" for key in KEYS}).filter(pl.col("type") == "trade")
    books = fields(
        of_websocket(messages, "trades"), {"kind": "$.type", "book": "$.symbol"}, {"trade": "$.trades"}, shape=TRADES
    ).filter(pl.col("kind") == "l2_updates")
    embedded = rows.exploded(books, "trade").unnest("trade").with_columns(pl.col("symbol").fill_null(pl.col("book")))
    found = pl.concat(
        [single.with_columns(is_snapshot=pl.lit(False)), embedded.with_columns(is_snapshot=pl.lit(True))], how="diagonal"
    )
    return rows.trades(
        found.sort("row", maintain_order=True).with_columns(
            event_time=milliseconds(pl.col("timestamp")),
            trade_id="event_id",
            size="quantity",
            size_unit=pl.lit("base"),
            side=rows.sided(pl.col("side"), rows.AGGRESSOR),
        )
    )


def quotes(messages: pl.DataFrame) -> pl.DataFrame:
    """None: the feed has no ticker."""
    return rows.none(messages, rows.QUOTES)


def book_deltas(messages: pl.DataFrame) -> pl.DataFrame:
    """l2_updates in the order of its changes, without a time; the one with ``trades`` begins the book."""
    books = (
        fields(
            of_websocket(messages, "l2_updates"),
            {"type": "$.type", "symbol": "$.symbol", "trades": "$.trades"},
            {"changes": "$.changes"},
        )
        .filter(pl.col("type") == "l2_updates")
        .with_columns(is_snapshot=pl.col("trades").is_not_null(), event_time=pl.lit(None))
    )
    return rows.book_deltas(books, [rows.changes(books, "changes")])
