"""Transactions, as they stand in a block.

Here: what a transaction is, and that a block's are all there. Not here: what came of it (receipts.py).
"""

import polars as pl

from quantlake.contract import Column, Input, Integer, Rows, Stream, Table, Text
from quantlake.datasets.onchain import blocks, common

VALUE = common.amount("value", "Wei sent.")
FEES = (
    common.amount("gas_price", "Wei a gas; since London what was paid.", null=True),
    common.amount("max_fee_per_gas", "Wei a gas at most (EIP-1559).", null=True),
    common.amount("max_priority_fee_per_gas", "Wei a gas for the block's maker at most (EIP-1559).", null=True),
)
COLUMNS = (
    *common.BLOCK,
    Column("hash", Text, "The transaction's hash, lower case."),
    Column("nonce", Integer, "How many transactions the sender had sent before.", minimum=0),
    Column("transaction_index", Integer, "Place in its block, from 0.", minimum=0),
    Column("from_address", Text, "Sender, lower case."),
    Column("to_address", Text, "Receiver, lower case; null: it creates a contract.", null=True),
    VALUE,
    Column("gas", Integer, "Gas it may use.", minimum=0),
    Column("input", Text, "Data sent along, as hex; `0x` where none."),
    *FEES,
    Column("transaction_type", Integer, "Of its envelope (EIP-2718): 0 legacy, 1 access list, 2 dynamic fee, 3 blob, 4 set code.", null=True, minimum=0),
)  # fmt: skip

raw = Stream(
    __name__,
    doc="A transaction of a block as received.",
    owner=common.OWNER,
    topic="onchain.transactions.v1",
    topic_partitions=2,
    message_key="block_hash",
    columns=(*COLUMNS, *common.RECEIVED),
    key=("chain_id", "block_hash", "transaction_index"),
)


@raw.fill
def complete(transactions: pl.DataFrame) -> pl.DataFrame:
    return common.completed(transactions)


transactions = Table(
    __name__,
    of=raw,
    looks_up=(Input(blocks.blocks),),
    doc="A transaction of a block, once.",
    owner=common.OWNER,
    key=("chain_id", "block_hash", "transaction_index"),
    sort_by=("chain_id", "block_number", "block_hash", "transaction_index"),
    columns=(*COLUMNS, *common.RECEIVED, *common.curated("`block_count` (its block says that it has more, or fewer)")),
    stands=common.STANDS,
    checks=(
        common.exact(VALUE, *FEES),
        Rows("transaction_count", pl.col("flags").list.contains("block_count"), "of blocks that say that they have another number", ("block_number", "block_hash"), quarantine=True, most=common.MOST_HELD_BACK),
    ),
)  # fmt: skip


@transactions.build
def curate(received: pl.LazyFrame, blocks: pl.LazyFrame) -> pl.LazyFrame:
    said = blocks.select("chain_id", "block_hash", "transaction_count").unique(["chain_id", "block_hash"])
    found = common.merged(received, raw).join(said, on=["chain_id", "block_hash"], how="left", maintain_order="left")
    place, of_block = pl.col("transaction_index"), ["chain_id", "block_hash"]
    odd = (place.n_unique().over(of_block) != pl.col("transaction_count")) | (place.max().over(of_block) >= pl.col("transaction_count"))
    flags = common.flagged({"block_count": odd})
    return found.with_columns(flags=flags, instrument_id=pl.lit(None, pl.String)).drop("transaction_count")
