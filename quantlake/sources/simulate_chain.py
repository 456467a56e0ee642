"""A simulated chain's logs: transfers, swaps and others about as frequent as in blocks of the main net of 2023.

Here: logs of some blocks, and what is known of their tokens and pools; a function of the arguments alone. Not here: blocks, transactions.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from quantlake.contract import Table
from quantlake.datasets.onchain import dex_pools, logs, tokens
from quantlake.evm import events

FIRST_BLOCK, BEGAN, BLOCK_SECONDS = 17_000_000, datetime(2023, 4, 8, tzinfo=UTC), 12
TOKENS, POOLS, LOGS_A_TRANSACTION = 3_000, 2_000, 3
BATCH_ITEMS = 6  # the most of a batch
OTHER = events.Layout("other", "0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1", 1, 2)  # as long as Uniswap's Sync(uint112,uint112)
SHARES: Mapping[events.Layout, float] = {
    events.ERC20: 0.51, events.ERC721: 0.03, events.SINGLE: 0.01, events.BATCH: 0.005, events.V2_SWAP: 0.07, events.V3_SWAP: 0.05, OTHER: 0.325,
}  # fmt: skip

Bytes = npt.NDArray[np.uint8]
_HEX = np.frombuffer("".join(f"{n:02x}" for n in range(256)).encode(), np.uint8).reshape(256, 2)


@dataclass(frozen=True)
class Chain:
    """A chain of ``blocks`` with ``logs`` in all, alike in each but for chance."""

    blocks: int
    logs: int
    seed: int

    def part(self, first: int, end: int) -> tuple[pl.DataFrame, Counter[str]]:
        """The logs of its blocks ``first`` to ``end`` (exclusive), with the columns of ``curated/onchain/logs`` in its order, and how many
        ``transfers`` and ``swaps`` they tell of."""
        random = np.random.default_rng([self.seed, first])
        count = self.logs * end // self.blocks - self.logs * first // self.blocks
        shares = np.array(list(SHARES.values()))
        kinds = random.choice(len(SHARES), count, p=shares / shares.sum())
        told = pl.concat([_told(layout, np.flatnonzero(kinds == n), random) for n, layout in enumerate(SHARES)]).sort("row").drop("row")
        placed = _placed(np.sort(random.integers(first, end, count)), self.seed)
        rows = pl.concat([_empty(logs.logs), told.hstack(placed)], how="diagonal_relaxed")
        count_of = {layout: int(np.sum(kinds == n)) for n, layout in enumerate(SHARES)}
        alone = count_of[events.ERC20] + count_of[events.ERC721] + count_of[events.SINGLE]
        in_batches = sum(items * len(rows) for items, rows in _split(count_of[events.BATCH]))
        return rows, Counter(transfers=alone + in_batches, swaps=count_of[events.V2_SWAP] + count_of[events.V3_SWAP])

    @property
    def tokens(self) -> pl.DataFrame:
        """What its tokens say: nine in ten their decimals."""
        decimals = np.resize([18, 18, 18, 6, 18, 8, 18, 0, 18], TOKENS)
        said = pl.DataFrame({"chain_id": pl.repeat(1, TOKENS, eager=True), "address": _addresses(np.arange(TOKENS)), "decimals": decimals})
        told = said.with_columns(decimals=pl.when(pl.int_range(TOKENS) % 10 < 9).then("decimals"), known_at=BEGAN)
        return pl.concat([_empty(tokens.tokens), told], how="diagonal_relaxed")

    @property
    def pools(self) -> pl.DataFrame:
        """What its pools trade: of half of them that is known."""
        of = np.arange(0, POOLS, 2)
        said = pl.DataFrame({"chain_id": pl.repeat(1, len(of), eager=True), "pool": _addresses(TOKENS + of), "token0": _addresses(of), "token1": _addresses(of + 1)})
        told = said.with_columns(protocol=pl.lit("uniswap_v2"), known_at=BEGAN)
        return pl.concat([_empty(dex_pools.pools), told], how="diagonal_relaxed")


def _empty(table: Table) -> pl.DataFrame:
    return pl.DataFrame(table.spec.arrow.empty_table()).drop("superseded_at")


def _told(layout: events.Layout, rows: npt.NDArray[np.int64], random: np.random.Generator) -> pl.DataFrame:
    """The logs of one kind, at ``rows``: who told it, its topics and its data."""
    count = len(rows)
    swap = layout in (events.V2_SWAP, events.V3_SWAP)
    contracts = TOKENS + random.integers(0, POOLS, count) if swap else np.minimum(random.zipf(1.3, count), TOKENS) - 1
    parties = [_hexed(_padded(_address_bytes(random.integers(0, 1 << 18, count)))) for _ in range(layout.topics - 1)]
    topics = pl.select(pl.concat_list(pl.repeat(layout.topic, count, eager=True), *parties)).to_series()
    data = _batches(count, random) if layout is events.BATCH else _hexed(_data(layout, count, random))
    return pl.DataFrame({"row": rows, "address": _addresses(contracts), "topics": topics, "data": data})


def _data(layout: events.Layout, count: int, random: np.random.Generator) -> Bytes:
    """Words of amounts below 2^96; of a v3 swap one is negative, and the tick of 20 bits."""
    words = _amounts(count, layout.words or 0, random)
    if layout is events.V2_SWAP:  # one in, the other out
        zero = random.random(count) < 0.5
        words[zero, 0:4:3], words[~zero, 1:3] = 0, 0
    if layout is events.V3_SWAP:
        words[:, 1, :20] = 255
        words[:, 4, :29] = 0
        words[:, 4, 29] &= 7
    return words.reshape(count, words.shape[1] * 32)


def _batches(count: int, random: np.random.Generator) -> pl.Series:
    """Two dynamic arrays of one length, 1 to ``BATCH_ITEMS``."""
    parts = []
    for items, rows in _split(count):
        words = _amounts(len(rows), 4 + 2 * items, random)
        for place, number in ((0, 64), (1, 96 + 32 * items), (2, items), (3 + items, items)):
            words[:, place, :30], words[:, place, 30], words[:, place, 31] = 0, number >> 8, number & 255
        parts.append(_hexed(words.reshape(len(rows), words.shape[1] * 32)))
    return pl.concat(parts)


def _split(count: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Batches by how many items they have."""
    return enumerate(np.array_split(np.arange(count), BATCH_ITEMS), 1)


