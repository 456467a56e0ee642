"""What was transferred of each ERC-20 on a UTC date, in blocks that are the chain's: it follows a reorganisation.

Here: those sums. Not here: transfers (token_transfers.py). Whatever a contract tells counts, also where it mints what nobody holds; not what is
of no known date.
"""

import polars as pl

from quantlake import evm
from quantlake.contract import PARTITION_DATE, Column, Derived, Input, Integer, Text, Timestamp
from quantlake.contract.standing import told
from quantlake.datasets.onchain import common
from quantlake.datasets.onchain.canonical_blocks import canonical_blocks
from quantlake.datasets.onchain.token_transfers import token_transfers

KEY = ("partition_date", "chain_id", "token_address")

daily = Derived(
    __name__,
    of=(token_transfers, Input(canonical_blocks, None, None, on="block_date", makes="none")),
    doc="A token's transfers on a date.",
    owner=common.OWNER,
    key=KEY,
    storage_partition="month",
    many=True,
    rare=True,
    columns=(
        common.CHAIN_ID,
        Column("token_address", Text, "The token's contract, lower case."),
        Column("transfers", Integer, "How many there were.", minimum=1),
        Column("value", Text, "Sum of their values, in the token's smallest unit: a whole number as decimal text, maybe of more than 256 bits."),
        Column("known_at", Timestamp, "When all of that was known, UTC: its transfers, and which blocks are the chain's."),
        PARTITION_DATE,
    ),
)


@daily.build
def build(transfers: pl.LazyFrame, canonical: pl.LazyFrame) -> pl.LazyFrame:
    place = list(common.STANDS.place)
    settled = canonical.select(*place, _settled_at="known_at")
    dated = pl.col("block_timestamp").is_not_null()
    erc20 = transfers.filter(dated & (pl.col("standard") == "erc20")).drop("is_canonical", "is_finalized", strict=False)
    rows = told(erc20, common.STANDS, canonical).join(settled, on=place, how="left", maintain_order="left").collect()
    rows = rows.with_columns(_of=pl.struct(KEY).rank("dense").cast(pl.Int64) - 1)
    standing = rows.filter("is_canonical")
    # rows of blocks that are no longer the chain's have no part in the sums, but in when these could be known
    known = rows.group_by("_of").agg(known_at=pl.max_horizontal(pl.col("known_at").max(), pl.col("_settled_at").max()))
    sums = pl.DataFrame({"value": evm.sums(standing["value"], standing["_of"])}).with_row_index("_of").cast({"_of": pl.Int64})
    counted = standing.group_by("_of", *KEY).agg(transfers=pl.len().cast(pl.Int64))
    return counted.join(known, on="_of").join(sums, on="_of").select(c.name for c in daily.columns).sort(KEY).lazy()
