"""What the files of a folder say that one of them does not: which chain they are of, and when and which its blocks were.

Here: looking at the folder (a file lies beside itself). Not here: reading files (json_rpc.py, etl.py, parity.py); a damaged one says nothing here and is
refused when it is read itself.
"""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from quantlake.contract import QuantLakeError
from quantlake.sources.ethereum.documents import opened, parsed
from quantlake.sources.ethereum.etl_csv import is_csv, table
from quantlake.sources.ethereum.values import AHEAD, EITHER, HASH, MAIN_NET, MOST_DIGITS, SHOWN
from quantlake.sources.importers import content

SUFFIX = re.compile(r"\.(json|jsonl|ndjson|csv)(\.gz)?$", re.IGNORECASE)
CHAIN = re.compile(r"(^|\.)eth_chainId[_.]")
HEAD_BYTES = 1 << 16
LARGEST_CHAIN = 2**63 - 1
Listing = tuple[tuple[str, int, int], ...]


def chain_id(folder: Path) -> int:
    """What a recorded ``eth_chainId`` says, else 1. Raises ``QuantLakeError``: it is no such response, or there are two that differ."""
    found = {folder / name: _chain(folder / name) for name in sorted(os.listdir(folder)) if CHAIN.search(name) and SUFFIX.search(name)}
    if len(set(found.values())) > 1:
        raise QuantLakeError(f"{', '.join(str(path) for path in found)} name chains {sorted(set(found.values()))}; keep each chain's files in a folder")
    return next(iter(found.values()), MAIN_NET)


def times(folder: Path) -> Mapping[str, datetime]:
    """By hash, of all blocks whose headers files of the folder hold. Files are read again only where one has changed."""
    return _times(folder, _listing(folder))


def hashes(folder: Path) -> Mapping[int, frozenset[str]]:
    """By height, of all blocks whose headers, transactions, receipts, logs or traces files of the folder hold; otherwise as ``times``."""
    return _hashes(folder, _listing(folder))


def _listing(folder: Path) -> Listing:
    with os.scandir(folder) as entries:
        files = [(entry.name, entry.stat()) for entry in entries if SUFFIX.search(entry.name) and entry.is_file()]
    return tuple(sorted((name, found.st_size, found.st_mtime_ns) for name, found in files))


@lru_cache(maxsize=4)
def _times(folder: Path, listing: Listing) -> Mapping[str, datetime]:
    found = (_header(record) for name, _, _ in listing if _has_headers(folder / name) for record in _objects(folder / name))
    return dict(header for header in found if header)


@lru_cache(maxsize=4)
def _hashes(folder: Path, listing: Listing) -> Mapping[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    for block in (_block(record) for name, _, _ in listing for record in _objects(folder / name)):
        if block:
            found.setdefault(block[0], set()).add(block[1])
    return {number: frozenset(those) for number, those in found.items()}


def _has_headers(path: Path) -> bool:
    """Of ethereum-etl's files the first record tells; of responses each may be another's."""
    try:
        head = content(path, HEAD_BYTES)
        return b"parent_hash" in head or (b'"result"' in head and b'"parentHash"' in content(path))
    except QuantLakeError:
        return False


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file: of responses the results, of lists each item, of mev-inspect's files the traces."""
    try:
        document = opened(path)
        if is_csv(path):
            whole = table(document)
            yield from (dict(zip(whole.header, row, strict=True)) for row in whole.cells)
            return
        for _, _, found in parsed(document):
            inner = found.get("result", found.get("traces", found)) if isinstance(found, dict) and "action" not in found else found
            yield from (record for record in (inner if isinstance(inner, list) else [inner]) if isinstance(record, dict))
    except QuantLakeError:
        return


def _header(found: dict[str, Any]) -> tuple[str, datetime] | None:
    seconds, block = _whole(found.get("timestamp")), str(found.get("hash")).lower()
    if seconds is None or seconds > (datetime.now(UTC) + AHEAD).timestamp() or not found.keys() & {"parentHash", "parent_hash"} or not re.fullmatch(HASH.pattern, block):
        return None
    return block, datetime.fromtimestamp(seconds, UTC)


def _block(found: dict[str, Any]) -> tuple[int, str] | None:
    of_header = ("number", "hash") if found.keys() & {"parentHash", "parent_hash"} else ("", "")
    for number, block in (of_header, ("blockNumber", "blockHash"), ("block_number", "block_hash")):
        height, told = _whole(found.get(number)), str(found.get(block)).lower()
        if height is not None and re.fullmatch(HASH.pattern, told):
            return height, told
    return None


def _whole(found: Any) -> int | None:
    text = str(found)
    return int(text, 16 if text[:2] in ("0x", "0X") else 10) if len(text) <= MOST_DIGITS and re.fullmatch(EITHER.pattern, text) else None


def _chain(path: Path) -> int:
    found = [item.get("result") if isinstance(item, dict) else item for _, _, item in parsed(opened(path))]
    if len(found) != 1 or not re.fullmatch("0x[0-9a-fA-F]+", str(found[0])) or int(str(found[0]), 16) > LARGEST_CHAIN:
        raise QuantLakeError(f"{path}: its result is {str(found)[:SHOWN]}, not a chain's id as hex, such as 0x1")
    return int(str(found[0]), 16)
