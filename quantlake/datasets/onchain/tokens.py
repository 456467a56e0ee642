"""Tokens: what a contract says of itself. It may say something else later, so each claim is a version.

Here: that claim. Not here: reading what a contract answers (``quantlake/evm/abi.py``).
"""

import polars as pl

from quantlake.contract import Column, Date, Input, Integer, Stream, Table, Text
from quantlake.datasets.onchain import common

TOTAL_SUPPLY = common.amount("total_supply", "How many of the smallest unit there are.", null=True)
COLUMNS = (
    *common.of_no_block(common.BLOCK),
    Column("address", Text, "The contract, lower case."),
    Column("name", Text, "Its name, without NULs.", null=True),
    Column("decimals", Integer, "How many decimals its unit has; null: it does not say, and 18 is not assumed.", null=True, minimum=0),
    TOTAL_SUPPLY,
    Column("first_seen", Date, "UTC date of the first block that it was seen in: no earlier date's rows are of it; null: not known.", null=True),
)
RECEIVED = tuple(c if c.name != "symbol" else Column("symbol", Text, "Its symbol, without NULs.", null=True) for c in common.RECEIVED)

raw = Stream(
    __name__,
    doc="What a token's contract said of itself.",
    owner=common.OWNER,
    topic="onchain.tokens.v1",
    message_key="address",
    storage_partition="year",
    columns=(*COLUMNS, *RECEIVED, common.BAD_TEXT),
    key=("chain_id", "address"),
)


@raw.fill
def complete(tokens: pl.DataFrame) -> pl.DataFrame:
    return common.completed_claims(tokens)


tokens = Table(
    __name__,
    of=raw,
    doc="What a token's contract says of itself from `known_at` on.",
    owner=common.OWNER,
    key=("chain_id", "address"),
    versions="across",
    sort_by=("chain_id", "address", "known_at"),
    storage_partition="year",
    columns=(*COLUMNS, *RECEIVED, *common.curated("`bad_text` (its name or symbol is no UTF-8; what is none is replaced)")),
    checks=(common.exact(TOTAL_SUPPLY),),
)


@tokens.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    return received.with_columns(flags=common.flagged({"bad_text": pl.col("bad_text")}), instrument_id=pl.lit(None, pl.String)).drop("bad_text")


LOOKED_UP = Input(tokens, None, None, since="first_seen", makes="none")
"""How a dataset reads what all tokens say."""