def _amounts(count: int, words: int, random: np.random.Generator) -> Bytes:
    """Words whose numbers have 40 to 96 bits."""
    found = np.zeros((count, words, 32), np.uint8)
    found[:, :, 20:] = random.integers(0, 256, (count, words, 12), np.uint8)
    small = random.random((count, words)) < 0.7
    found[small, 20:27] = 0
    return found


def _placed(blocks: npt.NDArray[np.int64], seed: int) -> pl.DataFrame:
    """Which block each log is of (``blocks`` ascend), where in it, and when, with the columns that say so."""
    numbers, begins, own = np.unique(blocks, return_index=True, return_inverse=True)
    index = np.arange(len(blocks)) - begins[own]
    transaction = index // LOGS_A_TRANSACTION
    at = pl.lit(BEGAN, pl.Datetime("us", "UTC")) + pl.duration(seconds=pl.col("block_number") * BLOCK_SECONDS)
    rows = pl.DataFrame({
        "block_number": blocks, "block_hash": _hashes(seed, numbers)[own], "log_index": index, "transaction_index": transaction,
        "transaction_hash": _hashes(seed + 1, blocks * 10_000 + transaction),
    }).with_columns(block_timestamp=at)  # fmt: skip
    return rows.with_columns(
        pl.col("block_number") + FIRST_BLOCK, chain_id=pl.lit(1, pl.Int64), source=pl.lit("ethereum"), venue=pl.lit("ethereum"),
        event_time="block_timestamp", event_time_source=pl.lit("block"), receive_time="block_timestamp", known_at="block_timestamp",
        known_at_source=pl.lit("receive"), source_name=pl.lit("simulated"), partition_date=pl.col("block_timestamp").dt.date(),
        flags=pl.lit([], pl.List(pl.String)),
    )  # fmt: skip


def _hashes(seed: int, numbers: npt.NDArray[np.int64]) -> pl.Series:
    """Words that look like hashes, by their numbers."""
    return _hexed(_mixed(numbers, seed, 4))


def _addresses(numbers: npt.NDArray[np.int64]) -> pl.Series:
    return _hexed(_address_bytes(numbers))


def _address_bytes(numbers: npt.NDArray[np.int64]) -> Bytes:
    return _mixed(numbers, 0, 3)[:, :20]


def _mixed(numbers: npt.NDArray[np.int64], seed: int, words: int) -> Bytes:
    """So many words of 8 bytes that look random, by each number (SplitMix64, https://prng.di.unimi.it/splitmix64.c)."""
    state = numbers.astype(np.uint64)[:, None] * np.uint64(words) + np.arange(words, dtype=np.uint64) + np.uint64(seed << 48)
    found: npt.NDArray[np.uint64] = np.multiply(state + np.uint64(1), np.uint64(0x9E3779B97F4A7C15))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        found = np.multiply(found ^ np.right_shift(found, np.uint64(shift)), np.uint64(factor))
    return found.view(np.uint8)


def _padded(addresses: Bytes) -> Bytes:
    return np.pad(addresses, ((0, 0), (12, 0)))


def _hexed(rows: Bytes) -> pl.Series:
    """Rows of bytes as hex with ``0x``."""
    text = np.empty((len(rows), 2 + 2 * rows.shape[1]), np.uint8)
    text[:, 0], text[:, 1] = ord("0"), ord("x")
    text[:, 2:] = _HEX[rows].reshape(len(rows), 2 * rows.shape[1])
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * text.shape[1]
    return pl.Series(pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(text)))
