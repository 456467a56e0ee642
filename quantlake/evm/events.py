"""Which logs tell of an event that is decoded: by its signature's hash, and by how many topics and words of data it has.

Here: the events, finding their logs and words, those laid out otherwise. Not here: what words mean (transfer_logs.py, swap_logs.py).
How events are laid out in logs: https://docs.soliditylang.org/en/latest/abi-spec.html#events
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from quantlake.evm import words
from quantlake.evm.words import Digits

BLOCK = ("chain_id", "block_number", "block_hash", "block_timestamp")
LOG = (*BLOCK, "log_index", "transaction_hash", "address", "event_time", "known_at", "partition_date")


@dataclass(frozen=True)
class Layout:
    """An ``event`` whose signature hashes to ``topic``, in logs of so many ``topics`` (with that one) and ``words`` of data (None: any)."""

    event: str
    topic: str
    topics: int
    words: int | None


_TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"  # Transfer(address,address,uint256)

# Who indexes the third word transfers one token, who does not an amount. Older contracts index nothing, which does not say which of the two
# it is: taken for an amount, a collectible would count as money.
ERC20 = Layout("transfer", _TRANSFER, 3, 1)  # https://eips.ethereum.org/EIPS/eip-20
ERC721 = Layout("transfer", _TRANSFER, 4, 0)  # https://eips.ethereum.org/EIPS/eip-721
# TransferSingle(address,address,address,uint256,uint256), TransferBatch(address,address,address,uint256[],uint256[]):
# https://eips.ethereum.org/EIPS/eip-1155
SINGLE = Layout("transfer_single", "0xc3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62", 4, 2)
BATCH = Layout("transfer_batch", "0x4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb", 4, None)
# Swap(address,uint256,uint256,uint256,uint256,address): https://docs.uniswap.org/contracts/v2/reference/smart-contracts/pair
V2_SWAP = Layout("v2_swap", "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822", 3, 4)
# Swap(address,address,int256,int256,uint160,uint128,int24):
# https://docs.uniswap.org/contracts/v3/reference/core/interfaces/pool/IUniswapV3PoolEvents
V3_SWAP = Layout("v3_swap", "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67", 3, 5)
# PairCreated(address,address,address,uint256): https://docs.uniswap.org/contracts/v2/reference/smart-contracts/factory
PAIR_CREATED = Layout("pair_created", "0x0d3648bd0f6ba80134a33ba9275ac585d9d315f0ad8355cddefde31afa28d0e9", 3, 2)
# PoolCreated(address,address,uint24,int24,address): https://docs.uniswap.org/contracts/v3/reference/core/interfaces/IUniswapV3Factory
POOL_CREATED = Layout("pool_created", "0x783cca1c0412dd0d695e784568c96da2e9c22ff989357a2e8b1d9b2b4e6b7118", 4, 2)
LAYOUTS = (ERC20, ERC721, SINGLE, BATCH, V2_SWAP, V3_SWAP, PAIR_CREATED, POOL_CREATED)


@dataclass(frozen=True)
class Logs:
    """Logs of one layout."""

    rows: pl.DataFrame

    @cached_property
    def data(self) -> Digits:
        return words.digits(self.rows["data"])

    def word(self, place: int) -> Digits:
        """Of each log's data the word at a place, from 0."""
        return self.data.word(place)

    def topic(self, place: int) -> Digits:
        """Of each log's topics the word at a place; that at 0 says which event it is."""
        return words.digits(self.rows["topics"].list.get(place, null_on_oob=True)).only()

    def told(self, *required: str, **columns: pl.Series | pl.Expr) -> pl.DataFrame:
        """The logs with what their words say, and ``told``: whether all that is ``required`` is there."""
        rows = self.rows.drop("topics", "data").with_columns(**columns)
        return rows.with_columns(told=pl.all_horizontal(pl.col(c).is_not_null() for c in required))

    def untold(self) -> pl.DataFrame:
        """The logs, none of which is ``told``."""
        return self.rows.drop("topics", "data").with_columns(told=pl.lit(False))


def logs_of(logs: pl.LazyFrame, layouts: Sequence[Layout], columns: Sequence[str] = LOG) -> list[Logs]:
    """The logs of each layout, in their order, with ``columns``, ``topics`` and ``data``; last those that have the topic of one and are laid
    out in no such way. A batch's data may have any length here."""
    topic, topics, size = pl.col("topics").list.first(), pl.col("topics").list.len(), pl.col("data").str.len_bytes()
    hexed = pl.col("data").str.starts_with("0x")
    which = pl.lit(len(layouts), pl.UInt8)
    for place, layout in enumerate(layouts):
        fits = hexed if layout.words is None else hexed & (size == 2 + words.DIGITS * layout.words)
        which = pl.when((topic == layout.topic) & (topics == layout.topics) & fits).then(pl.lit(place, pl.UInt8)).otherwise(which)
    hashes = sorted({layout.topic for layout in layouts})
    kept = logs.select(*columns, "topics", "data").filter(topic.is_in(hashes)).with_columns(_layout=which).collect()
    parts = kept.partition_by("_layout", as_dict=True, maintain_order=True, include_key=False)
    return [Logs(parts.get((place,), kept.drop("_layout").clear())) for place in range(len(layouts) + 1)]
