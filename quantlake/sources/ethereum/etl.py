"""Files of ethereum-etl: JSON lines and CSV of blocks, transactions, receipts, logs, traces, contracts and tokens; gzip or not.

Here: their columns (https://github.com/blockchain-etl/ethereum-etl/blob/develop/docs/schema.md). Not here: token transfers, which are built from logs.

- What a record is says its member ``type``, as the exporter's stream has it, or else its members.
- Lists in CSV have commas between their items; withdrawals are JSON objects with commas between them. An empty cell is null.
- A transaction with ``receipt_...`` members is a receipt too.
- Times of records that do not carry them, and the hash of a trace's block, are those of blocks in the file or beside it. A trace whose
  block is not there, or is one of two of its height, is refused.
- ``line_number`` counts lines of JSON, and in CSV records after the header.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.onchain import blocks, chain_status, contracts, logs, receipts, tokens, traces, transactions
from quantlake.evm import abi
from quantlake.sources.ethereum import beside, documents, parity, rows
from quantlake.sources.ethereum.etl_csv import is_csv, table
from quantlake.sources.ethereum.values import (
    ADDRESS,
    BLOOM,
    DATA,
    DIGITS,
    HASH,
    HASH_OR_NONE,
    PLACE,
    SHOWN,
    WORD,
    Item,
    Records,
    of_objects,
    placed,
)
from quantlake.sources.importers import Rows

NO_IMPORTER = "token transfers: they are built from logs here"
MEMBERS: Mapping[str, frozenset[str]] = {
    "token_transfer": frozenset({"token_address", "from_address", "to_address", "value", "log_index"}),
    "block": frozenset({"number", "hash", "parent_hash", "timestamp"}),
    "transaction": frozenset({"hash", "nonce", "block_hash", "transaction_index", "from_address", "input"}),
    "receipt": frozenset({"transaction_hash", "block_hash", "cumulative_gas_used", "gas_used"}),
    "log": frozenset({"log_index", "transaction_hash", "block_hash", "topics", "data"}),
    "trace": frozenset({"trace_type", "trace_address", "block_number"}),
    "contract": frozenset({"address", "bytecode", "function_sighashes"}),
    "token": frozenset({"address", "symbol", "name", "decimals", "total_supply"}),
}
"""What a record of each kind has; all but the first have importers."""
NO_HASHES = "ethereum-etl traces without their blocks' hashes: put the blocks beside them"
MANY = 1 << 16  # items of a list
Frames = Mapping[Stream, pl.DataFrame]


@dataclass(frozen=True)
class Found:
    """Records of one kind, and where they stand; of blocks also as objects that have their ``withdrawals`` as a list."""

    records: Records
    placed: Mapping[str, pl.Series]
    items: Sequence[Item] = ()


def read(path: Path) -> Rows:
    """The rows of a file. Raises ``QuantLakeError`` naming file, line and member: what is missing or wrong, a record of no known kind."""
    document = documents.opened(path)
    found = _of_csv(document) if is_csv(path) else _of_json(document)
    merged: dict[Stream, pl.DataFrame] = {}
    for kind, those in found.items():
        for stream, frame in READ[kind](those, path.parent).items():
            merged[stream] = pl.concat([merged[stream], frame], how="diagonal") if stream in merged else frame
    yield from rows.tables(merged, document.origin("ethereum_etl", beside.chain_id(path.parent)))


def kind_of(members: Set[str], told: Any = None) -> str | None:
    """The kind of a record by its ``type``, else by its members; null: none."""
    if isinstance(told, str) and told in MEMBERS:
        return told
    return next((kind for kind, needed in MEMBERS.items() if members >= needed), None)


def _of_json(document: documents.Document) -> dict[str, Found]:
    kinds: dict[str, list[Item]] = {}
    for where, line, found in documents.parsed(document):
        kind = kind_of(found.keys(), found.get("type")) if isinstance(found, dict) else None
        if kind is None:
            raise QuantLakeError(f"{where} is none of ethereum-etl's {', '.join(MEMBERS)}: {str(found)[:SHOWN]!r}")
        kinds.setdefault(kind, []).append(Item(where, line, 0, found))
    return {kind: Found(of_objects(items, DIGITS), placed(items), items) for kind, items in kinds.items() if kind in READ}


def _of_csv(document: documents.Document) -> dict[str, Found]:
    whole = table(document)
    header, cells = whole.header, whole.cells
    kind = kind_of(frozenset(header))
    if kind is None or kind not in READ or len(set(header)) < len(header):
        raise QuantLakeError(f"{document.path} line 1: {','.join(header)[:SHOWN]!r} is the header of none of ethereum-etl's {', '.join(READ)}")
    nothing = pl.Series([None] * len(cells), dtype=pl.String)
    columns = {name: pl.Series([row[i] for row in cells], dtype=pl.String) for i, name in enumerate(header)}

    def member(name: str) -> pl.Series:
        found = columns.get(name, nothing)
        return found.set(found == "", None)

    def listed(name: str) -> pl.Series:
        return columns.get(name, nothing).str.split(",").list.filter(pl.element() != "")

    def where(row: int) -> str:
        return f"{document.path} line {whole.lines[row]}"

    items = [Item(where(row), row + 1, 0, cell) for row, cell in enumerate(member("withdrawals"))]
    records = Records(member, listed, where, DIGITS)
    return {kind: Found(records, placed(items), _parsed_withdrawals(items) if kind == "block" else ())}


def _blocks(found: Found, _: Path) -> Frames:
    records = found.records
    root = records.text("withdrawals_root", HASH, null=True)
    frame = pl.DataFrame({
        **found.placed,
        "block_number": records.integer("number"),
        "block_hash": records.text("hash", HASH),
        "block_timestamp": records.time("timestamp"),
        "hash": records.text("hash", HASH),
        "parent_hash": records.text("parent_hash", HASH),
        "nonce": records.text("nonce", DATA, null=True),
        "sha3_uncles": records.text("sha3_uncles", HASH, null=True),
        "logs_bloom": records.text("logs_bloom", BLOOM, null=True),
        "transactions_root": records.text("transactions_root", HASH, null=True),
        "state_root": records.text("state_root", HASH, null=True),
        "receipts_root": records.text("receipts_root", HASH, null=True),
        "miner": records.text("miner", ADDRESS, null=True),
        "difficulty": records.amount("difficulty", null=True),
        "total_difficulty": records.amount("total_difficulty", null=True),
        "size": records.integer("size", null=True),
        "extra_data": records.text("extra_data", DATA, null=True),
        "gas_limit": records.integer("gas_limit", null=True),
        "gas_used": records.integer("gas_used", null=True),
        "base_fee_per_gas": records.amount("base_fee_per_gas", null=True),
        "transaction_count": records.integer("transaction_count", null=True),
        "withdrawals_root": root,
        "withdrawals": _withdrawals(found, root),
    })  # fmt: skip
    return {blocks.raw: frame, chain_status.raw: rows.seen(frame)}


def _transactions(found: Found, folder: Path) -> Frames:
    records = found.records
    frame = pl.DataFrame({
        **found.placed,
        **_block(records, folder),
        "hash": records.text("hash", HASH),
        "nonce": records.integer("nonce"),
        "transaction_index": records.integer("transaction_index"),
        "from_address": records.text("from_address", ADDRESS),
        "to_address": records.text("to_address", ADDRESS, null=True),
        "value": records.amount("value"),
        "gas": records.integer("gas"),
        "input": records.text("input", DATA),
        "gas_price": records.amount("gas_price", null=True),
        "max_fee_per_gas": records.amount("max_fee_per_gas", null=True),
        "max_priority_fee_per_gas": records.amount("max_priority_fee_per_gas", null=True),
        "transaction_type": records.integer("transaction_type", null=True),
    })  # fmt: skip
    return {transactions.raw: frame, receipts.raw: _receipts_within(records, frame)}


def _receipts_within(records: Records, transactions: pl.DataFrame) -> pl.DataFrame:
    """The receipts of those transactions that have one."""
    used, total = (records.integer(f"receipt_{name}", null=True) for name in ("gas_used", "cumulative_gas_used"))
    records.refuse(used.is_null() != total.is_null(), "receipt_gas_used", used, "is there without receipt_cumulative_gas_used, or the other way round")
    shared = transactions.select(
        "line_number", "item_index", "block_number", "block_hash", "block_timestamp", "transaction_index", transaction_hash="hash",
    )  # fmt: skip
    return shared.with_columns(**_outcome(records, "receipt_")).filter(used.is_not_null())


def _receipts(found: Found, folder: Path) -> Frames:
    records = found.records
    records.integer("gas_used")
    records.integer("cumulative_gas_used")
    return {receipts.raw: pl.DataFrame({
        **found.placed,
        **_block(records, folder),
        "transaction_hash": records.text("transaction_hash", HASH),
        "transaction_index": records.integer("transaction_index"),
        **_outcome(records, ""),
    })}  # fmt: skip


def _outcome(records: Records, prefix: str) -> dict[str, pl.Series]:
    """A receipt's own columns, whose members begin with ``prefix``."""
    return {
        "status": records.integer(f"{prefix}status", null=True),
        "root": records.text(f"{prefix}root", HASH_OR_NONE, null=True),
        "gas_used": records.integer(f"{prefix}gas_used", null=True),
        "cumulative_gas_used": records.integer(f"{prefix}cumulative_gas_used", null=True),
        "effective_gas_price": records.amount(f"{prefix}effective_gas_price", null=True),
        "l1_fee": records.amount(f"{prefix}l1_fee", null=True),
        "l1_gas_used": records.amount(f"{prefix}l1_gas_used", null=True),
        "l1_gas_price": records.amount(f"{prefix}l1_gas_price", null=True),
        "l1_fee_scalar": records.plain(f"{prefix}l1_fee_scalar"),
        "contract_address": records.text(f"{prefix}contract_address", ADDRESS, null=True),
    }


