"""Inputs that have no rows."""

import polars as pl

from quantlake.contract import Dataset
from quantlake.datasets.reference import symbol_map


def no_rows(dataset: Dataset) -> pl.LazyFrame:
    return pl.DataFrame(dataset.spec.arrow.empty_table()).lazy()


NO_SYMBOLS = no_rows(symbol_map.symbols)
