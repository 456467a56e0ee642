"""On-chain importers against recorded files: what ethereum-etl made of the same responses, one whole block, and blocks of traces."""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quantlake.contract.versions import versioned
from quantlake.datasets.onchain import (
    blocks,
    canonical_blocks,
    chain_status,
    contracts,
    logs,
    receipts,
    tokens,
    traces,
    transactions,
)
from quantlake.sources import replay
from quantlake_tests.recorded import recorded

Row = dict[str, Any]
Sent = dict[str, list[Row]]
STREAMS = {
    stream.path: stream for stream in (blocks.raw, chain_status.raw, contracts.raw, logs.raw, receipts.raw, tokens.raw, traces.raw, transactions.raw)
}
EXPECTED = {
    "blocks": (blocks.raw, "hash"), "transactions": (transactions.raw, "hash"), "receipts": (receipts.raw, "transaction_hash"),
    "logs": (logs.raw, "log_index"), "tokens": (tokens.raw, "address"), "contracts": (contracts.raw, "address"),
}  # fmt: skip
COMPARED = (
    "test_export_blocks_job/block_with_logs", "test_export_blocks_job/block_without_transactions", "test_export_blocks_job/blocks_with_transactions",
    "test_export_contracts_job/erc721_contract", "test_export_receipts_job/receipts_with_logs",
    "test_export_tokens_job/token_with_alternative_return_type", "test_export_tokens_job/token_with_invalid_data",
    "test_stream/blocks_1755634_1755635",
)  # fmt: skip
LOOKED_UP = {
    "curated/onchain/transactions": ("curated/onchain/blocks",), "curated/onchain/logs": ("curated/onchain/blocks", "curated/onchain/receipts"),
}  # fmt: skip
NOT_KEPT = {"type", "item_id", "item_timestamp"}
LATEST = 0x71993A  # a response in the folder of the stream that the exporter only asked for the head's height
MEV = {
    "10921990": (10921991, 990, 198), "10921991": (10921991, 991, 198), "12412732": (12412732, 870, 328), "12483198": (12483198, 1038, 231),
    "12775690": (12775690, 761, 117), "12914944": (12914944, 1058, 222), "13234998": (13234998, 664, 149),
}  # fmt: skip


def parts(paths: Iterable[Path]) -> dict[str, pl.DataFrame]:
    """What replaying files sends, by stream."""
    found: dict[str, list[pl.DataFrame]] = {}
    for path in paths:
        importer = replay.recognise(path)
        assert importer is not None, path
        for stream, table in importer.read(path):
            found.setdefault(stream.path, []).append(pl.DataFrame(table))
    return {path: pl.concat(frames) for path, frames in found.items()}


def sent(paths: Iterable[Path]) -> Sent:
    """The same, a row a dictionary; streams without any have none."""
    return {path: [] for path in STREAMS} | {path: rows.to_dicts() for path, rows in parts(paths).items()}


def is_expected(path: Path) -> bool:
    return path.name.startswith("expected_")


def plain(path: Path) -> Iterator[Row]:
    """Expected records, read without the importers."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            yield from csv.DictReader(file)
    else:
        yield from map(json.loads, path.read_text().splitlines())


def as_written(name: str, value: Any) -> Any:
    """What an exporter writes, whichever of its formats."""
    if value in (None, ""):
        return None
    if name == "withdrawals":
        value = json.loads(value if value.startswith("[") else f"[{value}]") if isinstance(value, str) else value
        return value or None
    if name in ("topics", "function_sighashes"):
        return value.split(",") if isinstance(value, str) else value
    if isinstance(value, datetime):
        return str(int(value.timestamp()))
    return str(value)


def own_name(kind: str, name: str) -> str:
    return {"number": "block_number", "timestamp": "block_timestamp"}.get(name, name) if kind == "blocks" else name


def differences(expected: Path, found: Sent) -> Iterator[tuple[Any, ...]]:
    kind = expected.stem.removeprefix("expected_")
    stream, key = EXPECTED[kind]
    rows = {str(row[key]): row for row in found[stream.path]}
    outcomes = {row["transaction_hash"]: row for row in found[receipts.raw.path]}
    for record in plain(expected):
        for name in record.keys() - NOT_KEPT:
            row = outcomes[record["hash"]] if name.startswith("receipt_") else rows[str(record[key])]
            mine = row[own_name(kind, name.removeprefix("receipt_") if name.startswith("receipt_") else name)]
            if as_written(name, mine) != as_written(name, record[name]):
                yield record[key], name, mine, record[name]


@pytest.mark.parametrize("folder", COMPARED)
def test_responses_become_what_the_exporter_made_of_them(folder: str) -> None:
    files = sorted(recorded(f"onchain/ethereum_etl_rpc/{folder}").iterdir())
    found = sent(path for path in files if not is_expected(path))
    answers = [path for path in files if is_expected(path) and "token_transfers" not in path.name]
    assert answers
    assert [difference for answer in answers for difference in differences(answer, found)] == []
    for kind, (stream, key) in EXPECTED.items():
        expected = {str(record[key]) for path in answers if path.stem == f"expected_{kind}" for record in plain(path)}
        mine = {str(row[key]) for row in found[stream.path] if row["block_number"] != LATEST}
        assert mine == expected or kind not in {path.stem.removeprefix("expected_") for path in answers}


def test_no_two_recorded_files_say_what_differs() -> None:
    """The demo replays all: rows of one key must agree in all that both say, but for the time of those whose block's is not known."""
    found = sent(path for path, _ in replay.plan([recorded("onchain/ethereum_etl_rpc"), recorded("onchain/eth_block_17173049")]).files)
    for path, stream in STREAMS.items():
        facts = [c.name for c in stream.columns if not c.provenance and c.name not in ("known_at", "partition_date", "event_time")]
        first: dict[tuple[Any, ...], Row] = {}
        for row in found[path]:
            other = first.setdefault(tuple(row[name] for name in stream.key), row)
            assert [(name, other[name], row[name]) for name in facts if None not in (other[name], row[name]) and other[name] != row[name]] == []
        assert len(first) < len(found[path]) or not found[path]


