"""Swaps and pools of decentralised exchanges of the kinds of Uniswap v2 and v3, out of logs.

Here: what those events' words mean. Not here: finding logs (events.py), whose a pool is (factories.py), the tables.
"""

from collections.abc import Sequence

import polars as pl

from quantlake.evm import words
from quantlake.evm.events import BLOCK, LOG, PAIR_CREATED, POOL_CREATED, V2_SWAP, V3_SWAP, Logs, logs_of
from quantlake.evm.lookups import on_date

KEY = ("chain_id", "block_hash", "log_index")
COLUMNS = (
    *BLOCK, "log_index", "transaction_hash", "pool", "protocol", "token0", "token1", "amount0", "amount1", "sqrt_price_x96", "liquidity", "tick",
    "sender", "recipient", "event_time", "instrument_id", "known_at", "partition_date", "flags",
)  # fmt: skip
OF_LOG = ("log_index", "transaction_hash", "transaction_index")


def swaps(logs: pl.LazyFrame, pools: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of ``derived/onchain/dex_swaps``, sorted by its key, from logs and all that is known of pools.

    Amounts are the pool's: positive, it received. A pool not known on the log's date has no tokens, the flag ``unknown_pool``, and the
    protocol of its kind. Logs that do not tell what their event does are left out (``undecoded`` has them).
    """
    found = on_date(told(logs).filter("told"), _claims(pools), ("chain_id", "pool"))
    unknown = pl.when(pl.col("token0").is_null()).then(pl.lit(["unknown_pool"])).otherwise(pl.lit([], pl.List(pl.String)))
    rows = found.with_columns(protocol=pl.coalesce("protocol", "kind"), flags=unknown, instrument_id=pl.lit(None, pl.String))
    return rows.select(COLUMNS).sort(KEY).lazy()


def pools(logs: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of ``curated/onchain/dex_pools`` from raw logs, in their order: a pool by what its maker told of it when it was made.

    They have the columns of their log beside the pool's, ``partition_date`` too. ``first_seen`` is the block's date, ``fee`` of a v3 pool
    alone.
    """
    held = [c for c in logs.collect_schema().names() if c not in ("topics", "data")]
    rows = made(logs.with_row_index("_place"), ["_place", *held]).filter("told").sort("_place")
    dated = rows.with_columns(first_seen=pl.col("block_timestamp").dt.date())
    return dated.rename({"address": "factory"}).drop("_place", "told", *OF_LOG, strict=False).lazy()


def told(logs: pl.LazyFrame) -> pl.DataFrame:
    """A row each log of a swap: what its words say, and ``told``, whether that is a swap."""
    v2, v3, others = logs_of(logs, (V2_SWAP, V3_SWAP))
    return pl.concat([_v2(v2), _v3(v3), others.untold()], how="diagonal").rename({"address": "pool"})


def made(logs: pl.LazyFrame, columns: Sequence[str] = LOG) -> pl.DataFrame:
    """A row each log of a pool's making, with its ``columns``: what its words say, and ``told``, whether that is a pool."""
    pair, pool, others = logs_of(logs, (PAIR_CREATED, POOL_CREATED), columns)
    parts = [_made(pair, pair.word(0)), _made(pool, pool.word(1), fee=words.integers(pool.topic(3), 24).cast(pl.Int64)), others.untold()]
    return pl.concat(parts, how="diagonal")


def _claims(pools: pl.LazyFrame) -> pl.DataFrame:
    """What is claimed of pools, best first: any contract may tell that it made a pool which is another's, so a well-known factory counts
    before others, then who was the first to claim it, with what it said last."""
    first = pl.col("known_at").min().over("chain_id", "pool", "factory")
    ordered = pools.sort(pl.col("protocol").is_null(), first, -pl.col("known_at").dt.epoch("us"), maintain_order=True)
    return ordered.select("chain_id", "pool", "first_seen", "protocol", "token0", "token1").collect()


def _v2(logs: Logs) -> pl.DataFrame:
    """What was paid in less what was paid out; both may be there of one token."""
    amounts = {f"amount{n}": words.differences(logs.word(n), logs.word(2 + n)) for n in range(2)}
    return logs.told(*amounts, "sender", "recipient", kind=pl.lit("uniswap_v2_like"), **_parties(logs), **amounts)


def _v3(logs: Logs) -> pl.DataFrame:
    said = {
        "amount0": words.integers(logs.word(0), signed=True), "amount1": words.integers(logs.word(1), signed=True),
        "sqrt_price_x96": words.integers(logs.word(2), 160), "liquidity": words.integers(logs.word(3), 128),
        "tick": words.integers(logs.word(4), 24, signed=True).cast(pl.Int64),
    }  # fmt: skip
    return logs.told(*said, "sender", "recipient", kind=pl.lit("uniswap_v3_like"), **_parties(logs), **said)


def _parties(logs: Logs) -> dict[str, pl.Series]:
    return {"sender": words.addresses(logs.topic(1)), "recipient": words.addresses(logs.topic(2))}


def _made(logs: Logs, pool: words.Digits, **said: pl.Series) -> pl.DataFrame:
    of_pool = {"token0": words.addresses(logs.topic(1)), "token1": words.addresses(logs.topic(2)), "pool": words.addresses(pool)}
    return logs.told(*of_pool, *said, **of_pool, **said)
