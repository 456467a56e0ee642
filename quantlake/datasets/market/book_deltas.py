"""Book deltas: what a venue's messages say of its order book, level by level, in the order of the messages.

Here: what a delta is. Not here: what a venue's message says (quantlake/exchanges), the books that follow (book_top, book_close).

Sizes are absolute, and 0 deletes. A message that begins a book is all `snapshot`; one that changes nothing has one row without a
level, since its update ids count. Repeats are real updates, so nothing is dropped by value.
"""

import polars as pl

from quantlake import exchanges
from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Column, Integer, Price, Rows, Size, Table, Text, Timestamp
from quantlake.datasets.market import common, exchange_messages
from quantlake.datasets.reference import symbol_map

COLUMNS = (
    Column("source", Text, "Who sent it.", provenance=True),
    Column("venue", Text, "The exchange, lower case."),
    Column("symbol", Text, "As the source prints it."),
    common.INSTRUMENT_ID,
    Column("message_key", Text, "The message that it came in."),
    Column("item_index", Integer, "Number of the item in its message, from 0."),
    Column("connection_id", Text, "The connection of the message; REST snapshots have their own."),
    Column("action", Text, "`snapshot` begins the book anew; `delete` takes a level away.", allowed=("snapshot", "set", "delete")),
    Column("side", Text, "Null in a row without a level.", null=True, allowed=("bid", "ask")),
    Column("price", Price, "Null where the venue says only which level (`level_id`), or there is none.", null=True, above=0),
    Column("size", Size, "The level's whole size after the change; null of a deletion.", null=True, minimum=0),
    Column("level_id", Text, "The venue's own id of the level.", null=True),
    Column("first_update_id", Integer, "Of the message.", null=True),
    Column("last_update_id", Integer, "Of the message.", null=True),
    Column("checksum", Integer, "Of the book after the message, as sent.", null=True),
    Column("price_text", Text, "As sent, where a checksum is over the text.", null=True, provenance=True),
    Column("size_text", Text, "As sent, where a checksum is over the text.", null=True, provenance=True),
    Column("depth", Integer, "Levels a side that the venue keeps; deeper ones end unsaid. Null: all.", null=True),
    Column("event_time", Timestamp, "The exchange's time of the change, else that of receipt, UTC."),
    Column("known_at", Timestamp, "When it was received, UTC."),
    PARTITION_DATE,
    *SOURCE_COLUMNS,
    common.EVENT_TIME_NS,
    common.EVENT_TIME_SOURCE,
    common.RECEIVE_TIME,
    common.flags("`clock_skew` (received over 1 s before it happened); `outside_window`"),
)

level, side = pl.col("price").is_not_null() | pl.col("level_id").is_not_null(), pl.col("side").is_not_null()
unreadable = (side & ~level) | (~side & level) | (side & pl.col("size").is_null() & (pl.col("action") != "delete"))

deltas = Table(
    __name__,
    of=exchange_messages.raw,
    looks_up=(symbol_map.LOOKED_UP,),
    doc="A change of one level of a book, or of a snapshot's.",
    owner="market-data",
    key=("message_key", "item_index"),
    sort_by=("venue", "symbol", "receive_time", "line_number", "item_index"),
    columns=COLUMNS,
    checks=(Rows("readable", unreadable, "without a side, a level or a size that can be read exactly", ("symbol", "message_key", "side", "price")),),
)


@deltas.build
def curate(messages: pl.LazyFrame, mapped: pl.LazyFrame) -> pl.LazyFrame:
    rows = exchanges.book_deltas(messages)
    return symbol_map.with_instruments(rows.with_columns(flags=common.flagged({"outside_window": pl.col("outside_window")})), mapped)