def test_no_recorded_file_is_without_an_importer_or_a_name() -> None:
    planned = replay.plan([recorded("onchain")])
    assert Counter(importer.name for _, importer in planned.files) == {
        "JSON-RPC responses": 29, "ethereum-etl blocks": 7, "ethereum-etl transactions": 6, "ethereum-etl logs": 5, "ethereum-etl receipts": 2,
        "ethereum-etl tokens": 2, "ethereum-etl contracts": 1, "Parity traces": 7,
    }  # fmt: skip
    assert {kind: sorted(path.name for path in paths) for kind, paths in planned.no_format.items()} == {
        ".json file": ["12775690.json", "expected.json"],
        "token transfers: they are built from logs here": [
            "expected_token_transfers.csv", "expected_token_transfers.csv", "expected_token_transfers.json", "token_transfers.jsonl",
        ],
    }  # fmt: skip


def test_block_17173049_is_whole_and_exact() -> None:
    folder = recorded("onchain/eth_block_17173049")
    found = sent(folder / f"{name}.jsonl" for name in ("blocks", "transactions", "logs"))
    assert {path: len(rows) for path, rows in found.items() if rows} == {
        "raw/onchain/blocks": 1, "raw/onchain/chain_status": 1, "raw/onchain/logs": 271, "raw/onchain/receipts": 116, "raw/onchain/transactions": 116,
    }  # fmt: skip
    for name, stream in (("blocks", blocks.raw), ("transactions", transactions.raw), ("logs", logs.raw)):
        target = folder / f"{name}.jsonl"
        for record, row in zip(plain(target), found[stream.path], strict=True):
            facts = {own_name(name, n): as_written(n, v) for n, v in record.items() if n not in NOT_KEPT and not n.startswith("receipt_")}
            assert {n: as_written(n, row[n]) for n in facts} == facts
    assert int(found[blocks.raw.path][0]["total_difficulty"]).bit_length() == 76
    assert sorted(row["log_index"] for row in found[logs.raw.path]) == list(range(271))
    assert found[blocks.raw.path][0]["transaction_count"] == 116


@pytest.fixture(scope="module")
def mev() -> dict[str, Sent]:
    folder = recorded("onchain/mev_inspect_blocks")
    return {name: sent([folder / f"{name}.json.gz"]) for name in MEV}


def test_blocks_of_traces_land_whole(mev: dict[str, Sent]) -> None:
    folder = recorded("onchain/mev_inspect_blocks")
    for name, (number, traced, receipted) in MEV.items():
        found = mev[name]
        assert {path: len(rows) for path, rows in found.items() if rows} == {"raw/onchain/receipts": receipted, "raw/onchain/traces": traced}
        assert {row["block_number"] for rows in found.values() for row in rows} == {number}
        document = json.loads(gzip.decompress((folder / f"{name}.json.gz").read_bytes()))
        for trace, row in zip(document["traces"], found[traces.raw.path], strict=True):
            assert trace_facts(trace).items() <= row.items()
        assert {row["block_hash"] for row in found[receipts.raw.path]} == {document["traces"][0]["block_hash"]}
        stamp = document.get("block_timestamp")
        assert {row["block_timestamp"] and int(row["block_timestamp"].timestamp()) for rows in found.values() for row in rows} == {stamp}
        assert {row["event_time_source"] for rows in found.values() for row in rows} == {"none" if stamp is None else "block"}


