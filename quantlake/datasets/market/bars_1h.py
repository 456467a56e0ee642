"""Trade bars of one hour. What a bar is: bars.py."""

import polars as pl

from quantlake.contract import Derived
from quantlake.datasets.market import bars
from quantlake.datasets.market.trades import trades

bars_1h = Derived(
    __name__,
    of=(trades,),
    doc="A hour of a symbol's trading.",
    owner="market-data",
    key=bars.KEY,
    columns=bars.COLUMNS,
    checks=bars.CHECKS,
    storage_partition="month",
)


@bars_1h.build
def build(trades: pl.LazyFrame) -> pl.LazyFrame:
    return bars.from_trades(trades, "1h")
