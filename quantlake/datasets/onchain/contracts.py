"""Contracts: their code, and which interfaces it seems to have.

Here: what a contract is. Not here: reading code (``quantlake/evm/code.py``).
"""

import polars as pl

from quantlake.contract import Boolean, Column, Stream, Table, Text, TextList
from quantlake.datasets.onchain import common

COLUMNS = (
    *common.of_no_block(common.BLOCK),
    Column("address", Text, "The contract, lower case."),
    Column("bytecode", Text, "Its code, as hex; `0x` where none is left."),
    Column("function_sighashes", TextList, "Selectors of the functions that it dispatches to, as hex, ascending."),
    Column("is_erc20", Boolean, "Whether it has the functions of ERC-20."),
    Column("is_erc721", Boolean, "Whether it has the functions of ERC-721."),
)

raw = Stream(
    __name__,
    doc="A contract's code as received.",
    owner=common.OWNER,
    topic="onchain.contracts.v1",
    message_key="address",
    storage_partition="year",
    columns=(*COLUMNS, *common.RECEIVED),
    key=("chain_id", "address"),
)


@raw.fill
def complete(contracts: pl.DataFrame) -> pl.DataFrame:
    return common.completed_claims(contracts)


contracts = Table(
    __name__,
    of=raw,
    doc="A contract's code from `known_at` on.",
    owner=common.OWNER,
    key=("chain_id", "address"),
    versions="across",
    sort_by=("chain_id", "address", "known_at"),
    storage_partition="year",
    columns=(*COLUMNS, *common.RECEIVED, *common.curated()),
)


@contracts.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    return common.merged(received, raw).with_columns(**common.NOTHING_YET)
