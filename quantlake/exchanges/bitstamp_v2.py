"""Bitstamp, version 2: what its channels and its REST order book say.

Here: live_trades, diff_order_book, REST order_book. Not here: the channels order_book and detail_order_book (whole books of 100
levels, which would overwrite the deeper one), live_orders.
The symbol is the end of the channel's name, or of the request's path.
Format: https://www.bitstamp.net/websocket/v2/
"""

import polars as pl

from quantlake.exchanges import rows
from quantlake.exchanges.parsing import Paths, fields, integer, microseconds, named, of_rest, of_websocket

SOURCE = "bitstamp_v2"
VENUE = "bitstamp"

BOOK_OF = r"^/api/v2/order_book/([^/?]+)"


def channel(payload: pl.Expr) -> pl.Expr:
    """The channel."""
    return named(payload, "$.channel")


def trades(messages: pl.DataFrame) -> pl.DataFrame:
    """live_trades; ``type`` 0 is a buying aggressor, 1 a selling one. The numbers beside the texts of price and amount are floats."""
    texts: dict[str, Paths] = {"event": "$.event", "channel": "$.channel"}
    data: dict[str, Paths] = {key: f"$.data.{key}" for key in ("id", "microtimestamp", "type")}
    numbers: dict[str, Paths] = {"price": ("$.data.price_str", "$.data.price"), "size": ("$.data.amount_str", "$.data.amount")}
    found = fields(of_websocket(messages, "live_trades_"), texts | data | numbers)
    return rows.trades(
        found.filter(pl.col("event") == "trade").with_columns(
            symbol=pl.col("channel").str.extract("^live_trades_(.+)$"),
            event_time=microseconds(pl.col("microtimestamp")),
            trade_id="id",
            size_unit=pl.lit("base"),
            side=rows.sided(pl.col("type"), {"0": "buy", "1": "sell"}),
            is_snapshot=pl.lit(False),
        )
    )


def quotes(messages: pl.DataFrame) -> pl.DataFrame:
    """None: the feed has no ticker."""
    return rows.none(messages, rows.QUOTES)


def book_deltas(messages: pl.DataFrame) -> pl.DataFrame:
    """diff_order_book, and REST order_book as the snapshot; the microtimestamp of each is its last_update_id. Bids before asks."""
    updates = fields(
        of_websocket(messages, "diff_order_book_"),
        {"event": "$.event", "channel": "$.channel", "micros": "$.data.microtimestamp"},
        {"bids": "$.data.bids", "asks": "$.data.asks"},
    ).filter(pl.col("event") == "data")
    asked = of_rest(messages, BOOK_OF)
    snapshots = fields(asked, {"micros": "$.microtimestamp"}, {"bids": "$.bids", "asks": "$.asks"}).filter(
        pl.col("micros").is_not_null()
    )
    books = pl.concat(
        [
            updates.with_columns(symbol=pl.col("channel").str.extract("^diff_order_book_(.+)$"), is_snapshot=pl.lit(False)),
            snapshots.join(asked.select("row", "symbol"), on="row").with_columns(is_snapshot=pl.lit(True)),
        ],
        how="diagonal",
    ).with_columns(event_time=microseconds(pl.col("micros")), last_update_id=integer(pl.col("micros")))
    return rows.book_deltas(books, [rows.pairs(books, "bids", "bid"), rows.pairs(books, "asks", "ask")])
