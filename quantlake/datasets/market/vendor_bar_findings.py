"""What is wrong with vendors' daily and weekly bars.
"""
import polars as pl
from quantlake.datasets.market import vendor_levels, vendor_payouts
from quantlake.datasets.market.vendor_series import AT, measured

def find(bars: pl.LazyFrame) -> pl.DataFrame:
    rows, levels = vendor_levels.findings(measured(bars))
    return pl.concat([levels, vendor_payouts.findings(rows)]).sort(*AT, "rule", "column")
