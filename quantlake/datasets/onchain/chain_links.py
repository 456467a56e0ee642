"""Links of the chain: each block that is the chain's now beside the one below it, whose hash it must name.

Here: what a link is, and that none is broken where blocks are final. Not here: which blocks are the chain's (canonical_blocks.py).
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Boolean, Column, Derived, Input, Rows, Text, Timestamp
from quantlake.datasets.onchain import common
from quantlake.datasets.onchain.blocks import blocks
from quantlake.datasets.onchain.canonical_blocks import canonical_blocks

links = Derived(
    __name__,
    of=(Input(blocks, -1, 0), Input(canonical_blocks, None, None, on="block_date", makes="none")),
    doc="A block of the chain whose parent's height is known too, and whether it follows it.",
    owner=common.OWNER,
    key=("chain_id", "block_number"),
    storage_partition="month",
    many=True,
    rare=True,
    columns=(
        *common.BLOCK,
        Column("parent_hash", Text, "The hash that it names."),
        Column("hash_below", Text, "The hash of the chain's block at the height below."),
        Column("is_finalized", Boolean, "Whether it was final by the end of its date, as far as that is known."),
        Column("known_at", Timestamp, "When both were known, UTC."),
        PARTITION_DATE,
    ),
    checks=(
        Rows(
            "parent_link", pl.col("is_finalized") & (pl.col("parent_hash") != pl.col("hash_below")), "that do not follow the block below",
            ("chain_id", "block_number", "parent_hash", "hash_below"),
        ),
    ),
)  # fmt: skip


@links.build
def build(blocks: pl.LazyFrame, canonical: pl.LazyFrame) -> pl.LazyFrame:
    """Links of each date's blocks; final by the highest block of that date, or what the node said of it."""
    place = ["chain_id", "block_number"]
    chain = canonical.filter(pl.col("block_hash").is_not_null())
    heads = chain.group_by("chain_id", partition_date="block_date").agg(
        final=pl.coalesce(pl.col("finalized_number").max(), pl.col("block_number").max() - common.FINAL_DEPTH)
    )
    below = chain.select("chain_id", pl.col("block_number") + 1, hash_below="block_hash", known_below="known_at")
    own = chain.select(*place, "block_hash", known_own="known_at")
    return (
        blocks.join(own, on=[*place, "block_hash"])
        .join(below, on=place)
        .join(heads, on=["chain_id", "partition_date"], how="left")
        .with_columns(
            is_finalized=(pl.col("block_number") <= pl.col("final")).fill_null(False),
            known_at=pl.max_horizontal("known_at", "known_own", "known_below"),
        )
        .select(c.name for c in links.columns)
        .sort(links.key)
    )
