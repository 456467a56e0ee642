"""Logs that have the signature of an event that is decoded, and do not tell what it does.

Here: which these are. Not here: decoding (transfer_logs.py, swap_logs.py), the table.
"""

import polars as pl

from quantlake.evm import swap_logs, transfer_logs
from quantlake.evm.events import BLOCK, LAYOUTS

KEY = ("chain_id", "block_hash", "log_index")
COLUMNS = (
    *BLOCK, "log_index", "transaction_hash", "address", "event", "topic_count", "data_bytes", "event_time", "instrument_id", "known_at",
    "partition_date", "flags",
)  # fmt: skip


def undecoded(logs: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of ``derived/onchain/undecoded_logs``, sorted by its key: what ``transfers``, ``swaps`` and ``pools`` leave out of logs of theirs."""
    untold = pl.concat([read(logs).filter(~pl.col("told")).select(KEY) for read in (transfer_logs.told, swap_logs.told, swap_logs.made)])
    topic = pl.col("topics").list.first()
    rows = logs.join(untold.lazy(), on=KEY, how="semi").with_columns(
        event=topic.replace_strict({layout.topic: layout.event for layout in LAYOUTS}, default=None, return_dtype=pl.String),
        topic_count=pl.col("topics").list.len().cast(pl.Int64),
        data_bytes=(pl.col("data").str.len_bytes().cast(pl.Int64) - 2) // 2,
        instrument_id=pl.lit(None, pl.String),
        flags=pl.lit([], pl.List(pl.String)),
    )
    return rows.select(COLUMNS).sort(KEY)
