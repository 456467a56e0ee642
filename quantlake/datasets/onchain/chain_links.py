"""Links of the chain: each block that is the chain's now beside the one below it, whose hash it must name.

Here: what a link is, that each block is there, and that no link is broken where blocks are final. Not here: which blocks are the chain's
(canonical_blocks.py).
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Boolean, Column, Derived, Input, Rows, Text, Timestamp
from quantlake.datasets.onchain import common
from quantlake.datasets.onchain.blocks import blocks
from quantlake.datasets.onchain.canonical_blocks import canonical_blocks

PLACE = ["chain_id", "block_number"]
SHOWN = ("chain_id", "block_number", "block_hash")

links = Derived(
    __name__,
    of=(
        Input(canonical_blocks, None, None, on="block_date"),
        Input(canonical_blocks, None, None, since="near_from", until="near_until", makes="none"),
        Input(blocks, makes="none"),
    ),
    doc="A block of the chain, and whether it follows the one below.",
    owner=common.OWNER,
    key=("chain_id", "block_number"),
    storage_partition="month",
    many=True,
    rare=True,
    columns=(
        *common.BLOCK,
        Column("has_block", Boolean, "Whether the block itself is in `onchain/blocks`."),
        Column("parent_hash", Text, "The hash that it names; null: it is not there.", null=True),
        Column("hash_below", Text, "The hash of the chain's block at the height below; null: not known.", null=True),
        Column("is_finalized", Boolean, "Whether it was final by the end of the day after its own, as far as that is known."),
        Column("known_at", Timestamp, "When all of that was known, UTC."),
        PARTITION_DATE,
    ),
    checks=(
        Rows("has_its_block", ~pl.col("has_block"), "whose block is not there", SHOWN),
        Rows(
            "parent_link", pl.col("is_finalized") & (pl.col("parent_hash") != pl.col("hash_below")), "that do not follow the block below",
            ("chain_id", "block_number", "parent_hash", "hash_below"),
        ),
    ),
)  # fmt: skip


@links.build
def build(chain: pl.LazyFrame, near: pl.LazyFrame, blocks: pl.LazyFrame) -> pl.LazyFrame:
    """Links of each date's blocks; final by the highest block of that date and the next, or what the node said of these."""
    own = chain.filter(pl.col("block_date").is_not_null())
    there = near.filter(pl.col("block_hash").is_not_null())
    heads = pl.concat([there.with_columns(partition_date=pl.col("block_date").dt.offset_by(f"-{days}d")) for days in (0, 1)])
    finals = heads.group_by("chain_id", "partition_date").agg(
        final=pl.coalesce(pl.col("finalized_number").max(), pl.col("block_number").max() - common.FINAL_DEPTH)
    )
    below = there.select("chain_id", pl.col("block_number") + 1, hash_below="block_hash", known_below="known_at")
    headers = blocks.select("chain_id", "block_hash", "parent_hash", known_block="known_at", has_block=True)
    return (
        own.with_columns(partition_date="block_date")
        .join(headers, on=["chain_id", "block_hash"], how="left")
        .join(below, on=PLACE, how="left")
        .join(finals, on=["chain_id", "partition_date"], how="left")
        .with_columns(
            pl.col("has_block").fill_null(False),
            is_finalized=(pl.col("block_number") <= pl.col("final")).fill_null(False),
            known_at=pl.max_horizontal("known_at", "known_block", "known_below"),
        )
        .select(c.name for c in links.columns)
        .sort(links.key)
    )
