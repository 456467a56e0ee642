"""Books at the end of a day: what the next day's books begin from, where no snapshot opens it.

Here: what of a book is kept over midnight. Not here: how changes make a book (quantlake/exchanges/books.py).
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, Derived, Integer, Price, Size, Text, TextList, Timestamp
from quantlake.datasets.market import common
from quantlake.datasets.market.book_deltas import deltas
from quantlake.datasets.reference import symbol_map
from quantlake.exchanges import books

book_close = Derived(
    __name__,
    of=(deltas,),
    carries=True,
    doc="A level of a book that stood in order when its UTC date ended; a book without levels has one row of nulls.",
    owner="market-data",
    key=("source", "venue", "symbol", "connection_id", "level"),
    columns=(
        Column("source", Text, "Who sent it."),
        Column("venue", Text, "The exchange, lower case."),
        Column("symbol", Text, "As the source prints it."),
        Column("connection_id", Text, "The connection whose book it is."),
        Column("level", Integer, "Number of the level in its book, asks first, then bids, by price, from 0."),
        Column("side", Text, "Null where the book is empty.", null=True, allowed=("bid", "ask")),
        Column("price", Price, "In the quote currency.", null=True),
        Column("size", Size, "The level's whole size.", null=True),
        Column("level_id", Text, "The venue's own id of the level.", null=True),
        Column("price_text", Text, "As sent, where a checksum is over the text.", null=True),
        Column("size_text", Text, "As sent, where a checksum is over the text.", null=True),
        Column("depth", Integer, "Levels a side that the venue keeps; null: all.", null=True),
        Column("last_update_id", Integer, "Of the last message that counted.", null=True),
        common.INSTRUMENT_ID,
        Column("known_at", Timestamp, "When the book's last message was received."),
        PARTITION_DATE,
        Column("flags", TextList, "Nothing yet.", null=True),
    ),
)


@book_close.build
def build(deltas: pl.LazyFrame, opening: pl.LazyFrame) -> pl.LazyFrame:
    changes = deltas.collect()
    if not changes.height:
        return pl.LazyFrame(schema=pl.DataFrame(book_close.spec.arrow.empty_table()).schema)
    closing = books.replay(changes, opening.collect()).closing
    return symbol_map.with_their_instruments(closing.lazy(), deltas, opening).with_columns(
        level=pl.int_range(pl.len()).over(books.BOOK),
        partition_date=pl.lit(changes["partition_date"][0]),
        flags=pl.lit([], pl.List(pl.String)),
    )
