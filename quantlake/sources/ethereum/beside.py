"""What the files of a folder say that one of them does not: which chain they are of, and when and which its blocks were.

Here: looking at the folder (a file lies beside itself). Not here: reading files (json_rpc.py, etl.py, parity.py); a damaged one says nothing here and is
refused when it is read itself.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from quantlake.contract import QuantLakeError
from quantlake.sources.ethereum.documents import opened, parsed
from quantlake.sources.ethereum.values import HASH, LAST_SECOND, SHOWN
from quantlake.sources.importers import content

SUFFIX = re.compile(r"\.(json|jsonl|ndjson|csv)(\.gz)?$", re.IGNORECASE)
CHAIN = re.compile(r"(^|\.)eth_chainId[_.]")
HEAD_BYTES = 1 << 16
MAIN_NET = 1
LARGEST_CHAIN = 2**63 - 1
Listing = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Headers:
    """Blocks' times by hash, and the hashes of each height."""

    times: Mapping[str, datetime]
    hashes: Mapping[int, frozenset[str]]


def chain_id(folder: Path) -> int:
    """What a recorded ``eth_chainId`` says, else 1. Raises ``QuantLakeError``: it is no such response, or there are two that differ."""
    found = {path: _chain(path) for path in sorted(folder.iterdir()) if CHAIN.search(path.name) and SUFFIX.search(path.name)}
    if len(set(found.values())) > 1:
        raise QuantLakeError(f"{', '.join(str(path) for path in found)} name chains {sorted(set(found.values()))}; keep each chain's files in a folder")
    return next(iter(found.values()), MAIN_NET)


def headers(folder: Path) -> Headers:
    """Of all blocks that files of the folder hold. Files are read again only where one has changed."""
    files = [path for path in sorted(folder.iterdir()) if SUFFIX.search(path.name) and path.is_file()]
    return _headers(folder, tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=4)
def _headers(folder: Path, listing: Listing) -> Headers:
    times: dict[str, datetime] = {}
    hashes: dict[int, set[str]] = {}
    for name, _, _ in listing:
        for number, block, time in _blocks(folder / name):
            times[block] = time
            hashes.setdefault(number, set()).add(block)
    return Headers(times, {number: frozenset(found) for number, found in hashes.items()})


def _blocks(path: Path) -> Iterator[tuple[int, str, datetime]]:
    try:
        head = content(path, HEAD_BYTES)
        if b"parent_hash" in head or (b'"result"' in head and b'"parentHash"' in content(path)):
            yield from (header for found in _objects(path) if (header := _header(found)))
    except (QuantLakeError, csv.Error):
        return


def _objects(path: Path) -> Iterable[Any]:
    document = opened(path)
    if ".csv" in path.suffixes:
        yield from csv.DictReader(io.StringIO(document.text, newline=""))
        return
    for _, _, found in parsed(document):
        yield found.get("result", found) if isinstance(found, dict) else found


def _header(found: Any) -> tuple[int, str, datetime] | None:
    if not isinstance(found, dict) or not ("parentHash" in found or "parent_hash" in found):
        return None
    try:
        number, seconds = (int(str(found[name]), 0) for name in ("number", "timestamp"))
    except (KeyError, ValueError):
        return None
    block = str(found.get("hash")).lower()
    if not re.fullmatch(HASH.pattern, block) or not 0 <= seconds <= LAST_SECOND:
        return None
    return number, block, datetime.fromtimestamp(seconds, UTC)


def _chain(path: Path) -> int:
    found = [item.get("result") if isinstance(item, dict) else item for _, _, item in parsed(opened(path))]
    if len(found) != 1 or not re.fullmatch("0x[0-9a-fA-F]+", str(found[0])) or int(str(found[0]), 16) > LARGEST_CHAIN:
        raise QuantLakeError(f"{path}: its result is {str(found)[:SHOWN]}, not a chain's id as hex, such as 0x1")
    return int(str(found[0]), 16)