def _logs(found: Found, folder: Path) -> Frames:
    records = found.records
    return {logs.raw: pl.DataFrame({
        **found.placed,
        **_block(records, folder),
        "log_index": records.integer("log_index"),
        "transaction_hash": records.text("transaction_hash", HASH),
        "transaction_index": records.integer("transaction_index"),
        "address": records.text("address", ADDRESS),
        "topics": records.words("topics", rows.MOST_TOPICS, WORD),
        "data": records.text("data", DATA),
    })}  # fmt: skip


def _traces(found: Found, folder: Path) -> Frames:
    records = found.records
    numbers = records.integer("block_number")
    hashes = _hashes(records, numbers, folder)
    kinds = records.member("trace_type")
    records.refuse(~kinds.is_in(traces.TYPES).fill_null(False), "trace_type", kinds, f"is none of {', '.join(traces.TYPES)}")
    frame = parity.with_status(parity.with_reward_index(pl.DataFrame({
        **found.placed,
        "block_number": numbers,
        "block_hash": hashes,
        "block_timestamp": _times(records, hashes, folder),
        "transaction_hash": records.text("transaction_hash", HASH, null=True),
        "transaction_index": records.integer("transaction_index", null=True),
        "trace_address": records.words("trace_address", MANY, PLACE, null=True).list.join(",").fill_null(""),
        "from_address": records.text("from_address", ADDRESS, null=True),
        "to_address": records.text("to_address", ADDRESS, null=True),
        "value": records.amount("value", null=True),
        "input": records.text("input", DATA, null=True),
        "output": records.text("output", DATA, null=True),
        "trace_type": kinds,
        "call_type": records.plain("call_type"),
        "reward_type": records.plain("reward_type"),
        "gas": records.integer("gas", null=True),
        "gas_used": records.integer("gas_used", null=True),
        "subtraces": records.integer("subtraces", null=True),
        "error": records.plain("error"),
    })))  # fmt: skip
    return {traces.raw: frame.with_columns(status=pl.min_horizontal("status", records.integer("status", null=True)))}


