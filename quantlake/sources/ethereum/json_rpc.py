"""Responses of a node's JSON-RPC interface, kept as they came: one, a batch (an array), or one a line.

Here: which kind of result each is, and a file's rows. Not here: members of the objects (rows.py, parity.py), answers of contracts (calls.py).

What a result is follows from its members (https://github.com/ethereum/execution-apis), or from the method in the file's name
(``web3_response.eth_getBlockByNumber_0x1_true.json``). Errors, null, and results that are no blocks, transactions, receipts, logs or traces (a filter's id,
``true``, an empty list, the chain's id) have no rows. Times of receipts and logs are those of blocks in the file or beside it.
That a log is ``removed`` was known when the file is read, since nothing says when it was.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.onchain import blocks, chain_status, logs, receipts, traces, transactions
from quantlake.sources.ethereum import beside, calls, documents, parity, rows
from quantlake.sources.ethereum.values import HEX, SHOWN, Item, of_objects
from quantlake.sources.importers import Rows

MARKS: Mapping[str, frozenset[str]] = {
    "block": frozenset({"parentHash", "sha3Uncles", "stateRoot", "transactionsRoot", "extraData"}),
    "trace": frozenset({"action", "traceAddress", "subtraces"}),
    "receipt": frozenset({"cumulativeGasUsed", "gasUsed", "effectiveGasPrice", "contractAddress"}),
    "log": frozenset({"logIndex", "topics", "removed"}),
    "transaction": frozenset({"nonce", "gasPrice", "input"}),
}
"""Members that only this kind of object, or one further above, has."""
METHODS = {
    "eth_getBlockByNumber": "block", "eth_getBlockByHash": "block", "eth_getBlockReceipts": "receipt", "eth_getTransactionReceipt": "receipt",
    "eth_getLogs": "log", "eth_getFilterLogs": "log", "trace_block": "trace",
}  # fmt: skip
NAME = re.compile(r"(?:^|\.)(eth_(?:get[A-Z][A-Za-z]+|call|chainId|blockNumber|newFilter|uninstallFilter)|trace_block)[_.]")


def read(path: Path) -> Rows:
    """The rows of a file's responses: blocks and what they say of the chain, transactions, receipts, logs, traces, tokens, contracts.

    Raises ``QuantLakeError`` naming file, response and member: no JSON, no response, a result that is not what it should be.
    """
    document = documents.opened(path)
    method = asked(path)
    if method in ("eth_call", "eth_getCode"):
        found = calls.read(path)
    else:
        found = _of_results(list(_results(documents.parsed(document))), METHODS.get(method or ""), path.parent)
    yield from rows.tables(found, document.origin("json_rpc", beside.chain_id(path.parent)))


def asked(path: Path) -> str | None:
    """The method that a file is named after."""
    found = NAME.search(path.name)
    return found[1] if found else None


def _results(responses: Iterable[tuple[str, int, Any]]) -> Iterator[Item]:
    """The results that are there, each item of a list by itself."""
    for where, line, response in responses:
        if not isinstance(response, dict) or not response.keys() & {"result", "error"}:
            raise QuantLakeError(f"{where} is {str(response)[:SHOWN]!r}, not a response with a result or an error")
        result = response.get("result")
        if isinstance(result, list):
            items = [Item(f"{where} result {number}", line, number, part) for number, part in enumerate(result)]
            if any(isinstance(part, dict) for part in result):
                of_objects(items, HEX)  # then all must be
            yield from items
        elif result is not None:
            yield Item(where, line, 0, result)


def _of_results(results: Sequence[Item], expected: str | None, folder: Path) -> Mapping[Stream, pl.DataFrame]:
    found: defaultdict[str, list[Item]] = defaultdict(list)
    for item in results:
        if kind := expected or _kind(item):
            found[kind].append(item)
    headers = rows.of_blocks(found["block"]) if found["block"] else None
    times = {} if headers is None else rows.times_of(headers)
    if any(items for kind, items in found.items() if kind != "block"):
        times = {**beside.times(folder), **times}
    found["transaction"] += rows.whole_transactions(found["block"])
    found["log"] += rows.logs_within(found["receipt"])
    frames = {READ[kind][0]: READ[kind][1](items, times) for kind, items in found.items() if items and kind != "block"}
    return frames if headers is None else {blocks.raw: headers, **frames, chain_status.raw: rows.seen(headers)}


def _kind(item: Item) -> str | None:
    """Null of what has no rows."""
    if not isinstance(item.value, dict):
        return None
    kind = next((kind for kind, marks in MARKS.items() if marks & item.value.keys()), None)
    if kind is None:
        raise QuantLakeError(f"{item.where} has the members {', '.join(item.value)[:SHOWN]!r}, which are none of a {', '.join(MARKS)}")
    return kind


Reader = Callable[[Sequence[Item], Mapping[str, datetime]], pl.DataFrame]
READ: Mapping[str, tuple[Stream, Reader]] = {
    "transaction": (transactions.raw, rows.of_transactions), "receipt": (receipts.raw, rows.of_receipts), "log": (logs.raw, rows.of_logs),
    "trace": (traces.raw, parity.of_traces),
}  # fmt: skip
"""Which stream each kind of object goes to, and what reads it with the times of blocks by hash."""
