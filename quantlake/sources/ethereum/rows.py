"""Objects of the JSON-RPC interface as rows: blocks, transactions, receipts, logs, and what they say of the chain.

Here: members of these objects, and what all rows of on-chain data have beside them. Not here: files (json_rpc.py), traces (parity.py).

The objects: https://github.com/ethereum/execution-apis (``Block``, ``Transaction``, ``Receipt``, ``Log``); members of rollups' receipts:
https://docs.optimism.io/stack/transactions/fees.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import polars as pl
import pyarrow as pa

from quantlake.contract import Stream
from quantlake.contract.wire import wire_arrow
from quantlake.sources.ethereum.values import (
    ADDRESS,
    BLOOM,
    DATA,
    HASH,
    HASH_OR_NONE,
    HEX,
    WORD,
    Form,
    Item,
    Records,
    counts,
    of_objects,
    placed,
    within,
)
from quantlake.sources.importers import Rows, counted, typed

MOST_TOPICS = 4
TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Origin:
    """What the rows of a file, or of a node's answer, share.

    ``received`` is when we got it (UTC). ``live``: it is also when the rows could first be known; else that is their block's time, if known, but of a removed log.
    """

    source: str
    name: str
    version: str | None
    received: datetime
    chain_id: int = 1
    live: bool = False


def stamped(stream: Stream, rows: pl.DataFrame, origin: Origin) -> pa.Table:
    """Rows (their block's and own columns, ``line_number``, ``item_index``) with all that the stream's have, typed."""
    received = pl.lit(origin.received).cast(TIME)
    now = pl.lit(origin.live) | pl.col("block_timestamp").is_null() | (pl.col("removed").fill_null(False) if "removed" in rows.columns else pl.lit(False))
    whole = rows.with_columns(
        chain_id=pl.lit(origin.chain_id, pl.Int64),
        source=pl.lit(origin.source),
        receive_time=received if origin.live else pl.lit(None, TIME),
        known_at=pl.when(now).then(received).otherwise("block_timestamp"),
        known_at_source=pl.when(now).then(pl.lit("receive")).otherwise(pl.lit("block")),
        source_name=pl.lit(origin.name),
        source_version=pl.lit(origin.version, pl.String),
    )
    nothing = pl.DataFrame(pl.from_arrow(wire_arrow(stream).empty_table()))
    complete = pl.concat([nothing, whole.select(c for c in nothing.columns if c in whole.columns)], how="diagonal")
    filled = stream.filler(complete) if stream.filler else complete
    return typed(stream, counted(filled) if origin.version else filled)


def tables(found: Mapping[Stream, pl.DataFrame], origin: Origin) -> Rows:
    """A file's rows, all made before the first is given; streams without any are left out."""
    yield from [(stream, stamped(stream, rows, origin)) for stream, rows in found.items() if rows.height]


def of_blocks(items: Sequence[Item]) -> pl.DataFrame:
    """Headers. Raises ``QuantLakeError`` naming the block and the member that is missing or wrong."""
    found = of_objects(items, HEX)
    return pl.DataFrame({
        **placed(items),
        "block_number": found.integer("number"),
        "block_hash": found.text("hash", HASH),
        "block_timestamp": found.time("timestamp"),
        "hash": found.text("hash", HASH),
        "parent_hash": found.text("parentHash", HASH),
        "nonce": found.text("nonce", DATA, null=True),
        "sha3_uncles": found.text("sha3Uncles", HASH),
        "logs_bloom": found.text("logsBloom", BLOOM),
        "transactions_root": found.text("transactionsRoot", HASH),
        "state_root": found.text("stateRoot", HASH),
        "receipts_root": found.text("receiptsRoot", HASH),
        "miner": found.text("miner", ADDRESS),
        "difficulty": found.amount("difficulty", null=True),
        "total_difficulty": found.amount("totalDifficulty", null=True),
        "size": found.integer("size", null=True),
        "extra_data": found.text("extraData", DATA),
        "gas_limit": found.integer("gasLimit"),
        "gas_used": found.integer("gasUsed"),
        "base_fee_per_gas": found.amount("baseFeePerGas", null=True),
        "transaction_count": pl.Series(counts(items, "transactions"), dtype=pl.Int64),
        "withdrawals_root": found.text("withdrawalsRoot", HASH, null=True),
        "withdrawals": withdrawals(items, "validatorIndex", HEX),
    })  # fmt: skip


def of_transactions(items: Sequence[Item], times: Mapping[str, datetime]) -> pl.DataFrame:
    """Transactions; ``times`` are those of blocks by hash. Raises ``QuantLakeError`` naming the transaction and the member."""
    found = of_objects(items, HEX)
    return pl.DataFrame({
        **placed(items),
        **_block(found, times),
        "hash": found.text("hash", HASH),
        "nonce": found.integer("nonce"),
        "transaction_index": found.integer("transactionIndex"),
        "from_address": found.text("from", ADDRESS),
        "to_address": found.text("to", ADDRESS, null=True),
        "value": found.amount("value"),
        "gas": found.integer("gas"),
        "input": found.text("input", DATA),
        "gas_price": found.amount("gasPrice", null=True),
        "max_fee_per_gas": found.amount("maxFeePerGas", null=True),
        "max_priority_fee_per_gas": found.amount("maxPriorityFeePerGas", null=True),
        "transaction_type": found.integer("type", null=True),
    })  # fmt: skip


def of_receipts(items: Sequence[Item], times: Mapping[str, datetime]) -> pl.DataFrame:
    """Receipts without their logs; otherwise as ``of_transactions``."""
    found = of_objects(items, HEX)
    return pl.DataFrame({
        **placed(items),
        **_block(found, times),
        "transaction_hash": found.text("transactionHash", HASH),
        "transaction_index": found.integer("transactionIndex"),
        "status": found.integer("status", null=True),
        "root": found.text("root", HASH_OR_NONE, null=True),
        "gas_used": found.integer("gasUsed"),
        "cumulative_gas_used": found.integer("cumulativeGasUsed"),
        "effective_gas_price": found.amount("effectiveGasPrice", null=True),
        "l1_fee": found.amount("l1Fee", null=True),
        "l1_gas_used": found.amount("l1GasUsed", null=True),
        "l1_gas_price": found.amount("l1GasPrice", null=True),
        "l1_fee_scalar": found.plain("l1FeeScalar"),
        "contract_address": found.text("contractAddress", ADDRESS, null=True),
    })  # fmt: skip


def of_logs(items: Sequence[Item], times: Mapping[str, datetime]) -> pl.DataFrame:
    """Logs; otherwise as ``of_transactions``. ``removed`` is true or null: whether a node says that one is not makes no other log of it."""
    found = of_objects(items, HEX)
    removed = found.boolean("removed", null=True)
    return pl.DataFrame({
        **placed(items),
        **_block(found, times),
        "log_index": found.integer("logIndex"),
        "transaction_hash": found.text("transactionHash", HASH),
        "transaction_index": found.integer("transactionIndex"),
        "address": found.text("address", ADDRESS),
        "topics": found.words("topics", MOST_TOPICS, WORD),
        "data": found.text("data", DATA),
        "removed": removed.set(~removed, None),
    })  # fmt: skip


def whole_transactions(blocks: Sequence[Item]) -> list[Item]:
    """The transactions of blocks that have them whole.

    Raises ``QuantLakeError`` for one of another block than that it stands in, and for a hash alone that is none.
    """
    found = within(blocks, "transactions", "transaction", {"blockHash": "hash", "blockNumber": "number"})
    hashes = [item._replace(value={"hash": item.value}) for item in found if isinstance(item.value, str)]
    of_objects(hashes, HEX).text("hash", HASH)
    return [item for item in found if not isinstance(item.value, str)]


def logs_within(receipts: Sequence[Item]) -> list[Item]:
    """The logs of receipts. Raises ``QuantLakeError`` for one of another transaction than its receipt."""
    return within(receipts, "logs", "log", {name: name for name in ("blockHash", "blockNumber", "transactionHash", "transactionIndex")})


def seen(blocks: pl.DataFrame) -> pl.DataFrame:
    """That each block is the chain's at its height, of ``raw/onchain/chain_status``."""
    return blocks.select("line_number", "item_index", "block_number", "block_hash", "block_timestamp")


def times_of(blocks: pl.DataFrame) -> dict[str, datetime]:
    """The time of each block by its hash."""
    return dict(zip(blocks["block_hash"], blocks["block_timestamp"], strict=True))


def dated(hashes: pl.Series, times: Mapping[str, datetime]) -> pl.Series:
    """The times of blocks, where they are known."""
    return pl.Series([times.get(block) for block in hashes], dtype=TIME)


def _block(found: Records, times: Mapping[str, datetime]) -> dict[str, pl.Series]:
    hashes = found.text("blockHash", HASH)
    return {
        "block_number": found.integer("blockNumber"),
        "block_hash": hashes,
        "block_timestamp": dated(hashes, times),
    }


def withdrawals(blocks: Sequence[Item], validator: str, numbers: Form) -> pl.Series:
    """As JSON; null where a block has no such member. ``validator`` is what an item calls the validator's index."""
    listed = [block for block in blocks if block.value.get("withdrawals") is not None]
    found = of_objects(within(listed, "withdrawals", "withdrawal"), numbers)
    columns = {"index": found.integer("index"), "validator_index": found.integer(validator),
               "address": found.text("address", ADDRESS), "amount": found.integer("amount")}  # fmt: skip
    each = iter(pl.DataFrame(columns).to_dicts())
    lengths = [None if block.value.get("withdrawals") is None else len(block.value["withdrawals"]) for block in blocks]
    written = [None if n is None else json.dumps(list(islice(each, n)), separators=(",", ":")) for n in lengths]
    return pl.Series(written, dtype=pl.String)