def _contracts(found: Found, folder: Path) -> Frames:
    records = found.records
    return {contracts.raw: pl.DataFrame({
        **found.placed,
        **_of_maybe_no_block(records, folder),
        "address": records.text("address", ADDRESS),
        "bytecode": records.text("bytecode", DATA),
        "function_sighashes": records.words("function_sighashes", MANY, DATA),
        "is_erc20": records.boolean("is_erc20"),
        "is_erc721": records.boolean("is_erc721"),
    })}  # fmt: skip


def _tokens(found: Found, folder: Path) -> Frames:
    records = found.records
    places = records.integer("decimals", null=True)
    records.refuse(places > abi.MOST_DECIMALS, "decimals", places, f"is beyond {abi.MOST_DECIMALS}")
    return {tokens.raw: pl.DataFrame({
        **found.placed,
        **_of_maybe_no_block(records, folder),
        "address": records.text("address", ADDRESS),
        "symbol": records.plain("symbol").str.replace_all("\0", "", literal=True),
        "name": records.plain("name").str.replace_all("\0", "", literal=True),
        "decimals": places,
        "total_supply": records.amount("total_supply", null=True),
    })}  # fmt: skip


def _block(records: Records, folder: Path) -> dict[str, pl.Series]:
    hashes = records.text("block_hash", HASH)
    return {"block_number": records.integer("block_number"), "block_hash": hashes, "block_timestamp": _times(records, hashes, folder)}


