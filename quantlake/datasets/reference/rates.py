"""Interest rates as published: a series and tenor at a date.

Here: what a rate is. Not here: formats; curves between tenors; returns of a benchmark, which are no rates.
"""

import polars as pl

from quantlake.contract import Column, Date, Price, Stream, Table, Text
from quantlake.datasets.reference import common

COLUMNS = (
    Column("series", Text, "`us_treasury`: par yields of constant maturity; `us_primary_credit`: the Federal Reserve's primary credit rate."),
    Column("tenor", Text, "`1m`, `10y`; `on`: overnight."),
    Column("date", Date, "Of this date; of a policy rate from this date on, until the series' next."),
    Column("value", Price, "A year's rate in `unit`, as printed."),
    Column("unit", Text, "`percent`: 2.25 is 2.25 %. `fraction`: 0.0225 is.", allowed=("percent", "fraction")),
    Column("source", Text, "Who said it.", null=True, provenance=True),
    *common.TIMES,
)

raw = Stream(
    __name__,
    doc="A rate as published.",
    owner="reference-data",
    topic="reference.rates.v1",
    message_key="series",
    files="complete",
    storage_partition="year",
    columns=COLUMNS,
    key=("series", "tenor", "date"),
)


@raw.fill
def complete(rows: pl.DataFrame) -> pl.DataFrame:
    dated = rows.with_columns(pl.col("partition_date").fill_null(pl.col("date")))
    return common.completed(dated, common.midnight("date"))


rates = Table(
    __name__,
    of=raw,
    doc="A rate of a date: a changed one is a later version.",
    owner="reference-data",
    key=("series", "tenor", "date"),
    sort_by=("series", "date", "tenor"),
    storage_partition="year",
    columns=COLUMNS,
)
