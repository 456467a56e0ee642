"""Which block was the chain's at a height, and since when that was known: all that changes in a reorganisation.

Here: that claim. Not here: what stands by it (``common.STANDS``), whether its block is there and follows the one below (chain_links.py).
"""

import polars as pl

from quantlake.contract import Column, Date, Table
from quantlake.datasets.onchain import chain_status, common

canonical_blocks = Table(
    __name__,
    of=chain_status.raw,
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
        Column("near_from", Date, "First date whose links depend on it: the one before its own.", null=True),
        Column("near_until", Date, "First date whose links do not depend on it any more.", null=True),
    ),
)


@canonical_blocks.build
def curate(seen: pl.LazyFrame) -> pl.LazyFrame:
    own = pl.col("block_timestamp").dt.date()
    return seen.with_columns(block_date=own, near_from=own.dt.offset_by("-1d"), near_until=own.dt.offset_by("2d"), **common.NOTHING_YET)
