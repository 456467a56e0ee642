"""Rows of a live client's streams: whole blocks as a node gave them, and which of them are the chain's.

Here: whose time a row is known at. Not here: what a node's objects say (sources/ethereum/rows.py), sending.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa

from quantlake.contract import Stream
from quantlake.datasets.onchain import blocks, chain_status, logs, receipts, transactions
from quantlake.sources.ethereum import rows
from quantlake.sources.ethereum.rows import Origin
from quantlake.sources.ethereum.values import Item
from quantlake.sources.live.ethereum.chain import Change

SOURCE = "ethereum"
STREAMS = (transactions.raw, receipts.raw, logs.raw, blocks.raw)
"""In the order in which they are sent: where a block is, all of it is."""
SCHEMA = {"block_number": pl.Int64(), "block_hash": pl.String(), "block_timestamp": pl.Datetime("us", "UTC"), "finalized_number": pl.Int64()}
Object = Mapping[str, Any]
Whole = tuple[Object, Sequence[Object]]
"""A block with its transactions, and its receipts with their logs, as JSON-RPC has them."""


def tables(whole: Sequence[Whole], origin: Origin) -> dict[str, pa.Table]:
    """Rows of blocks by stream path. Raises ``QuantLakeError`` naming the block and member that is not as JSON-RPC has it."""
    headers = [_item(block, block, "") for block, _ in whole]
    found = rows.of_blocks(headers)
    times = rows.times_of(found)
    spent = [_item(block, t, f" transaction {n}") for block, _ in whole for n, t in enumerate(block["transactions"])]
    came = [_item(block, r, f" receipt {n}") for block, listed in whole for n, r in enumerate(listed)]
    told = rows.logs_within(came)
    frames = (rows.of_transactions(spent, times), rows.of_receipts(came, times), rows.of_logs(told, times), found)
    return {stream.path: _stamped(stream, frame, origin) for stream, frame in zip(STREAMS, frames, strict=True)}


def status(change: Change, origin: Origin, finalized: int | None) -> pa.Table:
    """Rows of ``raw/onchain/chain_status``: each new block of the chain, then each height where none is any more."""
    heights = [(h.number, h.hash, h.time, finalized) for h in change.headers]
    gone = [(number, None, None, finalized) for number in change.gone]
    return _stamped(chain_status.raw, pl.DataFrame(heights + gone, schema=SCHEMA, orient="row"), origin)


def origin(chain_id: int, received: datetime, live: bool) -> Origin:
    """Whose rows these are; what is not ``live`` was known at its block's time."""
    return Origin(SOURCE, f"json_rpc/{chain_id}", None, received, chain_id, live)


def _item(block: Object, value: Any, place: str) -> Item:
    return Item(f"block {int(block['number'], 16)}{place}", 0, 0, value)


def _stamped(stream: Stream, frame: pl.DataFrame, origin: Origin) -> pa.Table:
    """A node's answer has no lines."""
    return rows.stamped(stream, frame.drop("line_number", "item_index", strict=False), origin)
