"""Logs decoded one by one in plain Python, to compare with; and frames of logs as the curated table has them.

Here: the rules of the events, written a second time. Not here: the code under test.
"""

import csv
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import polars as pl

from quantlake import evm
from quantlake.contract import Table
from quantlake.datasets.onchain import dex_pools, logs, tokens

AT = datetime(2023, 5, 2, 12, 19, 59, tzinfo=UTC)
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
SINGLE = "0xc3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62"
BATCH = "0x4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb"
V2_SWAP = "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822"
V3_SWAP = "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67"
PAIR_CREATED = "0x0d3648bd0f6ba80134a33ba9275ac585d9d315f0ad8355cddefde31afa28d0e9"
POOL_CREATED = "0x783cca1c0412dd0d695e784568c96da2e9c22ff989357a2e8b1d9b2b4e6b7118"
EVENTS = (TRANSFER, SINGLE, BATCH, V2_SWAP, V3_SWAP, PAIR_CREATED, POOL_CREATED)
FACTORY = "0x5c69bee701ef814a2b6a3edd4b1652cb9cc5aa6f"

Log = dict[str, Any]


def word(number: int) -> str:
    return f"{number % (1 << 256):064x}"


def topic(number: int) -> str:
    return "0x" + word(number)


def address(number: int) -> str:
    return f"0x{number:040x}"


def a_log(topics: Sequence[str], data: str = "0x", *, index: int = 0, contract: int = 0xC0, at: datetime = AT, block: int = 1, **other: Any) -> Log:
    return {
        "chain_id": 1, "block_number": block, "block_hash": topic(block), "block_timestamp": at, "log_index": index, "transaction_hash": topic(9),
        "transaction_index": 0, "address": address(contract), "topics": list(topics), "data": data, "event_time": at, "known_at": at,
        "partition_date": at.date(), **other,
    }  # fmt: skip


def frame(table: Table, rows: Sequence[dict[str, Any]]) -> pl.LazyFrame:
    empty = pl.DataFrame(table.spec.arrow.empty_table()).drop("superseded_at")
    return pl.DataFrame([dict.fromkeys(empty.columns) | row for row in rows], schema=empty.schema).lazy()


def log_rows(*rows: Log) -> pl.LazyFrame:
    return frame(logs.logs, rows)


def token_rows(*said: tuple[int, int | None, date | None]) -> pl.LazyFrame:
    """Tokens by their contract, decimals and when they were first seen."""
    return frame(tokens.tokens, [{"chain_id": 1, "address": address(n), "decimals": d, "first_seen": s, "known_at": AT} for n, d, s in said])


def pool_rows(*said: dict[str, Any]) -> pl.LazyFrame:
    return frame(dex_pools.pools, [{"chain_id": 1, "known_at": AT, **row} for row in said])


def undecoded(*logs: Log) -> list[dict[str, Any]]:
    return evm.undecoded(log_rows(*logs)).collect().to_dicts()


def data(*numbers: int) -> str:
    return "0x" + "".join(map(word, numbers))


def read_logs(path: Path) -> list[Log]:
    """Logs as JSON lines, CSV, or an answer to JSON-RPC."""
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
        return [_log(r | {"topics": r["topics"].split(","), "log_index": int(r["log_index"]), "block_number": int(r["block_number"])}) for r in rows]
    if path.name.startswith("web3_response"):
        names = {"blockHash": "block_hash", "blockNumber": "block_number", "logIndex": "log_index", "transactionHash": "transaction_hash"}
        rows = [{names.get(k, k): v for k, v in r.items()} for r in json.loads(path.read_text())["result"]]
        return [_log(r | {n: int(r[n], 16) for n in ("block_number", "log_index")}) for r in rows]
    return [_log(json.loads(line)) for line in path.read_text().splitlines()]


def _log(row: dict[str, Any]) -> Log:
    place = {k: row[k] for k in ("block_number", "block_hash", "transaction_hash", "address")}
    return a_log(row["topics"], row["data"], index=row["log_index"]) | place