def _of_maybe_no_block(records: Records, folder: Path) -> dict[str, pl.Series]:
    hashes = records.text("block_hash", HASH, null=True)
    return {"block_number": records.integer("block_number", null=True), "block_hash": hashes, "block_timestamp": _times(records, hashes, folder)}


def _times(records: Records, hashes: pl.Series, folder: Path) -> pl.Series:
    own = records.time("block_timestamp", null=True)
    return own.zip_with(own.is_not_null(), rows.dated(hashes, beside.times(folder))) if own.null_count() else own


def _hashes(records: Records, numbers: pl.Series, folder: Path) -> pl.Series:
    """Of the blocks of traces, which their records may not say."""
    own = records.text("block_hash", HASH, null=True)
    if not own.null_count():
        return own
    heights = beside.hashes(folder)
    known = [heights.get(number, frozenset()) for number in numbers]
    found = own.zip_with(own.is_not_null(), pl.Series([next(iter(k)) if len(k) == 1 else None for k in known], dtype=pl.String))
    records.refuse(found.is_null(), "block_hash", own, "is missing, and the files beside it do not name just one block of its number; put blocks beside it")
    return found


def _withdrawals(found: Found, root: pl.Series) -> pl.Series:
    """As JSON; null, not an empty list, where the block has no root of them: an exporter writes either of blocks before Shanghai."""
    written = rows.withdrawals(found.items, "validator_index", DIGITS)
    return written.fill_null("[]").set(root.is_null() & written.fill_null("[]").is_in(["[]"]), None)


def _parsed_withdrawals(cells: Sequence[Item]) -> list[Item]:
    """Cells of JSON objects with commas between them, as records."""
    found = []
    for item in cells:
        text = item.value or ""
        try:
            found.append(item._replace(value={"withdrawals": documents.DECODER.decode(text if text.startswith("[") else f"[{text}]")}))
        except (ValueError, RecursionError):
            raise QuantLakeError(f"{item.where}: withdrawals {text[:SHOWN]!r} is not JSON") from None
    return found


READ: Mapping[str, Callable[[Found, Path], Frames]] = {
    "block": _blocks, "transaction": _transactions, "receipt": _receipts, "log": _logs, "trace": _traces, "contract": _contracts, "token": _tokens,
}  # fmt: skip
