"""Whole blocks out of a node's answers: each with all its transactions, receipts and logs, or why it is not whole.

Here: putting answers together, and every check of a block that its own answers allow. It is pure, and runs in a process of its own where
there is much of it. Not here: asking (fetching.py), the chain that blocks make (chain.py), rows (tables.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from quantlake.contract import QuantLakeError
from quantlake.sources.ethereum.values import AHEAD
from quantlake.sources.live.ethereum import tables
from quantlake.sources.live.ethereum.bloom import bloom
from quantlake.sources.live.ethereum.chain import Header
from quantlake.sources.live.ethereum.rpc import INVALID_PARAMS, Call, Kind, Refusal, Reply

BY_NUMBER, BY_HASH = "eth_getBlockByNumber", "eth_getBlockByHash"
RECEIPTS, RECEIPT = "eth_getBlockReceipts", "eth_getTransactionReceipt"
NOT_ASKED = Refusal(0, "")
LARGEST_HEIGHT = 2**63 - 1
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError)  # what comes of reading what is not as it should be
Place = int | str
"""A block by its height, which is the node's own one there, or by its hash."""


@dataclass(frozen=True)
class Lack:
    """Why a block is not whole; ``receipts``: its receipts are missing, which may be asked for one by one."""

    kind: Kind
    words: str
    receipts: bool = False


@dataclass(frozen=True)
class Seen:
    """When answers of a chain came, and whether live, or of blocks that were history by then and known at their own time."""

    chain_id: int
    at: datetime
    live: bool


@dataclass
class Found:
    """Blocks that are whole, by place, with the rows of all of them by stream; what others lack; transactions of those without receipts."""

    headers: dict[Place, Header] = field(default_factory=dict)
    rows: dict[str, pa.Table] = field(default_factory=dict)
    lacks: dict[Place, Lack] = field(default_factory=dict)
    transactions: dict[Place, list[str]] = field(default_factory=dict)


class NotWholeError(ValueError):
    """What is wrong with a block, in words."""


def calls(place: Place, receipts: bool) -> list[Call]:
    """What to ask for a block; ``receipts``: with these, all in one answer."""
    where = hex(place) if isinstance(place, int) else place
    block = Call(BY_NUMBER if isinstance(place, int) else BY_HASH, (where, True))
    return [block, Call(RECEIPTS, (where,))] if receipts else [block]


def is_hash(where: str) -> bool:
    """Whether it names a block by its hash, else by height or tag."""
    return len(where) == len("0x") + 64


def header(block: Any) -> Header:
    """Raises one of ``MALFORMED`` where it is no block."""
    moment = datetime.fromtimestamp(int(block["timestamp"], 16), UTC)
    number = int(block["number"], 16)
    if number > LARGEST_HEIGHT:
        raise ValueError("its number is beyond 64 bits")
    return Header(number, block["hash"].lower(), block["parentHash"].lower(), moment)


def decoded(replies: Sequence[Reply], seen: Seen) -> Found:
    """The blocks that replies to ``calls``, and to ``RECEIPT`` for their transactions, are about."""
    answered: dict[Place, Any] = {}
    listed: dict[Place, Any] = {}
    single: dict[str, Any] = {}
    for reply in replies:
        for call, answer in zip(reply.calls, reply.answers(), strict=True):
            where = call.params[0]
            if call.method == RECEIPT:
                single[where] = answer
            else:
                (listed if call.method == RECEIPTS else answered)[where if is_hash(where) else int(where, 16)] = answer
    found, whole = Found(), []
    for place, block in answered.items():
        try:
            receipts = _receipts(block, listed.get(place, NOT_ASKED), single)
            if isinstance(receipts, Lack):
                found.lacks[place] = receipts
                if receipts.receipts:
                    found.transactions[place] = [t["hash"] for t in block["transactions"]]
                continue
            check(block, receipts, place)
            found.headers[place] = _of_now(header(block), seen.at)
        except NotWholeError as error:
            found.lacks[place] = Lack("failed", str(error))
        except MALFORMED as error:
            found.lacks[place] = Lack("failed", f"it is not as JSON-RPC has blocks ({type(error).__name__}: {str(error)[:80]})")
        else:
            whole.append((block, receipts))
    try:
        found.rows = tables.tables(whole, tables.origin(seen.chain_id, seen.at, seen.live)) if whole else {}
    except QuantLakeError as error:
        found.lacks |= dict.fromkeys(found.headers, Lack("failed", str(error)))
        found.headers = {}
    return found