def trace_facts(trace: Row) -> Row:
    """Of a trace, by its type, what its row must say."""
    action, result = trace["action"], trace["result"] or {}
    of_type = {
        "call": lambda: (action["from"], action["to"], action["value"], action["input"], result.get("output")),
        "create": lambda: (action["from"], result.get("address"), action["value"], action["init"], result.get("code")),
        "suicide": lambda: (action["address"], action["refundAddress"], action["balance"], None, None),
        "reward": lambda: (None, action["author"], action["value"], None, None),
    }
    one, other, value, given, output = of_type[trace["type"]]()
    return {
        "transaction_hash": trace["transaction_hash"], "transaction_index": trace["transaction_position"],
        "trace_address": ",".join(map(str, trace["trace_address"])), "from_address": one and one.lower(), "to_address": other and other.lower(),
        "value": str(int(value, 16)), "input": given, "output": output, "trace_type": trace["type"], "call_type": action.get("callType"),
        "reward_type": action.get("rewardType"), "error": trace["error"], "subtraces": trace["subtraces"],
    }  # fmt: skip


def test_two_files_of_one_block_hold_the_same_traces_but_its_reward(mev: dict[str, Sent]) -> None:
    def keyed(name: str) -> dict[tuple[Any, ...], Row]:
        facts = [c.name for c in traces.raw.columns if not c.provenance and c.name != "known_at"]
        key = (*traces.raw.key, "trace_type", "reward_index")
        return {tuple(row[k] for k in key): {n: row[n] for n in facts} for row in mev[name][traces.raw.path]}

    first, second = keyed("10921990"), keyed("10921991")
    assert (len(first), len(second)) == (990, 991)
    only = [row for key, row in second.items() if key not in first]
    assert [(row["trace_type"], row["reward_index"], row["reward_type"], row["value"]) for row in only] == [("reward", 0, "block", "2000000000000000000")]
    assert all(row == second[key] for key, row in first.items())


def test_what_failed_is_undone_with_all_within_it(mev: dict[str, Sent]) -> None:
    for found in mev.values():
        rows = found[traces.raw.path]
        by_place = {(row["transaction_hash"], row["trace_address"]): row for row in rows}
        for row in rows:
            parts = row["trace_address"].split(",") if row["trace_address"] else []
            above = [by_place[row["transaction_hash"], ",".join(parts[:depth])] for depth in range(len(parts) + 1)]
            assert row["status"] == (0 if any(trace["error"] for trace in above) else 1)


def test_gas_that_cannot_be_is_not_taken(mev: dict[str, Sent]) -> None:
    """Four files have the status in place of the sum of gas, and differences of that for gas, as 2^64 - 1."""
    no_gas = {name for name, found in mev.items() if all(row["gas_used"] is row["cumulative_gas_used"] is None for row in found[receipts.raw.path])}
    assert no_gas == {"10921990", "10921991", "12412732", "12483198"}
    kept = mev["12775690"][receipts.raw.path]
    assert (kept[0]["gas_used"], kept[-1]["cumulative_gas_used"]) == (176_172, 14_954_445)


def test_replaying_all_again_adds_nothing_to_curated() -> None:
    files = [path for path, _ in replay.plan([recorded("onchain")]).files]
    tables = (blocks.blocks, receipts.receipts, transactions.transactions, logs.logs, traces.traces, tokens.tokens, contracts.contracts,
              canonical_blocks.canonical_blocks)  # fmt: skip
    received = [parts(files), parts(files)]
    curated: list[dict[str, pl.DataFrame]] = [{}, {}]
    for times, found in enumerate(curated, 1):
        for table in tables:
            (stream,) = table.streams
            raw = pl.concat([every[stream.path] for every in received[:times]])
            inputs = [found[name].lazy() for name in LOOKED_UP.get(table.path, ())]
            built = table.function(raw.lazy().with_columns(_timestamp="known_at"), *inputs)
            found[table.path] = versioned(built.select(c.name for c in table.columns), table)
    for path, rows in curated[0].items():
        own = [c for c in rows.columns if c not in ("known_at", "superseded_at", "observed_at")]  # of undated rows, when they were read
        assert curated[1][path].select(own).equals(rows.select(own)), path
    assert {path.rpartition("/")[2]: rows.height for path, rows in curated[0].items()} == {
        "blocks": 10, "receipts": 1367, "transactions": 308, "logs": 278, "traces": 5382, "tokens": 2, "contracts": 1, "canonical_blocks": 10,
    }  # fmt: skip