def exactly(value: str, decimals: int | None) -> Decimal | None:
    """A value less its decimals, where decimal(38,18) holds it exactly."""
    if decimals is None:
        return None
    with localcontext() as context:
        context.prec = 400
        found = Decimal(value).scaleb(-decimals)
        return found if abs(found) < 10**20 and found == found.quantize(Decimal(1).scaleb(-18)) else None


def transfers(log: Log) -> list[tuple[Any, ...]] | None:
    """(standard, operator, from, to, token id, value) of each transfer that a log tells of; None: it is of such an event, and tells of none."""
    topics, words = log["topics"], _words(log["data"])
    if not topics or topics[0] not in (TRANSFER, SINGLE, BATCH):
        return []
    indexed = [_words(t) for t in topics[1:]]
    if any(w is None or len(w) != 1 for w in indexed):
        return None
    parties = [_address(w[0]) for w in indexed if w]
    if topics[0] == TRANSFER and words is not None and (len(topics), len(words)) == (3, 1):
        return [("erc20", None, *parties, None, str(int(words[0], 16)))]
    if topics[0] == TRANSFER and words == [] and len(topics) == 4:
        return [("erc721", None, *parties[:2], str(int(topics[3], 16)), "1")]
    if topics[0] == SINGLE and words is not None and (len(topics), len(words)) == (4, 2):
        return [("erc1155", *parties, str(int(words[0], 16)), str(int(words[1], 16)))]
    if topics[0] == BATCH and len(topics) == 4:
        arrays = [_array(log["data"], n) for n in range(2)]
        if arrays[0] is not None and arrays[1] is not None and len(arrays[0]) == len(arrays[1]):
            return [("erc1155", *parties, str(i), str(v)) for i, v in zip(*arrays, strict=True)]
    return None


def swap(log: Log) -> tuple[Any, ...] | None:
    """(kind, amount0, amount1, price, liquidity, tick, sender, recipient); () of another event; None: of such an event, and it tells of none."""
    topics, words = log["topics"], _words(log["data"])
    if not topics or topics[0] not in (V2_SWAP, V3_SWAP):
        return ()
    indexed = [_words(t) for t in topics[1:]]
    if words is None or len(topics) != 3 or any(w is None or len(w) != 1 for w in indexed):
        return None
    parties, numbers = [_address(w[0]) for w in indexed if w], [int(w, 16) for w in words]
    if topics[0] == V2_SWAP and len(words) == 4:
        amounts = [numbers[0] - numbers[2], numbers[1] - numbers[3]]
        return ("v2", *map(str, amounts), None, None, None, *parties) if all(-(1 << 255) <= a < 1 << 255 for a in amounts) else None
    if topics[0] == V3_SWAP and len(words) == 5:
        signed = [n - (1 << 256) if n >> 255 else n for n in numbers]
        if numbers[2] < 1 << 160 and numbers[3] < 1 << 128 and -(1 << 23) <= signed[4] < 1 << 23:
            return ("v3", str(signed[0]), str(signed[1]), str(numbers[2]), str(numbers[3]), signed[4], *parties)
    return None


def _words(data: str) -> list[str] | None:
    digits = data.removeprefix("0x")
    if len(digits) % 64 or digits == data:
        return None
    words = [digits[n : n + 64] for n in range(0, len(digits), 64)]
    return words if all(set(w) <= set("0123456789abcdefABCDEF") for w in words) else None


def _array(data: str, place: int) -> list[int] | None:
    """The dynamic array whose offset is the word at a place."""
    if not data.startswith("0x"):
        return None
    try:
        octets = bytes.fromhex(data.removeprefix("0x"))
    except ValueError:
        return None
    begin = int.from_bytes(octets[32 * place : 32 * place + 32])
    if len(octets) < 64 or begin + 32 > len(octets):
        return None
    count = int.from_bytes(octets[begin : begin + 32])
    if begin + 32 + 32 * count > len(octets):
        return None
    return [int.from_bytes(octets[begin + 32 * (n + 1) : begin + 32 * (n + 2)]) for n in range(count)]


def _address(digits: str) -> str:
    return "0x" + digits[-40:].lower()
