"""Small made objects of a node's interface, and what an importer reads of files of them."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from quantlake.contract import Stream
from quantlake.sources import replay

Object = dict[str, Any]
ADDRESS, OTHER = "0x" + "a1" * 20, "0x" + "b2" * 20
ROOT = "0x" + "0" * 63 + "1"


def hash_of(number: int) -> str:
    return f"0x{number:064x}"


def block(number: int = 7, /, *transactions: Object | str, hash: str | None = None, **changed: Any) -> Object:
    return {
        "number": hex(number), "hash": hash or hash_of(number), "parentHash": hash_of(number - 1), "timestamp": hex(1_700_000_000 + number),
        "nonce": "0x0000000000000000", "sha3Uncles": ROOT, "logsBloom": "0x" + "0" * 512, "transactionsRoot": ROOT, "stateRoot": ROOT,
        "receiptsRoot": ROOT, "miner": ADDRESS, "difficulty": "0x0", "totalDifficulty": "0x0", "size": "0x200", "extraData": "0x",
        "gasLimit": "0x1c9c380", "gasUsed": "0x0", "baseFeePerGas": "0x7", "mixHash": ROOT, "uncles": [], "transactions": list(transactions), **changed,
    }  # fmt: skip


def in_block(number: int, place: int = 0) -> Object:
    return {"blockHash": hash_of(number), "blockNumber": hex(number), "transactionIndex": hex(place)}


def transaction(number: int = 7, /, place: int = 0, **changed: Any) -> Object:
    return {
        **in_block(number, place), "hash": hash_of(1000 + place), "nonce": "0x1", "from": ADDRESS, "to": OTHER, "value": "0x0", "gas": "0x5208",
        "gasPrice": "0x3b9aca00", "input": "0x", "type": "0x2", "maxFeePerGas": "0x3b9aca00", "maxPriorityFeePerGas": "0x1", **changed,
    }  # fmt: skip


def receipt(number: int = 7, place: int = 0, /, *logs: Object, **changed: Any) -> Object:
    return {
        **in_block(number, place), "transactionHash": hash_of(1000 + place), "status": "0x1", "gasUsed": "0x5208", "cumulativeGasUsed": "0x5208",
        "effectiveGasPrice": "0x3b9aca00", "contractAddress": None, "logs": list(logs), "logsBloom": "0x" + "0" * 512, **changed,
    }  # fmt: skip


def log(number: int = 7, index: int = 0, /, **changed: Any) -> Object:
    return {
        **in_block(number), "transactionHash": hash_of(1000), "logIndex": hex(index), "address": ADDRESS, "topics": [ROOT], "data": "0x",
        "removed": False, **changed,
    }  # fmt: skip


def trace(*address: int, number: int = 7, **changed: Any) -> Object:
    return {
        "action": {"callType": "call", "from": ADDRESS, "to": OTHER, "gas": "0x5208", "input": "0x", "value": "0x1"}, "blockHash": hash_of(number),
        "blockNumber": number, "result": {"gasUsed": "0x10", "output": "0x"}, "subtraces": 0, "traceAddress": list(address),
        "transactionHash": hash_of(1000), "transactionPosition": 0, "type": "call", **changed,
    }  # fmt: skip


def reward(value: str, kind: str = "block", **changed: Any) -> Object:
    without = {"transactionHash": None, "transactionPosition": None, "result": None, "type": "reward"}
    return trace(action={"author": ADDRESS, "rewardType": kind, "value": value}, **{**without, **changed})


def response(result: Any, number: int = 1) -> Object:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def written(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def lines(*documents: Any) -> str:
    return "\n".join(map(json.dumps, documents)) + "\n"


def read(path: Path) -> dict[Stream, pl.DataFrame]:
    """A file's rows by stream, by the importer that recognises it."""
    importer = replay.recognise(path)
    assert importer is not None
    return {part[0]: pl.DataFrame(part[1]) for part in importer.read(path) if isinstance(part, tuple)}
