"""Binance spot, version 3: what its streams and its REST depth say.

Here: aggTrade, bookTicker, depth updates and snapshots. Not here: klines, partial depth, and the stream ``trade``, whose ids are
others than aggTrade's. Streams come combined (``{"stream": ..., "data": {...}}``) or bare.
Format: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

import polars as pl

from quantlake.exchanges import rows
from quantlake.exchanges.parsing import Paths, fields, integer, milliseconds, named, of_rest, of_websocket

SOURCE = "binance_v3"
VENUE = "binance"

DEPTH_OF = r"^/api/v3/depth\?(?:.*&)?symbol=([^&]+)"


def channel(payload: pl.Expr) -> pl.Expr:
    """The stream; of a bare one the event's kind."""
    return named(payload, "$.stream", "$.e")


def trades(messages: pl.DataFrame) -> pl.DataFrame:
    """aggTrade: a taker order's fills at one price. ``m``, the buyer is the maker: the aggressor sells."""
    found = fields(of_websocket(messages, "aggTrade"), _of_event("esapqflTm")).filter(pl.col("e") == "aggTrade")
    return rows.trades(
        found.with_columns(
            symbol="s",
            event_time=milliseconds(pl.col("T")),
            trade_id="a",
            price="p",
            size="q",
            size_unit=pl.lit("base"),
            side=rows.sided(pl.col("m"), {"true": "sell", "false": "buy"}),
            is_snapshot=pl.lit(False),
            first_trade_id=integer(pl.col("f")),
            last_trade_id=integer(pl.col("l")),
        )
    )


def quotes(messages: pl.DataFrame) -> pl.DataFrame:
    """bookTicker, which has no time and no kind; ``u`` is the book's update id."""
    found = fields(of_websocket(messages, '"B"'), _of_event("esubBaA")).filter(
        pl.col("e").fill_null("bookTicker") == "bookTicker", pl.col("u", "B", "A").is_not_null()
    )
    return rows.quotes(
        found.with_columns(
            symbol="s", update_id="u", bid_price="b", bid_size="B", ask_price="a", ask_size="A", size_unit=pl.lit("base")
        )
    )


def book_deltas(messages: pl.DataFrame) -> pl.DataFrame:
    """Depth updates (U, u), and REST depth (lastUpdateId, no time), whose symbol is the request's; bids before asks."""
    updates = fields(of_websocket(messages, "depthUpdate"), _of_event("esEUu"), {"bids": _place("b"), "asks": _place("a")})
    asked = of_rest(messages, DEPTH_OF)
    snapshots = fields(asked, {"u": "$.lastUpdateId"}, {"bids": "$.bids", "asks": "$.asks"})
    books = pl.concat(
        [
            updates.filter(pl.col("e") == "depthUpdate").with_columns(symbol="s", is_snapshot=pl.lit(False)),
            snapshots.filter(pl.col("u").is_not_null())
            .join(asked.select("row", "symbol"), on="row")
            .with_columns(is_snapshot=pl.lit(True)),
        ],
        how="diagonal",
    ).with_columns(
        event_time=milliseconds(pl.col("E")), first_update_id=integer(pl.col("U")), last_update_id=integer(pl.col("u"))
    )
    return rows.book_deltas(books, [rows.pairs(books, "bids", "bid"), rows.pairs(books, "asks", "ask")])


def _of_event(keys: str) -> dict[str, Paths]:
    return {key: _place(key) for key in keys}


def _place(key: str) -> Paths:
    return (f"$.data.{key}", f"$.{key}")
