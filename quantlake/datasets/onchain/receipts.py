"""Receipts: what came of each transaction of a block.

Here: what a receipt is. Not here: its logs (logs.py).
"""

import polars as pl

from quantlake.contract import Column, Integer, Stream, Table, Text
from quantlake.datasets.onchain import common

PRICES = (
    common.amount("effective_gas_price", "Wei a gas that was paid.", null=True),
    common.amount("l1_fee", "Of a rollup: wei paid for the chain it settles on.", null=True),
    common.amount("l1_gas_used", "Of a rollup: gas of the chain it settles on.", null=True),
    common.amount("l1_gas_price", "Of a rollup: wei a gas of the chain it settles on.", null=True),
)
COLUMNS = (
    *common.BLOCK,
    Column("transaction_hash", Text, "The transaction's hash, lower case."),
    Column("transaction_index", Integer, "The transaction's place in its block, from 0.", minimum=0),
    Column("status", Integer, "1: it succeeded, 0: it was reverted; null before Byzantium, and where a file does not say.", null=True, minimum=0),
    Column("root", Text, "Root of the state's trie after it; before Byzantium alone.", null=True),
    Column("gas_used", Integer, "Gas it used; null where a file says what cannot be.", null=True, minimum=0),
    Column("cumulative_gas_used", Integer, "Gas that it and those before it in its block used; null where a file says what cannot be.", null=True, minimum=0),
    *PRICES,
    Column("l1_fee_scalar", Text, "Of a rollup: the factor of its fee, as printed.", null=True),
    Column("contract_address", Text, "The contract it created, lower case.", null=True),
)  # fmt: skip

raw = Stream(
    __name__,
    doc="A transaction's receipt as received.",
    owner=common.OWNER,
    topic="onchain.receipts.v1",
    topic_partitions=2,
    message_key="block_hash",
    columns=(*COLUMNS, *common.RECEIVED),
    key=("chain_id", "block_hash", "transaction_index"),
)


@raw.fill
def complete(receipts: pl.DataFrame) -> pl.DataFrame:
    return common.completed(receipts)


receipts = Table(
    __name__,
    of=raw,
    doc="What came of a transaction in a block, once.",
    owner=common.OWNER,
    key=("chain_id", "block_hash", "transaction_index"),
    sort_by=("chain_id", "block_number", "block_hash", "transaction_index"),
    columns=(*COLUMNS, *common.RECEIVED, *common.curated()),
    stands=common.STANDS,
    checks=(common.exact(*PRICES),),
)


@receipts.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    return common.merged(received, raw).with_columns(**common.NOTHING_YET)
