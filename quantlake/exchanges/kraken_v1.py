"""Kraken websocket, version 1: what its messages say.

Here: trade, ticker, book of any depth. Not here: ohlc, spread, own orders, events (status, heartbeat).
A message is a list: channel number, one dict or two, channel name, pair.
Format: https://docs.kraken.com/api/docs/websocket-v1/book
"""

import polars as pl

from quantlake.exchanges import rows
from quantlake.exchanges.parsing import Paths, fields, integer, named, of_websocket, seconds

SOURCE = "kraken_v1"
VENUE = "kraken"

NAME, PAIR = "$[#-2]", "$[#-1]"
BOOK = r"^book-([0-9]+)$"


def channel(payload: pl.Expr) -> pl.Expr:
    """The channel's name, with a book's depth; of a message without a channel its event."""
    return named(payload, NAME, "$.channelName", "$.event")


def trades(messages: pl.DataFrame) -> pl.DataFrame:
    """trade: one or more fills, which have no id; ``side`` is the aggressor's."""
    found = fields(of_websocket(messages, '"trade"'), {"name": NAME, "symbol": PAIR}, {"fills": "$[1]"}).filter(
        pl.col("name") == "trade"
    )
    fills = rows.exploded(found, "fills").with_columns(**rows.elements("fills", ("price", "size", "time", "side")))
    return rows.trades(
        fills.with_columns(
            event_time=seconds(pl.col("time")),
            size_unit=pl.lit("base"),
            side=rows.sided(pl.col("side"), rows.AGGRESSOR),
            is_snapshot=pl.lit(False),
        )
    )


def quotes(messages: pl.DataFrame) -> pl.DataFrame:
    """ticker, which has no time; of ``[price, whole lot volume, lot volume]`` the last is the size."""
    sides = {"bid_price": "$[1].b[0]", "bid_size": "$[1].b[2]", "ask_price": "$[1].a[0]", "ask_size": "$[1].a[2]"}
    found = fields(of_websocket(messages, '"ticker"'), {"name": NAME, "symbol": PAIR} | sides).filter(pl.col("name") == "ticker")
    return rows.quotes(found.with_columns(size_unit=pl.lit("base")))


def book_deltas(messages: pl.DataFrame) -> pl.DataFrame:
    """book: ``as`` and ``bs`` begin it, ``a`` and ``b``, in one dict or two, change it; the checksum ``c`` is of the whole message.

    Levels deeper than ``depth`` are dropped without a word. The time of a change is the latest of its levels', so that a message is of
    one time; a snapshot has none, since its levels' times are of when each changed last, hours or days before.
    """
    texts: dict[str, Paths] = {"name": NAME, "symbol": PAIR, "c": ("$[2].c", "$[1].c"), "as": "$[1].as", "bs": "$[1].bs"}
    sides: dict[str, Paths] = {
        "asks": ("$[1].as", "$[1].a"),
        "bids": ("$[1].bs", "$[1].b"),
        "more_asks": "$[2].a",
        "more_bids": "$[2].b",
    }
    books = (
        fields(of_websocket(messages, '"book-'), texts, sides)
        .with_columns(
            depth=integer(pl.col("name").str.extract(BOOK)),
            is_snapshot=pl.any_horizontal(pl.col("as", "bs").is_not_null()),
            checksum=integer(pl.col("c")),
        )
        .filter(pl.col("depth").is_not_null(), pl.any_horizontal(pl.col(*sides).is_not_null()))
    )
    levels = [_levels(books, column, column.removeprefix("more_").removesuffix("s")) for column in sides]
    times = pl.concat(levels).select("row", event_time=seconds(pl.col("time"))).group_by("row").max()
    changed = pl.when(~pl.col("is_snapshot")).then("event_time")
    return rows.book_deltas(books.join(times, on="row", how="left").with_columns(event_time=changed), levels)


def _levels(books: pl.DataFrame, column: str, side: str) -> pl.DataFrame:
    levels = rows.exploded(books.select("row", column), column).with_columns(**rows.elements(column, ("price", "size", "time")))
    return levels.select("row", "price", "size", "time", side=pl.lit(side), price_text="price", size_text="size")
