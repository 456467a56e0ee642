"""Data of Ethereum and chains like it, as files and nodes give it.

Here: recognising a file. Not here: reading it (json_rpc.py, etl.py, parity.py), what an object of a node becomes (rows.py).
"""

import re
from pathlib import Path

from quantlake.sources.ethereum import beside, etl, json_rpc, parity
from quantlake.sources.ethereum.beside import SUFFIX
from quantlake.sources.ethereum.etl_csv import is_csv
from quantlake.sources.importers import Importer, Recognised, content

HEAD_BYTES = 1 << 20
MEMBER = re.compile(rb'"(\w+)"\s*:')
TYPE = re.compile(rb'"type"\s*:\s*"(\w+)"')
RESULT_OBJECT = re.compile(rb'"result"\s*:\s*(\[\s*)?\{')
ENVELOPE = re.compile(rb'"jsonrpc"\s*:|^(\[\s*)?\{\s*"(id|result)"\s*:')  # a trace by itself has a result too
OF_A_CHAIN = frozenset({"blockHash", "parentHash", "sha3Uncles", "stateRoot", "transactionHash", "logIndex", "traceAddress"})


def recognise(path: Path) -> Recognised:
    """By content; responses also by a name that has the method at its beginning or after a point, whatever they hold.

    Other interfaces answer in the form of JSON-RPC too: objects of theirs have no members of a chain's.
    """
    if not SUFFIX.search(path.name):
        return None
    if json_rpc.asked(path) and not is_csv(path):
        return Importer("JSON-RPC responses", json_rpc.read)
    head = content(path, HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    line = head.split(b"\n")[0]
    if is_csv(path):
        return _etl(path, frozenset(line.decode("utf-8", errors="replace").strip().split(",")))
    if not head.startswith((b"{", b"[")):
        return None
    members = _members(head)
    if {"traces", "block_number"} <= members or ({"traceAddress", "action"} <= members and not ENVELOPE.search(head)):
        return Importer("Parity traces", parity.read)
    if _is_response(members, head):
        return Importer("JSON-RPC responses", json_rpc.read)
    told = TYPE.search(line) if b'"item_id"' in line else None
    return _etl(path, _members(line), told and told[1].decode())


def _members(text: bytes) -> frozenset[str]:
    return frozenset(name.decode() for name in MEMBER.findall(text))


def _is_response(members: frozenset[str], head: bytes) -> bool:
    of_a_chain = bool(members & OF_A_CHAIN)
    return bool(members & {"result", "error"}) and (of_a_chain or ("jsonrpc" in members and not RESULT_OBJECT.search(head)))


def _etl(path: Path, members: frozenset[str], told: str | None = None) -> Recognised:
    kind = etl.kind_of(members, told)
    if kind == "token_transfer":
        return etl.NO_IMPORTER
    if kind == "trace" and "block_hash" not in members and not beside.hashes(path.parent):
        return etl.NO_HASHES
    return Importer(f"ethereum-etl {kind}s", etl.read) if kind else None
