"""Transfers of tokens, as the tokens' contracts told of them.

Here: what a transfer is. Not here: which logs are one (``quantlake/evm/transfer_logs.py``). WETH's deposits and withdrawals are none.
"""

import polars as pl

from quantlake import evm
from quantlake.contract import Column, Derived, Integer, Price, Rows, Text
from quantlake.datasets.onchain import common, tokens
from quantlake.datasets.onchain.logs import logs

VALUE = common.amount("value", "How many of the token's smallest unit; 1 of an ERC-721.")
TOKEN_ID = common.amount("token_id", "Which one was transferred; null of an ERC-20.", null=True)

token_transfers = Derived(
    __name__,
    of=(logs, tokens.LOOKED_UP),
    doc="A transfer of a token: of an ERC-1155 batch, one of its items.",
    owner=common.OWNER,
    key=("chain_id", "block_hash", "log_index", "item_index"),
    many=True,
    rare=True,
    stands=common.STANDS,
    columns=(
        *common.LOG,
        Column("item_index", Integer, "Place in its ERC-1155 batch, from 0; else 0.", minimum=0),
        Column("token_address", Text, "The token's contract, lower case."),
        Column("standard", Text, "What kind of token.", allowed=("erc20", "erc721", "erc1155")),
        Column("operator", Text, "Of an ERC-1155: who did it, lower case.", null=True),
        Column("from_address", Text, "Who had it, lower case; all zeros: it was made."),
        Column("to_address", Text, "Who has it now, lower case; all zeros: it is gone."),
        TOKEN_ID,
        VALUE,
        Column("value_normalized", Price, "Tokens: `value` less the token's decimals; null where these are not known, or it does not fit.", null=True),
        common.EVENT_TIME,
        *common.derived("`unknown_decimals`"),
    ),
    checks=(
        common.exact(VALUE, TOKEN_ID),
        Rows("known_decimals", pl.col("flags").list.contains("unknown_decimals"), "of tokens whose decimals are not known", ("token_address",), blocking=False),
    ),
)  # fmt: skip


@token_transfers.build
def build(logs: pl.LazyFrame, tokens: pl.LazyFrame) -> pl.LazyFrame:
    return evm.transfers(logs, tokens)
