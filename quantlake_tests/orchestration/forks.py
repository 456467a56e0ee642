"""Chains made for tests: blocks with a transfer and a swap each, that fork where a test says so."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa

from quantlake.contract import Stream
from quantlake.datasets.onchain import blocks, chain_status, logs, receipts, transactions
from quantlake.sources.importers import typed

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
SWAP_V2 = "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822"
TOKEN, POOL, SENDER = (f"0x{digit * 40}" for digit in "abc")
EVERY, SECOND = timedelta(seconds=12), timedelta(seconds=1)


@dataclass(frozen=True)
class Block:
    """One block of a chain; ``fork`` tells those of one height apart."""

    chain_id: int
    number: int
    time: datetime
    parent_hash: str
    fork: str = ""

    @property
    def hash(self) -> str:
        return "0x" + hashlib.sha256(f"{self.chain_id} {self.number} {self.fork} {self.parent_hash}".encode()).hexdigest()

    @property
    def amount(self) -> int:
        """What is transferred in it, and swapped: beyond 64 bits."""
        return int(self.hash[2:34], 16)


def chain(chain_id: int, first: datetime, length: int) -> list[Block]:
    """So many blocks from ``first`` on, twelve seconds apart, from height 100."""
    found: list[Block] = []
    for n in range(length):
        found.append(Block(chain_id, 100 + n, first + n * EVERY, found[-1].hash if found else "0x" + "0" * 64))
    return found


def forked(of: list[Block], depth: int, fork: str, length: int) -> list[Block]:
    """The chain whose last ``depth`` blocks are replaced by ``length`` others, one second later each."""
    found = of[:-depth]
    for n in range(length):
        parent = found[-1]
        found.append(Block(parent.chain_id, parent.number + 1, parent.time + EVERY + (n == 0) * SECOND, parent.hash, fork))
    return found


def messages(seen: Iterable[Block], received: datetime | None = None) -> dict[Stream, pa.Table]:
    """Rows of blocks by stream: received then, or (None) a second after each one's time."""
    rows: dict[Stream, list[dict[str, Any]]] = {s: [] for s in (blocks.raw, transactions.raw, receipts.raw, logs.raw)}
    for b in seen:
        known = received or b.time + SECOND
        of = {
            "chain_id": b.chain_id, "block_number": b.number, "block_hash": b.hash, "block_timestamp": b.time, "known_at": known,
            "known_at_source": "receive", "source": "test", "source_name": "test", "line_number": b.number,
        }  # fmt: skip
        tx = {"transaction_hash": "0x" + b.hash[:1:-1], "transaction_index": 0}
        rows[blocks.raw].append({**of, "parent_hash": b.parent_hash, "transaction_count": 1})
        rows[transactions.raw].append({
            **of, "hash": tx["transaction_hash"], "transaction_index": 0, "nonce": 1, "from_address": SENDER, "to_address": POOL, "value": "0",
            "gas": 100, "input": "0x",
        })  # fmt: skip
        rows[receipts.raw].append({**of, **tx, "status": 1, "gas_used": 90, "cumulative_gas_used": 90})
        word = f"{b.amount:064x}"
        rows[logs.raw] += [
            {**of, **tx, "log_index": 0, "address": TOKEN, "topics": [TRANSFER, topic(SENDER), topic(POOL)], "data": f"0x{word}"},
            {**of, **tx, "log_index": 1, "address": POOL, "topics": [SWAP_V2, topic(SENDER), topic(SENDER)], "data": f"0x{word}{0:0128x}{1:064x}"},
        ]
    return {stream: table(stream, found) for stream, found in rows.items()}


def status(seen: Iterable[Block], observed: datetime | None = None, gone: Iterable[Block] = ()) -> pa.Table:
    """That blocks are the chain's, as observed then (a second after each one's time); and that no block is any more at the heights of ``gone``."""
    found = [
        {"chain_id": b.chain_id, "block_number": b.number, "block_hash": b.hash, "block_timestamp": b.time, "observed_at": observed or b.time + SECOND}
        for b in seen
    ] + [
        {"chain_id": b.chain_id, "block_number": b.number, "block_hash": None, "block_timestamp": None, "observed_at": observed} for b in gone
    ]  # fmt: skip
    return table(chain_status.raw, [{**row, "known_at": row["observed_at"], "source": "test", "source_name": "test"} for row in found])


def topic(address: str) -> str:
    return f"0x{address[2:]:0>64}"


def table(stream: Stream, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a stream's, completed by its own rule."""
    kinds = pl.DataFrame(stream.spec.arrow.empty_table()).schema
    frame = pl.DataFrame(rows, {c.name: kinds[c.name] for c in stream.columns})
    return typed(stream, stream.filler(frame) if stream.filler else frame)


MIDNIGHT = datetime(2024, 3, 5, tzinfo=UTC)
