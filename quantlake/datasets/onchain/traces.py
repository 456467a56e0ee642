"""Traces: every call, creation and reward within a block's transactions.

Here: what a trace is. Not here: what traces mean.
"""

import polars as pl

from quantlake.contract import Column, Integer, Stream, Table, Text
from quantlake.datasets.onchain import common

VALUE = common.amount("value", "Wei sent, refunded or rewarded.", null=True)
TYPES = ("call", "create", "suicide", "reward", "genesis", "daofork")

COLUMNS = (
    *common.BLOCK,
    Column("transaction_hash", Text, "Its transaction's hash, lower case; null of a reward.", null=True),
    Column("transaction_index", Integer, "Its transaction's place in the block, from 0; null of a reward.", null=True, minimum=0),
    Column("trace_address", Text, "Place in its transaction's tree of calls: `0,2` is the third call of the first; empty at the top."),
    Column("reward_index", Integer, "Of a reward: its place among those of its block, from 0.", null=True, minimum=0),
    Column("from_address", Text, "Who called, created, or was destroyed, lower case; null of a reward.", null=True),
    Column("to_address", Text, "Who was called, created, or got what was left, or the reward, lower case; null of a creation that failed.", null=True),
    VALUE,
    Column("input", Text, "Data of a call, code of a creation, as hex.", null=True),
    Column("output", Text, "What it returned, or the code that was created, as hex.", null=True),
    Column("trace_type", Text, "What it is.", allowed=TYPES),
    Column("call_type", Text, "Of a call: how.", null=True, allowed=("call", "callcode", "delegatecall", "staticcall")),
    Column("reward_type", Text, "Of a reward: whose.", null=True),
    Column("gas", Integer, "Gas it may use.", null=True, minimum=0),
    Column("gas_used", Integer, "Gas it used.", null=True, minimum=0),
    Column("subtraces", Integer, "Traces directly within it.", null=True, minimum=0),
    Column("error", Text, "Why it failed, as the node says.", null=True),
    Column("status", Integer, "0 where it, or what it is within, failed; else 1.", null=True, minimum=0),
)  # fmt: skip

raw = Stream(
    __name__,
    doc="A trace as received.",
    owner=common.OWNER,
    topic="onchain.traces.v1",
    topic_partitions=2,
    message_key="block_hash",
    columns=(*COLUMNS, *common.RECEIVED),
    key=("chain_id", "block_hash", "transaction_index", "trace_address", "reward_index"),
)


@raw.fill
def complete(traces: pl.DataFrame) -> pl.DataFrame:
    return common.completed(traces)


traces = Table(
    __name__,
    of=raw,
    doc="A trace of a block, once.",
    owner=common.OWNER,
    key=("chain_id", "block_hash", "transaction_index", "trace_address"),
    fallback_key=("chain_id", "block_hash", "trace_type", "reward_index"),
    sort_by=("chain_id", "block_number", "block_hash", "transaction_index", "trace_address", "reward_index"),
    columns=(*COLUMNS, *common.RECEIVED, *common.curated()),
    stands=common.STANDS,
    checks=(common.exact(VALUE),),
)


@traces.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    return received.with_columns(**common.NOTHING_YET)  # a null says something: that it did not fail, or returned nothing