def _receipts(block: Any, listed: Any, single: Mapping[str, Any]) -> list[Any] | Lack:
    """A block's receipts in order, or what is missing."""
    if isinstance(block, Refusal):
        return Lack(block.kind, f"the node says {block.words!r} ({block.code})" if block.code else block.words)
    if block is None:
        return Lack("absent", "the node does not have it")
    wanted = block["transactions"]
    if isinstance(listed, list):
        return sorted(listed, key=lambda r: int(r["transactionIndex"], 16))
    if not wanted:
        return []
    if not single.keys() & {t["hash"] for t in wanted}:
        return _unlisted(len(wanted), listed)
    got = [single.get(t["hash"]) for t in wanted]
    missing = [r for r in got if r is None or isinstance(r, Refusal)]
    return _missing(len(wanted), missing) if missing else got


def _unlisted(wanted: int, listed: Any) -> Lack:
    """Why there is no list of receipts."""
    missing = _missing(wanted, [listed] * wanted)
    alone = listed is NOT_ASKED or (isinstance(listed, Refusal) and (listed.kind == "unsupported" or listed.code == INVALID_PARAMS))
    return Lack(missing.kind, missing.words, alone)


def _missing(wanted: int, missing: Sequence[Any]) -> Lack:
    why = next((r for r in missing if isinstance(r, Refusal)), None)
    words = f"{len(missing)} of its {wanted} receipts are missing"
    return Lack(why.kind, f"{words}: {why.words} ({why.code})") if why else Lack("absent", words)


def check(block: Mapping[str, Any], receipts: Sequence[Mapping[str, Any]], place: Place) -> None:
    """Raises ``NotWholeError`` where the parts are not all there, not in order, or not of this block."""
    own = block["hash"]
    if isinstance(place, int) and int(block["number"], 16) != place:
        raise NotWholeError(f"another height was answered: {int(block['number'], 16)}")
    if isinstance(place, str) and own.lower() != place:
        raise NotWholeError(f"another block was answered: {own}")
    transactions = block["transactions"]
    if len(receipts) != len(transactions):
        raise NotWholeError(f"it has {len(transactions)} transactions and {len(receipts)} receipts")
    _in_order("transaction", transactions, own, "transactionIndex")
    _in_order("receipt", receipts, own, "transactionIndex")
    if wrong := [r for r, t in zip(receipts, transactions, strict=True) if r["transactionHash"] != t["hash"]]:
        raise NotWholeError(f"a receipt is of a transaction of another block: {wrong[0]['transactionHash']}")
    logs = [log for r in receipts for log in r["logs"]]
    _in_order("log", logs, own, "logIndex")
    if any(log.get("removed") for log in logs):
        raise NotWholeError("a log of it is said to be removed")
    if block.get("logsBloom") and block["logsBloom"].lower() != bloom(logs):
        raise NotWholeError("its logs are not those of its header's bloom filter")


def _of_now(found: Header, now: datetime) -> Header:
    if found.time > now + AHEAD:
        raise NotWholeError(f"it is of {found.time:%Y-%m-%d}, which is to come")
    return found


def _in_order(what: str, items: Sequence[Mapping[str, Any]], own: str, index: str) -> None:
    for n, item in enumerate(items):
        if item["blockHash"] != own:
            raise NotWholeError(f"{what} {n} is of block {item['blockHash']}, not {own}")
        if int(item[index], 16) != n:
            raise NotWholeError(f"{what} {n} says that it is number {int(item[index], 16)}")
