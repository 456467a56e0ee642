"""Company tickers: which company has which ticker, as the SEC lists them on a day.

Here: the list as it was when it was read. Not here: what a ticker meant before (symbol_map): the list says nothing of since when.
"""

import polars as pl

from quantlake.contract import Column, Stream, Table, Text
from quantlake.datasets.reference import common, sec

COLUMNS = (
    sec.CIK,
    Column("ticker", Text, "A ticker of one of its securities on that day."),
    Column("title", Text, "The company's name."),
    sec.SOURCE,
    *common.TIMES,
)

raw = Stream(
    __name__,
    doc="A line of the list.",
    owner="reference-data",
    topic="reference.company_tickers.v1",
    message_key="ticker",
    files="complete",
    storage_partition="year",
    columns=COLUMNS,
    key=("cik", "ticker"),
)


@raw.fill
def complete(rows: pl.DataFrame) -> pl.DataFrame:
    return common.completed(rows, pl.col("known_at"))


tickers = Table(
    __name__,
    of=raw,
    doc="A company's ticker, as it was listed last.",
    owner="reference-data",
    key=("cik", "ticker"),
    versions="across",
    sort_by=("ticker", "cik"),
    storage_partition="year",
    columns=COLUMNS,
)
