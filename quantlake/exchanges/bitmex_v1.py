"""BitMEX, version 1: what its realtime tables say.

Here: trade, quote, orderBookL2 and orderBookL2_25. Not here: instruments, liquidations, answers to subscriptions, and values of indices
(``.BXBT``), which ``trade`` sends as trades without a size and all of one id.
Sizes count contracts.
Format: https://www.bitmex.com/app/wsAPI
"""

import polars as pl

from quantlake.exchanges import rows
from quantlake.exchanges.parsing import fields, iso, named, of_websocket

SOURCE = "bitmex_v1"
VENUE = "bitmex"

TRADE = rows.shape("timestamp", "symbol", "side", "size", "price", "trdMatchID")
QUOTE = rows.shape("timestamp", "symbol", "bidSize", "bidPrice", "askPrice", "askSize")
LEVEL = rows.shape("symbol", "id", "side", "size", "price", "timestamp")
BOOKS = ("orderBookL2", "orderBookL2_25")


def channel(payload: pl.Expr) -> pl.Expr:
    """The table; of an answer to a subscription what was subscribed."""
    return named(payload, "$.table", "$.subscribe")


def trades(messages: pl.DataFrame) -> pl.DataFrame:
    """trade: inserts, and the partial that opens a subscription; ``side`` is the aggressor's."""
    return rows.trades(
        _items(messages, "trade", TRADE).filter(~pl.col("symbol").str.starts_with(".")).with_columns(
            event_time=iso(pl.col("timestamp")),
            trade_id="trdMatchID",
            size_unit=pl.lit("contracts"),
            side=rows.sided(pl.col("side"), rows.AGGRESSOR),
            is_snapshot=pl.col("action") == "partial",
        )
    )


def quotes(messages: pl.DataFrame) -> pl.DataFrame:
    """quote: inserts and partials."""
    return rows.quotes(
        _items(messages, "quote", QUOTE).with_columns(
            event_time=iso(pl.col("timestamp")),
            bid_price="bidPrice",
            bid_size="bidSize",
            ask_price="askPrice",
            ask_size="askSize",
            size_unit=pl.lit("contracts"),
        )
    )


def book_deltas(messages: pl.DataFrame) -> pl.DataFrame:
    """partial begins the books of its symbols; update and delete have an id, whose price only the partial or the insert has said.

    What precedes a symbol's partial counts for nothing, but is here. The time, where one is sent, is the latest of a message's levels.
    """
    texts = {"table": "$.table", "action": "$.action", "filtered": "$.filter.symbol"}
    found = fields(of_websocket(messages, "orderBookL2"), texts, {"level": "$.data"}, shape=LEVEL).filter(
        pl.col("table").is_in(BOOKS), pl.col("action").is_in(["partial", "insert", "update", "delete"])
    )
    levels = rows.exploded(found, "level").unnest("level")
    times = levels.select("row", "symbol", event_time=iso(pl.col("timestamp"))).group_by("row", "symbol").max()
    said = levels.select("row", "symbol", "action").unique(maintain_order=True)
    empty = found.join(levels, on="row", how="anti").select("row", pl.col("filtered").alias("symbol"), "action")
    books = (
        pl.concat([said, empty])
        .join(times, on=["row", "symbol"], how="left")
        .with_columns(is_snapshot=pl.col("action") == "partial")
        .with_columns(event_time=pl.when(~pl.col("is_snapshot")).then("event_time"))
        .sort("row", maintain_order=True)
        .drop("action")
    )
    return rows.book_deltas(
        books,
        [
            levels.select(
                "row",
                "symbol",
                "price",
                "size",
                side=rows.sided(pl.col("side"), rows.BOOK_SIDE),
                level_id="id",
                is_delete=pl.col("action") == "delete",
            )
        ],
    )


def _items(messages: pl.DataFrame, table: str, shape: str) -> pl.DataFrame:
    texts = {"table": "$.table", "action": "$.action"}
    found = fields(of_websocket(messages, f'"{table}"'), texts, {"item": "$.data"}, shape=shape)
    wanted = (pl.col("table") == table) & pl.col("action").is_in(["partial", "insert"])
    return rows.exploded(found.filter(wanted), "item").unnest("item")
