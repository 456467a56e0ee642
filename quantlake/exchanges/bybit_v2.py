"""Bybit, version 2: what its public topics for inverse and linear contracts say.

Here: trade, orderBookL2_25, orderBook_200. Not here: klines, instrument_info, liquidations.
Linear contracts (``...USDT``) count base currency, inverse ones contracts of 1 USD.
Format: https://bybit-exchange.github.io/docs-legacy/futuresV2/inverse/#t-websocket
"""

import polars as pl

from quantlake.exchanges import rows
from quantlake.exchanges.parsing import fields, integer, microseconds, milliseconds, named, of_websocket

SOURCE = "bybit_v2"
VENUE = "bybit"

TRADE = rows.shape("symbol", "trade_time_ms", "trade_id", "price", "size", "side", "cross_seq")
LEVELS = rows.shape("price", "id", "side", "size")
CHANGES = "{" + ", ".join(f'"{part}": {LEVELS}' for part in ("delete", "update", "insert")) + "}"
BOOK = r"^orderBook(?:L2_[0-9]+|_[0-9]+\.[0-9]+ms)\.(.+)$"


def channel(payload: pl.Expr) -> pl.Expr:
    """The topic."""
    return named(payload, "$.topic")


def trades(messages: pl.DataFrame) -> pl.DataFrame:
    """trade: one or more fills; ``side`` is the aggressor's. Sequence: the cross sequence, which fills of one match share."""
    found = fields(of_websocket(messages, '"trade.'), {"topic": "$.topic"}, {"fill": "$.data"}, shape=TRADE)
    fills = rows.exploded(found.filter(pl.col("topic").str.starts_with("trade.")), "fill").unnest("fill")
    linear = pl.col("symbol").str.ends_with("USDT")
    return rows.trades(
        fills.with_columns(
            event_time=milliseconds(pl.col("trade_time_ms")),
            size_unit=pl.when(linear).then(pl.lit("base")).otherwise(pl.lit("contracts")),
            side=rows.sided(pl.col("side"), rows.AGGRESSOR),
            is_snapshot=pl.lit(False),
            sequence=integer(pl.col("cross_seq")),
        )
    )


def quotes(messages: pl.DataFrame) -> pl.DataFrame:
    """None: no topic has only the best bid and offer."""
    return rows.none(messages, rows.QUOTES)


def book_deltas(messages: pl.DataFrame) -> pl.DataFrame:
    """Snapshots (linear: under ``order_book``), and deltas: deletions, then updates, then insertions. ``level_id`` is the venue's.

    The cross sequence is ``last_update_id``; it rises but has gaps, and proves nothing.
    """
    books_of = of_websocket(messages, "orderBook")
    texts = {"topic": "$.topic", "type": "$.type", "micros": "$.timestamp_e6", "cross_seq": "$.cross_seq"}
    begun = fields(of_websocket(books_of, '"snapshot"'), texts, {"begun": ("$.data", "$.data.order_book")}, shape=LEVELS)
    changed = fields(of_websocket(books_of, '"delta"'), texts, {"changes": "$.data"}, shape=CHANGES).unnest("changes")
    books = pl.concat(
        [begun.filter(pl.col("type") == "snapshot"), changed.filter(pl.col("type") == "delta")], how="diagonal"
    ).with_columns(
        symbol=pl.col("topic").str.extract(BOOK),
        event_time=microseconds(pl.col("micros")),
        is_snapshot=pl.col("type") == "snapshot",
        last_update_id=integer(pl.col("cross_seq")),
    )
    return rows.book_deltas(books, [_levels(books, part) for part in ("begun", "delete", "update", "insert")])


def _levels(books: pl.DataFrame, part: str) -> pl.DataFrame:
    levels = rows.exploded(books.select("row", part), part).unnest(part)
    return levels.select(
        "row", "price", "size", side=rows.sided(pl.col("side"), rows.BOOK_SIDE), level_id="id", is_delete=pl.lit(part == "delete")
    )
