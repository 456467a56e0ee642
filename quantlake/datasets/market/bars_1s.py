"""Trade bars of one second. What a bar is: bars.py."""

import polars as pl

from quantlake.contract import Derived
from quantlake.datasets.market import bars
from quantlake.datasets.market.trades import trades

bars_1s = Derived(
    __name__,
    of=(trades,),
    doc="A second of a symbol's trading.",
    owner="market-data",
    key=bars.KEY,
    columns=bars.COLUMNS,
    checks=bars.CHECKS,
)


@bars_1s.build
def build(trades: pl.LazyFrame) -> pl.LazyFrame:
    return bars.from_trades(trades, "1s")
