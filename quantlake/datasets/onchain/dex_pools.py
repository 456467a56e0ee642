"""Pools of decentralised exchanges: which two tokens one trades, and whose it is.

Here: what a pool is, from its factory's logs and from what it says of itself. Not here: its swaps (dex_swaps.py).
"""

import polars as pl

from quantlake import evm
from quantlake.contract import Column, Date, Input, Integer, Stream, Table, Text
from quantlake.datasets.onchain import common, logs
from quantlake.datasets.onchain.logs import lasting

COLUMNS = (
    *common.of_no_block(common.BLOCK),
    Column("pool", Text, "The pool's contract, lower case."),
    Column("factory", Text, "The contract that made it, lower case.", null=True),
    Column("protocol", Text, "Whose it is, by its factory: `uniswap_v2`, `sushiswap`; null: not known.", null=True),
    Column("token0", Text, "The token of the lower address, lower case."),
    Column("token1", Text, "The other token, lower case."),
    Column("fee", Integer, "Of each swap, in millionths of what is paid in; null: not known.", null=True, minimum=0),
    Column("first_seen", Date, "UTC date of the first block that it was seen in: no earlier date's rows are of it; null: not known.", null=True),
)

raw = Stream(
    __name__,
    doc="What a pool's contract said of itself.",
    owner=common.OWNER,
    topic="onchain.dex_pools.v1",
    message_key="pool",
    storage_partition="year",
    columns=(*COLUMNS, *common.RECEIVED),
    key=("chain_id", "pool"),
)


@raw.fill
def complete(pools: pl.DataFrame) -> pl.DataFrame:
    return common.completed_claims(pools)


pools = Table(
    __name__,
    of=(raw, logs.raw),
    doc="A pool, from `known_at` on.",
    owner=common.OWNER,
    key=("chain_id", "pool"),
    versions="across",
    sort_by=("chain_id", "pool", "known_at"),
    storage_partition="year",
    columns=(*COLUMNS, *common.RECEIVED, *common.curated()),
    stands=common.STANDS,
)

LOOKED_UP = Input(pools, None, None, since="first_seen", versions=True, makes="none")
"""How a dataset reads all that was said of pools: the latest is not the truest, since any contract may claim a pool."""


@pools.build
def curate(received: pl.LazyFrame, logs: pl.LazyFrame) -> pl.LazyFrame:
    found = pl.concat([received, evm.pools(lasting(logs))], how="diagonal_relaxed")
    return found.with_columns(protocol=pl.coalesce("protocol", evm.protocol()), **common.NOTHING_YET)
