"""What the Ethereum virtual machine's data mean: words of 32 bytes, amounts, events, code. Pure functions over frames.

Here: decoding. Not here: datasets, formats of files, asking nodes.
"""

import polars as pl


def transfers(logs: pl.LazyFrame, tokens: pl.LazyFrame) -> pl.LazyFrame:
    raise NotImplementedError


def swaps(logs: pl.LazyFrame, pools: pl.LazyFrame) -> pl.LazyFrame:
    raise NotImplementedError


def pools(logs: pl.LazyFrame) -> pl.LazyFrame:
    raise NotImplementedError


def protocol() -> pl.Expr:
    raise NotImplementedError
