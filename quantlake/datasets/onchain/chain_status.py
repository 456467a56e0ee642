"""What a node, or a file, said of the chain: which block is its own at a height.

Here: that message. Not here: what was the chain's when (canonical_blocks.py), noticing a reorganisation (sources/live).
"""

import polars as pl

from quantlake.contract import Column, Integer, Stream, Text, Timestamp
from quantlake.datasets.onchain import common

COLUMNS = (
    common.CHAIN_ID,
    common.BLOCK_NUMBER,
    Column("block_hash", Text, "The block that was the chain's at this height; null: none was any more.", null=True),
    common.BLOCK_TIMESTAMP,
    Column("observed_at", Timestamp, "When that was seen, UTC; in history the block's time.", provenance=True),
    Column("finalized_number", Integer, "The height up to which the node called blocks final then.", null=True, minimum=0),
)

raw = Stream(
    __name__,
    doc="That a block was seen to be the chain's at its height, or that none was.",
    owner=common.OWNER,
    topic="onchain.chain_status.v1",
    message_key="block_number",
    storage_partition="month",
    columns=(*COLUMNS, *common.RECEIVED),
    key=("chain_id", "block_number"),
)


@raw.fill
def complete(seen: pl.DataFrame) -> pl.DataFrame:
    """Known when it was observed, and of that date."""
    observed = pl.coalesce("observed_at", "known_at")
    whole = seen.with_columns(observed_at=observed, known_at=observed, event_time=pl.col("event_time").fill_null(observed))
    return common.completed(whole.with_columns(partition_date=pl.col("observed_at").dt.date()))
