"""Which block was the chain's at a height, and since when that was known: all that changes in a reorganisation.

Here: that claim, and that its block is there. Not here: what stands by it (``common.STANDS``).
"""

import polars as pl

from quantlake.contract import Boolean, Column, Date, Input, Rows, Table
from quantlake.datasets.onchain import blocks, chain_status, common

canonical_blocks = Table(
    __name__,
    of=chain_status.raw,
    looks_up=(Input(blocks.blocks, -1, 0),),
    doc="The block that was the chain's at a height from `known_at` on, until the height's next version.",
    owner=common.OWNER,
    key=("chain_id", "block_number"),
    versions="across",
    sort_by=("chain_id", "block_number", "known_at"),
    storage_partition="month",
    columns=(
        *chain_status.COLUMNS,
        *common.RECEIVED,
        *common.curated(),
        Column("block_date", Date, "The block's UTC date: the partition of its rows in the other tables.", null=True),
        Column("has_block", Boolean, "Whether the block itself is in `onchain/blocks`; null: no block.", null=True, provenance=True),
    ),
    checks=(
        Rows(
            "has_its_block", ~pl.col("has_block"), "whose block is not there", ("chain_id", "block_number", "block_hash"), quarantine=True, most=0.1
        ),
    ),
)


@canonical_blocks.build
def curate(seen: pl.LazyFrame, blocks: pl.LazyFrame) -> pl.LazyFrame:
    there = blocks.select("chain_id", "block_hash", has_block=True).unique()
    found = seen.join(there, on=["chain_id", "block_hash"], how="left", maintain_order="left")
    has = pl.when(pl.col("block_hash").is_not_null()).then(pl.col("has_block").fill_null(False))
    return found.with_columns(has_block=has, block_date=pl.col("block_timestamp").dt.date(), **common.NOTHING_YET)
