"""Tops of books: the best bid and offer after every message that counts, and whether the book is to be trusted.

Here: what a top says, and when it is kept back. Not here: how changes make a book (quantlake/exchanges/books.py).

Only Binance's ids prove that nothing is missing, and only Kraken sends checksums: elsewhere `synced` means that no gap could be
detected. A date begins with the books that the day before ended with; one that neither a snapshot nor that day opens is a `gap`.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Boolean, Column, Derived, Integer, Price, Rows, Size, Text, TextList, Timestamp
from quantlake.datasets.market import common
from quantlake.datasets.market.book_close import book_close
from quantlake.datasets.market.book_deltas import deltas
from quantlake.datasets.reference import symbol_map
from quantlake.exchanges import books

top = Derived(
    __name__,
    of=(deltas,),
    before=(book_close,),
    doc="The top of a book after a message.",
    owner="market-data",
    key=("message_key", "symbol"),
    columns=(
        Column("symbol", Text, "As the source prints it."),
        Column("venue", Text, "The exchange, lower case."),
        Column("message_key", Text, "The message that changed it."),
        Column("connection_id", Text, "The connection whose book it is."),
        Column("line_number", Integer, "The message's number in its connection.", null=True),
        Column("event_time", Timestamp, "The exchange's time of the change, else that of receipt, UTC."),
        Column("bid_price", Price, "Null where nobody bids, or the book is not to be trusted.", null=True),
        Column("bid_size", Size, "At that price.", null=True),
        Column("ask_price", Price, "Null where nobody offers, or the book is not to be trusted.", null=True),
        Column("ask_size", Size, "At that price.", null=True),
        Column("bid_levels", Integer, "How many levels stand.", null=True),
        Column("ask_levels", Integer, "How many levels stand.", null=True),
        Column("update_id", Integer, "The message's last update id.", null=True),
        Column("state", Text, "`gap`: something is missing; `invalid`: its checksum is wrong.", allowed=books.STATES),
        Column("checksum_ok", Boolean, "Whether the book is the venue's; null: none was sent.", null=True),
        common.INSTRUMENT_ID,
        Column("known_at", Timestamp, "When the message was received, UTC."),
        PARTITION_DATE,
        Column("flags", TextList, "`gap_not_detectable` (the venue sends neither ids nor checksums).", null=True),
    ),
    checks=(
        Rows("not_crossed", pl.col("state") == "crossed", "crossed", ("symbol", "bid_price", "ask_price"), quarantine=True, most=0.001),
        Rows("no_gap", pl.col("state") == "gap", "of a book with a gap", ("symbol", "message_key"), blocking=False),
        Rows("checksums", ~pl.col("checksum_ok"), "of another checksum than the venue's", ("symbol", "message_key"), blocking=False),
    ),
)
PROVEN = ("binance", "kraken")


@top.build
def build(deltas: pl.LazyFrame, opening: pl.LazyFrame) -> pl.LazyFrame:
    changes = deltas.collect()
    if not changes.height:
        return pl.LazyFrame(schema=pl.DataFrame(top.spec.arrow.empty_table()).schema)
    tops = books.replay(changes, opening.collect()).tops
    unproven = pl.when(~pl.col("venue").is_in(PROVEN)).then(pl.lit("gap_not_detectable"))
    return (
        symbol_map.with_their_instruments(tops.lazy(), deltas)
        .sort("venue", "symbol", "connection_id", "message")
        .with_columns(flags=pl.concat_list(unproven).list.drop_nulls())
    )
