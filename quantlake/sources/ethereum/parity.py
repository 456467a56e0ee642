"""Traces as Parity, OpenEthereum, Erigon and Nethermind give them, and as mev-inspect keeps them with a block's receipts.

Here: both. Not here: responses of ``trace_block`` (json_rpc.py opens them), ethereum-etl's own traces (etl.py).

- Parity's (https://openethereum.github.io/JSONRPC-trace-module): ``action``, ``result``, ``error``, ``type``; ``blockHash``, ``blockNumber``,
  ``subtraces``, ``traceAddress``, ``transactionHash``, ``transactionPosition``. mev-inspect writes these last in snake case.
  A file has them as an array, or one a line.
- mev-inspect's file (https://github.com/flashbots/mev-inspect-py): an object of ``block_number``, maybe ``block_timestamp``, ``traces``,
  ``receipts``. Receipts have no block hash: it is the traces'. Some files have what looks like the status for the sum of gas, and differences of
  that, modulo 2^64, for gas: such is no gas. Its header is not whole, so it says nothing of which block is the chain's.
- ``status`` is 0 of a trace that failed or lies within one that did: what it changed is undone.
- A trace without transaction (a reward) is numbered among those of its block and type: ``reward_index``.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError
from quantlake.datasets.onchain import receipts, traces
from quantlake.sources.ethereum import beside, documents
from quantlake.sources.ethereum.rows import dated, tables
from quantlake.sources.ethereum.values import ADDRESS, DATA, EITHER, HASH, PLACE, SHOWN, Item, of_objects, placed, within
from quantlake.sources.importers import Rows

SNAKE = {
    "block_hash": "blockHash", "block_number": "blockNumber", "trace_address": "traceAddress", "transaction_hash": "transactionHash",
    "transaction_position": "transactionPosition",
}  # fmt: skip
MEMBERS: Mapping[str, Mapping[str, str]] = {
    "call": {"from": "from", "to": "to", "value": "value", "gas": "gas", "input": "input", "call_type": "callType"},
    "create": {"from": "from", "value": "value", "gas": "gas", "input": "init"},
    "suicide": {"from": "address", "to": "refundAddress", "value": "balance"},
    "reward": {"to": "author", "value": "value", "reward_type": "rewardType"},
}
"""What each type's ``action`` calls its parts."""
RESULTS: Mapping[str, Mapping[str, str]] = {
    "call": {"gas_used": "gasUsed", "output": "output"},
    "create": {"gas_used": "gasUsed", "output": "code", "to": "address"},
}
CALLS = ("call", "callcode", "delegatecall", "staticcall")
DEEPEST = 1 << 16


def read(path: Path) -> Rows:
    """The traces of a file, then its receipts. Raises ``QuantLakeError`` naming file, trace or receipt, and what was found."""
    document = documents.opened(path)
    items = [Item(where, line, 0, found) for where, line, found in documents.parsed(document)]
    times = beside.times(path.parent)
    whole = [item for item in items if "traces" in of_one(item)]
    if len(whole) < len(items):
        found = {traces.raw: of_traces(items, times)}
    else:
        each = [_of_file(item, times) for item in items]
        found = {stream: pl.concat(frames) for stream, frames in zip((traces.raw, receipts.raw), zip(*each, strict=True), strict=False)}
    yield from tables(found, document.origin("parity_trace", beside.chain_id(path.parent)))


def of_traces(items: Sequence[Item], times: Mapping[str, datetime]) -> pl.DataFrame:
    """Traces of whole transactions, in order; ``times`` are those of blocks by hash.

    Raises ``QuantLakeError`` naming the trace: a member that is missing or wrong, a type that is not known.
    """
    plain = [item._replace(value=_flat(item)) for item in items]
    found = of_objects(plain, EITHER)
    kinds = found.member("type")
    hashes = found.text("blockHash", HASH)
    frame = pl.DataFrame({
        **placed(items),
        "block_number": found.integer("blockNumber"),
        "block_hash": hashes,
        "block_timestamp": dated(hashes, times),
        "transaction_hash": found.text("transactionHash", HASH, null=True),
        "transaction_index": found.integer("transactionPosition", null=True),
        "trace_address": found.words("traceAddress", DEEPEST, PLACE).list.join(","),
        "from_address": found.text("from", ADDRESS, null=True),
        "to_address": found.text("to", ADDRESS, null=True),
        "value": found.amount("value", null=True),
        "input": found.text("input", DATA, null=True),
        "output": found.text("output", DATA, null=True),
        "trace_type": kinds,
        "call_type": found.plain("call_type"),
        "reward_type": found.plain("reward_type"),
        "gas": found.integer("gas", null=True),
        "gas_used": found.integer("gas_used", null=True),
        "subtraces": found.integer("subtraces", null=True),
        "error": found.plain("error"),
    })  # fmt: skip
    return with_status(with_reward_index(frame))


