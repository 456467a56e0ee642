"""Swaps of decentralised exchanges, as the pools told of them: signs are the pool's, positive is what it received.

Here: what a swap is. Not here: which logs are one (``quantlake/evm/swap_logs.py``).
"""

import polars as pl

from quantlake import evm
from quantlake.contract import Column, Derived, Integer, Rows, Text
from quantlake.datasets.onchain import common, dex_pools
from quantlake.datasets.onchain.logs import logs

AMOUNTS = (
    common.amount("amount0", "Of token0, in its smallest unit: what the pool received, less what it paid."),
    common.amount("amount1", "Of token1, in its smallest unit: what the pool received, less what it paid."),
    common.amount("sqrt_price_x96", "Of a v3 pool: root of token1 per token0 after it, times 2^96.", null=True),
    common.amount("liquidity", "Of a v3 pool: that in range after it.", null=True),
)

dex_swaps = Derived(
    __name__,
    of=(logs, dex_pools.LOOKED_UP),
    doc="A swap of a pool.",
    owner=common.OWNER,
    key=("chain_id", "block_hash", "log_index"),
    many=True,
    rare=True,
    stands=common.STANDS,
    columns=(
        *common.LOG,
        Column("pool", Text, "The pool's contract, lower case."),
        Column("protocol", Text, "Whose it is, by its factory; `uniswap_v2_like` or `uniswap_v3_like` where that is not known: forks share the event."),
        Column("token0", Text, "The pool's token of the lower address; null: not known.", null=True),
        Column("token1", Text, "The pool's other token; null: not known.", null=True),
        *AMOUNTS,
        Column("tick", Integer, "Of a v3 pool: that of its price after it.", null=True),
        Column("sender", Text, "Who asked for it, lower case."),
        Column("recipient", Text, "Who got what was paid, lower case."),
        common.EVENT_TIME,
        *common.derived("`unknown_pool`"),
    ),
    checks=(
        common.exact(*AMOUNTS),
        Rows("known_pool", pl.col("flags").list.contains("unknown_pool"), "of pools whose tokens are not known", ("pool",), blocking=False),
    ),
)  # fmt: skip


@dex_swaps.build
def build(logs: pl.LazyFrame, pools: pl.LazyFrame) -> pl.LazyFrame:
    return evm.swaps(logs, pools)
