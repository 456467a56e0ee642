"""Open interest: how many contracts are open, whenever it was published.

Here: what such a figure is. Not here: bars of it (vendor_bars, price_type `open_interest`).
"""

from dataclasses import replace

import polars as pl

from quantlake.contract import PARTITION_DATE, SOURCE_COLUMNS, Column, Size, Stream, Table, Text, Timestamp
from quantlake.datasets.market import common
from quantlake.datasets.reference import symbol_map

COLUMNS = (
    Column("source", Text, "Who sent or kept it.", provenance=True),
    Column("venue", Text, "Exchange, lower case: `comex`."),
    Column("symbol", Text, "As the source prints it, with its contract month: `GC201312`."),
    Column("value", Size, "Open contracts.", minimum=0),
    Column("event_time", Timestamp, "When it was published, UTC."),
    Column("known_at", Timestamp, "When it could first be known, UTC."),
    PARTITION_DATE,
    *(replace(c, null=c.null and c.name != "line_number") for c in SOURCE_COLUMNS),
    common.EVENT_TIME_NS,
    common.EVENT_TIME_SOURCE,
    common.RECEIVE_TIME,
    replace(common.ITEM_INDEX, null=False),
)

raw = Stream(
    __name__,
    doc="An open interest as received.",
    owner="market-data",
    topic="market.open_interest.v1",
    message_key="symbol",
    files="complete",
    storage_partition="month",
    columns=COLUMNS,
    key=("source_name", "line_number", "item_index"),
)


@raw.fill
def complete(figures: pl.DataFrame) -> pl.DataFrame:
    return figures.with_columns(pl.col("item_index").fill_null(0), pl.col("partition_date").fill_null(common.session_date()))


open_interest = Table(
    __name__,
    of=raw,
    looks_up=(symbol_map.LOOKED_UP,),
    doc="A published open interest, once.",
    owner="market-data",
    key=("source_name", "line_number", "item_index"),
    sort_by=("symbol", "event_time"),
    storage_partition="month",
    columns=(*COLUMNS, common.INSTRUMENT_ID, common.flags("nothing yet but `clock_skew`")),
)


@open_interest.build
def curate(received: pl.LazyFrame, mapped: pl.LazyFrame) -> pl.LazyFrame:
    return symbol_map.with_instruments(received.with_columns(flags=common.flagged({})), mapped)
