"""The US equities that were traded on a day, the later delisted included: free of survivorship bias.

Here: what a member of the universe is. Not here: formats; choosing from it.
"""

import polars as pl

from quantlake.contract import Boolean, Column, Date, Price, Size, Stream, Table, Text
from quantlake.datasets.market.common import XNYS
from quantlake.datasets.reference import common

COLUMNS = (
    Column("date", Date, "Session date."),
    Column("instrument_id", Text, "The instrument: a symbol is none, several of a day have two."),
    Column("symbol", Text, "Its ticker on that day."),
    Column("close", Price, "Last price, unadjusted.", above=0),
    Column("volume", Size, "Shares traded.", minimum=0),
    Column("dollar_volume", Size, "Price times size of its trades.", minimum=0),
    Column("has_fundamental", Boolean, "Whether the source has fundamentals of it."),
    Column("source", Text, "Who said it.", null=True, provenance=True),
    *common.TIMES,
)

raw = Stream(
    __name__,
    doc="A security of a day's universe as received.",
    owner="reference-data",
    topic="reference.universe_daily.v1",
    message_key="instrument_id",
    files="complete",
    storage_partition="month",
    sessions=XNYS,
    columns=(
        *COLUMNS,
        Column("price_factor", Price, "The source's factor for later dividends, of when the file was made.", null=True),
        Column("split_factor", Price, "The source's factor for later splits, of when the file was made.", null=True),
    ),
    key=("date", "instrument_id"),
)


@raw.fill
def complete(rows: pl.DataFrame) -> pl.DataFrame:
    dated = rows.with_columns(pl.col("partition_date").fill_null(pl.col("date")))
    return common.completed(dated, common.midnight("date"))


universe = Table(
    __name__,
    of=raw,
    doc="An equity of a day's universe. The factors of its file know the future, and stay in raw.",
    owner="reference-data",
    key=("date", "instrument_id"),
    sort_by=("symbol", "instrument_id"),
    storage_partition="month",
    columns=COLUMNS,
)
