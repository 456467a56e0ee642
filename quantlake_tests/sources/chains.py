"""Simulated chains as a node's JSON-RPC objects: blocks that name their parents, with transactions, receipts and logs."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from quantlake.sources.live.ethereum.blocks import header
from quantlake.sources.live.ethereum.bloom import bloom
from quantlake.sources.live.ethereum.chain import Header

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
NO_BLOOM = "0x" + "0" * 512
SECONDS = 12
Object = dict[str, Any]


def word(*parts: object) -> str:
    """32 bytes as hex, made of something."""
    return "0x" + hashlib.sha256(repr(parts).encode()).hexdigest()


def address(*parts: object) -> str:
    return word(*parts)[:42]


@dataclass
class Made:
    """A block with its transactions, and its receipts."""

    block: Object
    receipts: list[Object]

    @property
    def number(self) -> int:
        return int(self.block["number"], 16)

    @property
    def hash(self) -> str:
        return str(self.block["hash"])

    @property
    def header(self) -> Header:
        return header(self.block)


def made(number: int, parent: str, branch: str = "", transactions: int = 2, logs: int = 2, start: int = 1_700_000_000) -> Made:
    """A block of so many transactions, each of so many transfers of a token."""
    own = word("block", number, parent, branch)
    place = {"blockHash": own, "blockNumber": hex(number)}
    spent = [place | _transaction(number, branch, n) for n in range(transactions)]
    came = [place | _receipt(t, n, logs) for n, t in enumerate(spent)]
    for receipt in came:
        receipt["logs"] = [place | log for log in receipt["logs"]]
    block = {
        "number": hex(number), "hash": own, "parentHash": parent, "nonce": "0x0000000000000000", "sha3Uncles": word("uncles"),
        "logsBloom": bloom(log for r in came for log in r["logs"]), "transactionsRoot": word("t", own), "stateRoot": word("s", own),
        "receiptsRoot": word("r", own), "miner": address("miner"), "difficulty": "0x0", "totalDifficulty": hex(58750003716598352816469),
        "size": hex(1000), "extraData": "0x", "gasLimit": hex(30_000_000), "gasUsed": hex(21_000 * transactions),
        "timestamp": hex(start + SECONDS * number), "baseFeePerGas": hex(10**10), "uncles": [], "transactions": spent, "mixHash": word("mix"),
        "withdrawalsRoot": word("w"),
        "withdrawals": [{"index": hex(number), "validatorIndex": "0x1", "address": address("staker"), "amount": hex(10**6)}],
    }  # fmt: skip
    return Made(block, came)


def _transaction(number: int, branch: str, n: int) -> Object:
    return {
        "hash": word("transaction", number, branch, n), "nonce": hex(n), "transactionIndex": hex(n), "from": address("from", n), "to": address("to", n),
        "value": hex(2**255 + n), "gas": hex(60_000), "gasPrice": hex(10**10), "maxFeePerGas": hex(2 * 10**10), "maxPriorityFeePerGas": hex(10**9),
        "input": "0x", "type": "0x2", "chainId": "0x1", "v": "0x0", "r": "0x1", "s": "0x1", "accessList": [],
    }  # fmt: skip


def _receipt(transaction: Object, n: int, logs: int) -> Object:
    said = {"transactionHash": transaction["hash"], "transactionIndex": hex(n)}
    told = [
        said | {
            "address": address("token", n % 5), "topics": [TRANSFER, "0x" + "0" * 24 + address("from", n)[2:], "0x" + "0" * 24 + address("to", n, k)[2:]],
            "data": "0x" + f"{10**18 + k:064x}", "logIndex": hex(n * logs + k), "removed": False,
        }
        for k in range(logs)
    ]  # fmt: skip
    return said | {
        "from": transaction["from"], "to": transaction["to"], "status": "0x1", "gasUsed": hex(21_000), "cumulativeGasUsed": hex(21_000 * (n + 1)),
        "effectiveGasPrice": hex(10**10), "contractAddress": None, "logs": told, "logsBloom": NO_BLOOM, "type": "0x2",
    }  # fmt: skip


@dataclass
class Simulated:
    """A chain from a height on; what it lost is still known by hash."""

    first: int = 100
    start: int = 1_700_000_000
    transactions: int = 2
    logs: int = 2
    chain: list[Made] = field(default_factory=list)
    known: dict[str, Made] = field(default_factory=dict)

    def grow(self, blocks: int, branch: str = "") -> "Simulated":
        for _ in range(blocks):
            number = self.first + len(self.chain)
            parent = self.chain[-1].hash if self.chain else word("before")
            self.chain.append(made(number, parent, branch, self.transactions, self.logs, self.start))
            self.known[self.chain[-1].hash] = self.chain[-1]
        return self

    def reorganise(self, depth: int, blocks: int, branch: str) -> None:
        """Lose the newest ``depth`` blocks for ``blocks`` others."""
        self.chain = self.chain[: len(self.chain) - depth]
        self.grow(blocks, branch)

    def copy(self) -> "Simulated":
        return Simulated(self.first, self.start, self.transactions, self.logs, list(self.chain), dict(self.known))

    @property
    def head(self) -> int:
        return self.chain[-1].number

    @property
    def hashes(self) -> dict[int, str]:
        return {made.number: made.hash for made in self.chain}

    def at(self, number: int) -> Made | None:
        return self.chain[number - self.first] if self.first <= number <= self.head else None

    def time(self, number: int) -> datetime:
        return datetime.fromtimestamp(self.start + SECONDS * number, UTC)
