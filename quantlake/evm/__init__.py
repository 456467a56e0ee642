"""What the Ethereum virtual machine's data mean: words of 32 bytes, amounts, events, code. Pure functions over frames.

Here: decoding. Not here: datasets, formats of files, asking nodes. Importing this costs nothing: what needs numba is imported when it is
called.
"""

import polars as pl

from quantlake.evm.factories import protocol

__all__ = ["pools", "protocol", "sums", "swaps", "transfers", "undecoded"]


def transfers(logs: pl.LazyFrame, tokens: pl.LazyFrame) -> pl.LazyFrame:
    """Transfers of tokens (``transfer_logs.transfers``)."""
    from quantlake.evm import transfer_logs

    return transfer_logs.transfers(logs, tokens)


def swaps(logs: pl.LazyFrame, pools: pl.LazyFrame) -> pl.LazyFrame:
    """Swaps of pools (``swap_logs.swaps``)."""
    from quantlake.evm import swap_logs

    return swap_logs.swaps(logs, pools)


def pools(logs: pl.LazyFrame) -> pl.LazyFrame:
    """Pools by what their makers told (``swap_logs.pools``)."""
    from quantlake.evm import swap_logs

    return swap_logs.pools(logs)


def undecoded(logs: pl.LazyFrame) -> pl.LazyFrame:
    """Logs that none of these tells of, though they seem to (``undecoded_logs.undecoded``)."""
    from quantlake.evm import undecoded_logs

    return undecoded_logs.undecoded(logs)


def sums(values: pl.Series, groups: pl.Series) -> pl.Series:
    """Exact sums of amounts in decimal text (``words.sums``)."""
    from quantlake.evm import words

    return words.sums(values, groups)
