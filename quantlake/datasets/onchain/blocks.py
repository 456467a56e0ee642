"""Blocks: their headers, by hash.

Here: what a block is. Not here: which block is the chain's (canonical_blocks.py).
"""

import polars as pl

from quantlake.contract import Column, Integer, Stream, Table, Text
from quantlake.datasets.onchain import common

DIFFICULTY = common.amount("difficulty", "Of proof of work; 0 since the merge.", null=True)
TOTAL_DIFFICULTY = common.amount("total_difficulty", "Of the chain up to it.", null=True)
BASE_FEE = common.amount("base_fee_per_gas", "Wei a gas that is burnt; null before London.", null=True)

COLUMNS = (
    *common.BLOCK,
    Column("hash", Text, "Its own hash, lower case."),
    Column("parent_hash", Text, "The hash of the block before it."),
    Column("nonce", Text, "Of proof of work, as hex.", null=True),
    Column("sha3_uncles", Text, "Hash of its uncles' headers.", null=True),
    Column("logs_bloom", Text, "Bloom filter of its logs' addresses and topics, as hex.", null=True),
    Column("transactions_root", Text, "Root of its transactions' trie.", null=True),
    Column("state_root", Text, "Root of the state's trie after it.", null=True),
    Column("receipts_root", Text, "Root of its receipts' trie.", null=True),
    Column("miner", Text, "Who received its fees, lower case.", null=True),
    DIFFICULTY,
    TOTAL_DIFFICULTY,
    Column("size", Integer, "Bytes.", null=True, minimum=0),
    Column("extra_data", Text, "What its maker wrote, as hex; `0x` where nothing.", null=True),
    Column("gas_limit", Integer, "Gas it may use.", null=True, minimum=0),
    Column("gas_used", Integer, "Gas it used.", null=True, minimum=0),
    BASE_FEE,
    Column("transaction_count", Integer, "Its transactions.", null=True, minimum=0),
    Column("withdrawals_root", Text, "Root of its withdrawals' trie; null before Shanghai.", null=True),
    Column("withdrawals", Text, "Stake paid out, as a JSON list of objects (`index`, `validator_index`, `address`, `amount` in gwei); null before Shanghai.", null=True),
)  # fmt: skip

raw = Stream(
    __name__,
    doc="A block's header as received.",
    owner=common.OWNER,
    topic="onchain.blocks.v1",
    message_key="block_hash",
    storage_partition="month",
    columns=(*COLUMNS, *common.RECEIVED),
    key=("chain_id", "block_hash"),
)


@raw.fill
def complete(blocks: pl.DataFrame) -> pl.DataFrame:
    return common.completed(blocks.with_columns(pl.col("hash").fill_null(pl.col("block_hash"))))


blocks = Table(
    __name__,
    of=raw,
    doc="A block, once, whether or not it is the chain's.",
    owner=common.OWNER,
    key=("chain_id", "block_hash"),
    sort_by=("chain_id", "block_number", "block_hash"),
    storage_partition="month",
    columns=(*COLUMNS, *common.RECEIVED, *common.curated()),
    stands=common.STANDS,
    checks=(common.exact(DIFFICULTY, TOTAL_DIFFICULTY, BASE_FEE),),
)


@blocks.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    return common.merged(received, raw).with_columns(**common.NOTHING_YET)