def with_reward_index(traces: pl.DataFrame) -> pl.DataFrame:
    """Traces in their file's order with ``reward_index``, that of each without a transaction."""
    place = pl.int_range(pl.len()).over("block_hash", "trace_type", pl.col("transaction_hash").is_null())
    return traces.with_columns(reward_index=pl.when(pl.col("transaction_hash").is_null()).then(place))


def with_status(traces: pl.DataFrame) -> pl.DataFrame:
    """With ``status``: 0 of a trace with an ``error``, and of all within it."""
    places = list(zip(traces["block_hash"], traces["transaction_hash"], traces["trace_address"], strict=True))
    failed = {place for place, error in zip(places, traces["error"], strict=True) if error}
    status = [0 if any((block, hash_, above) in failed for above in _path(address)) else 1 for block, hash_, address in places]
    return traces.with_columns(status=pl.Series(status, dtype=pl.Int64))


def _path(address: str) -> list[str]:
    """A trace's own address and those of all that it lies within."""
    parts = address.split(",") if address else []
    return [",".join(parts[:depth]) for depth in range(len(parts) + 1)]


def _flat(item: Item) -> dict[str, Any]:
    """A trace's parts under one name whatever its type. Raises ``QuantLakeError``: no object, an unknown type, a part that is missing."""
    trace = of_one(item)
    kind, action, result = trace.get("type"), trace.get("action"), trace.get("result")
    if not isinstance(kind, str) or kind not in MEMBERS:
        raise QuantLakeError(f"{item.where}: type {str(kind)[:SHOWN]!r} is none of {', '.join(MEMBERS)}")
    if not isinstance(action, dict) or not isinstance(result, dict | None):
        raise QuantLakeError(f"{item.where}: its action must be an object, its result an object or null")
    if kind in RESULTS and result is None and not trace.get("error"):
        raise QuantLakeError(f"{item.where}: it has neither a result nor an error")
    parts = {name: action.get(member) for name, member in MEMBERS[kind].items()}
    for name, member in MEMBERS[kind].items():
        if parts[name] is None:
            raise QuantLakeError(f"{item.where}: action.{member} is missing")
    if parts.get("call_type") not in (None, *CALLS):
        raise QuantLakeError(f"{item.where}: action.callType {str(parts['call_type'])[:SHOWN]!r} is none of {', '.join(CALLS)}")
    results = {name: result.get(member) for name, member in RESULTS.get(kind, {}).items()} if result else {}
    whole = {name: trace.get(name, trace.get(snake)) for snake, name in SNAKE.items()}
    if kind != "reward" and None in (whole["transactionHash"], whole["transactionPosition"]):
        raise QuantLakeError(f"{item.where}: a {kind} without a transaction")
    return {"type": kind, "error": trace.get("error"), "subtraces": trace.get("subtraces"), **whole, **parts, **results}


def of_one(item: Item) -> dict[str, Any]:
    """Raises ``QuantLakeError`` for what is no object."""
    of_objects([item], EITHER)
    found: dict[str, Any] = item.value
    return found


def _of_file(file: Item, known: Mapping[str, datetime]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The traces and receipts of an object of mev-inspect."""
    head = of_objects([file], EITHER)
    head.integer("block_number")
    same = {"block_number": "block_number", "blockNumber": "block_number"}
    found = of_traces(within([file], "traces", "trace", same), known)
    items = within([file], "receipts", "receipt", same)
    hashes = found["block_hash"].unique(maintain_order=True).to_list()
    if len(hashes) > 1:
        raise QuantLakeError(f"{file.where}: its traces are of more than one block, {hashes[0]} and {hashes[1]}")
    if items and not hashes:
        raise QuantLakeError(f"{items[0].where}: without a trace beside it, nothing says which block it is of")
    stamp = head.time("block_timestamp", null=True)[0]
    times = known if stamp is None else {**known, **dict.fromkeys(hashes, stamp)}
    dated_traces = found.with_columns(block_timestamp=dated(found["block_hash"], times))
    return dated_traces, _receipts(items, pl.Series(hashes * len(items), dtype=pl.String), times)


def _receipts(items: Sequence[Item], blocks: pl.Series, times: Mapping[str, datetime]) -> pl.DataFrame:
    """Gas is null where its sum does not rise with each transaction of the block."""
    found = of_objects(items, EITHER)
    gas = {name: found.amount(name) for name in ("gas_used", "cumulative_gas_used")}
    frame = pl.DataFrame({
        **placed(items),
        "block_number": found.integer("block_number"),
        "block_hash": blocks,
        "block_timestamp": dated(blocks, times),
        "transaction_hash": found.text("transaction_hash", HASH),
        "transaction_index": found.integer("transaction_index"),
        **{name: amounts.cast(pl.Int64, strict=False) for name, amounts in gas.items()},
        "effective_gas_price": found.amount("effective_gas_price", null=True),
    })  # fmt: skip
    rises = (pl.col("cumulative_gas_used").sort_by("transaction_index").diff() > 0).all() & pl.col("gas_used").is_not_null().all()
    return frame.with_columns(pl.when(rises).then(pl.col(*gas)))
