"""Coinbase Pro (websocket feed of api.pro.coinbase.com, now Coinbase Exchange): what its messages say.

Here: match, last_match, ticker, snapshot, l2update. Not here: the full order feed, status, heartbeats.
Format: https://docs.cdp.coinbase.com/exchange/docs/websocket-channels
"""

import polars as pl

from quantlake.exchanges import rows
from quantlake.exchanges.parsing import fields, integer, iso, named, of_websocket

SOURCE = "coinbase_pro"
VENUE = "coinbase"


def channel(payload: pl.Expr) -> pl.Expr:
    """The kind of message; the feed names no channel."""
    return named(payload, "$.type")


def trades(messages: pl.DataFrame) -> pl.DataFrame:
    """match, and the last_match that opens a subscription; their ``side`` is the maker's, the aggressor's is the other."""
    keys = ("type", "product_id", "time", "trade_id", "price", "size", "side", "sequence")
    found = fields(of_websocket(messages, "match"), {k: f"$.{k}" for k in keys}).filter(
        pl.col("type").is_in(["match", "last_match"])
    )
    return rows.trades(
        found.with_columns(
            symbol="product_id",
            event_time=iso(pl.col("time")),
            size_unit=pl.lit("base"),
            side=rows.sided(pl.col("side"), rows.OPPOSITE),
            is_snapshot=pl.col("type") == "last_match",
            sequence=integer(pl.col("sequence")),
        )
    )


def quotes(messages: pl.DataFrame) -> pl.DataFrame:
    """ticker: the best bid and offer after a trade; sizes only in newer messages."""
    keys = ("type", "product_id", "time", "best_bid", "best_bid_size", "best_ask", "best_ask_size", "sequence")
    found = fields(of_websocket(messages, "ticker"), {k: f"$.{k}" for k in keys}).filter(pl.col("type") == "ticker")
    return rows.quotes(
        found.with_columns(
            symbol="product_id",
            event_time=iso(pl.col("time")),
            bid_price="best_bid",
            bid_size="best_bid_size",
            ask_price="best_ask",
            ask_size="best_ask_size",
            size_unit=pl.lit("base"),
            sequence=integer(pl.col("sequence")),
        )
    )


def book_deltas(messages: pl.DataFrame) -> pl.DataFrame:
    """snapshot (bids before asks), then l2update in the order of its changes; neither has an id."""
    texts = {"type": "$.type", "symbol": "$.product_id", "time": "$.time"}
    snapshots = fields(of_websocket(messages, "snapshot"), texts, {"bids": "$.bids", "asks": "$.asks"})
    updates = fields(of_websocket(messages, "l2update"), texts, {"changes": "$.changes"})
    books = pl.concat(
        [snapshots.filter(pl.col("type") == "snapshot"), updates.filter(pl.col("type") == "l2update")], how="diagonal"
    ).with_columns(event_time=iso(pl.col("time")), is_snapshot=pl.col("type") == "snapshot")
    return rows.book_deltas(
        books, [rows.pairs(books, "bids", "bid"), rows.pairs(books, "asks", "ask"), rows.changes(books, "changes")]
    )
