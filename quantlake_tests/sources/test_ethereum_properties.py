"""On-chain importers, property tests: rows + rejects = records, 256-bit values survive exactly, damage is refused by name."""

import csv
import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError, Stream
from quantlake.datasets.onchain import blocks, chain_status, logs, receipts, traces, transactions
from quantlake.sources.ethereum import etl, json_rpc, parity
from quantlake_tests.sources.ethereum_objects import (
    ADDRESS,
    OTHER,
    Object,
    block,
    hash_of,
    lines,
    log,
    receipt,
    response,
    reward,
    trace,
    transaction,
    written,
)

Draw = Callable[[st.SearchStrategy[Any]], Any]
AMOUNTS = st.one_of(st.sampled_from([0, 1, 2**63, 2**64, 2**128, 2**255, 2**256 - 1]), st.integers(0, 2**256 - 1))
WORDS = st.binary(min_size=32, max_size=32).map(lambda b: f"0x{b.hex()}")
DATA = st.binary(max_size=40).map(lambda b: f"0x{b.hex()}")
TOPICS = st.lists(WORDS, max_size=4)
NO_ROWS = st.sampled_from([response(None), response("0x1"), response([]), {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}}])
SLOW = [HealthCheck.too_slow]  # a busy machine is no fault of these
FEW = settings(max_examples=15, deadline=None, suppress_health_check=SLOW)


def rows(read: Callable[[Path], Any], path: Path) -> dict[Stream, pl.DataFrame]:
    return {stream: pl.DataFrame(table) for stream, table in read(path)}


def refused(read: Callable[[Path], Any], path: Path) -> str:
    """Why a file is refused, as it must be before its first table."""
    with pytest.raises(QuantLakeError) as error:
        next(iter(read(path)))
    assert str(path) in str(error.value)
    return str(error.value)


@st.composite
def answered(draw: Draw) -> tuple[list[Object], dict[Stream, list[Any]]]:
    """Responses, and what their records hold: of each stream, in order, its key's last part and its values."""
    responses: list[Object] = []
    held: dict[Stream, list[Any]] = {blocks.raw: [], transactions.raw: [], receipts.raw: [], logs.raw: []}
    for number in range(1, 1 + draw(st.integers(1, 3))):
        values = draw(st.lists(AMOUNTS, max_size=3))
        difficulty, fee = draw(AMOUNTS), draw(AMOUNTS)
        sent = [transaction(number, place, value=hex(v), input=draw(DATA)) for place, v in enumerate(values)]
        responses.append(response(block(number, *sent, totalDifficulty=hex(difficulty), baseFeePerGas=hex(fee))))
        held[blocks.raw].append((number, str(difficulty), str(fee), len(values)))
        held[transactions.raw] += [(place, str(v), t["input"]) for place, (v, t) in enumerate(zip(values, sent, strict=True))]
        told = [log(number, i, topics=draw(TOPICS), data=draw(DATA)) for i in range(draw(st.integers(0, 3)))]
        within = draw(st.booleans())
        price = draw(AMOUNTS)
        responses.append(response([receipt(number, 0, *(told if within else ()), effectiveGasPrice=hex(price))]))
        responses += [] if within else [response(told), draw(NO_ROWS)]
        held[receipts.raw].append((number, str(price)))
        held[logs.raw] += [(t["topics"], t["data"]) for t in told]
    return responses, held


@FEW
@given(answered(), st.sampled_from(["batch", "lines"]))
def test_responses(tmp_path_factory: pytest.TempPathFactory, drawn: tuple[list[Object], dict[Stream, list[Any]]], form: str) -> None:
    responses, held = drawn
    path = written(tmp_path_factory.mktemp("rpc") / "r.json", responses if form == "batch" else lines(*responses))
    found = rows(json_rpc.read, path)
    columns = {
        blocks.raw: ("block_number", "total_difficulty", "base_fee_per_gas", "transaction_count"),
        transactions.raw: ("transaction_index", "value", "input"), receipts.raw: ("block_number", "effective_gas_price"), logs.raw: ("topics", "data"),
    }  # fmt: skip
    for stream, told in held.items():
        if stream is logs.raw:  # those within receipts come first
            assert sorted(found[stream].select(*columns[stream]).rows() if told else []) == sorted(told)
        else:
            assert (found[stream].select(*columns[stream]).rows() if told else []) == told
    assert found.keys() - {chain_status.raw} == {stream for stream, told in held.items() if told}
    assert found[chain_status.raw].height == len(held[blocks.raw])


OBJECTS: dict[str, tuple[Callable[[], Object], tuple[str, ...], tuple[str, ...]]] = {
    "block": (block, ("hash", "parentHash", "stateRoot", "transactionsRoot", "receiptsRoot", "sha3Uncles", "logsBloom", "miner"), ("number", "timestamp", "gasUsed")),
    "transaction": (transaction, ("hash", "blockHash", "from"), ("blockNumber", "transactionIndex", "nonce", "value", "gas")),
    "receipt": (receipt, ("blockHash", "transactionHash"), ("blockNumber", "transactionIndex", "gasUsed", "cumulativeGasUsed")),
    "log": (log, ("blockHash", "transactionHash", "address"), ("blockNumber", "transactionIndex", "logIndex")),
}
"""Members that each kind needs: those of a fixed length, and quantities."""
BAD_HEX = (lambda v: v[:-1], lambda v: v[:-1] + "g", lambda v: v + "0", lambda v: [v], lambda v: v[2:], lambda v: "")
BAD_NUMBER = (lambda v: "0x", lambda v: "0xg", lambda v: v[2:], lambda v: 5, lambda v: hex(2**256), lambda v: [v], lambda v: 1.5, lambda v: "-0x1")
MISSING = (lambda v: None,)


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(st.data())
def test_a_damaged_member_of_a_response(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(OBJECTS)))
    made, fixed, quantities = OBJECTS[kind]
    member = data.draw(st.sampled_from(fixed + quantities))
    found = made()
    damage = data.draw(st.sampled_from(MISSING + (BAD_HEX if member in fixed else BAD_NUMBER)))
    found[member] = damage(found[member])
    if found[member] is None and data.draw(st.booleans()):
        del found[member]
    result = {"block": found, "transaction": block(7, found), "receipt": [receipt(7, 1), found], "log": [log(7, 1), found]}[kind]
    path = written(tmp_path_factory.mktemp("rpc") / "r.json", [response(block(9)), response(result)])
    assert "item 2" in refused(json_rpc.read, path)


@FEW
@given(answered(), st.integers(1, 400))
def test_responses_that_are_cut(tmp_path_factory: pytest.TempPathFactory, drawn: tuple[list[Object], dict[Stream, list[Any]]], cut: int) -> None:
    folder = tmp_path_factory.mktemp("rpc")
    batch = json.dumps([response(block(9)), *drawn[0]])
    refused(json_rpc.read, written(folder / "batch.json", batch[: len(batch) - min(cut, len(batch) - 1)]))
    text = lines(response(block(9)), *drawn[0])
    short = text[: len(text) - cut]
    path = written(folder / "lines.json", short)
    if text[len(short)] == "\n" or short.endswith("\n"):  # whole responses are left
        assert rows(json_rpc.read, path)[blocks.raw].height == short.count('"parentHash"')
    elif short:
        refused(json_rpc.read, path)


@st.composite
def exported(draw: Draw) -> list[Object]:
    """Transactions with receipts as ethereum-etl exports them."""
    return [
        {
            "hash": hash_of(place), "nonce": place, "block_hash": hash_of(7), "block_number": 7, "transaction_index": place, "from_address": ADDRESS,
            "to_address": draw(st.sampled_from([OTHER, None])), "value": draw(AMOUNTS), "gas": draw(st.integers(0, 2**63 - 1)),
            "gas_price": draw(st.one_of(AMOUNTS, st.none())), "input": draw(DATA), "block_timestamp": draw(st.integers(0, 1_700_000_000)),
            "receipt_gas_used": 5, "receipt_cumulative_gas_used": 6, "receipt_effective_gas_price": draw(AMOUNTS),
        }
        for place in range(draw(st.integers(1, 5)))
    ]  # fmt: skip


def table(records: list[Object]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, records[0])
    writer.writeheader()
    writer.writerows({name: ",".join(v) if isinstance(v, list) else v for name, v in record.items()} for record in records)
    return file.getvalue()


@FEW
@given(exported())
def test_exported_transactions(tmp_path_factory: pytest.TempPathFactory, records: list[Object]) -> None:
    folder = tmp_path_factory.mktemp("etl")
    for path in (written(folder / "t.csv", table(records)), written(folder / "t.json", lines(*records))):
        found = rows(etl.read, path)
        names = ["hash", "nonce", "to_address", "value", "gas", "gas_price", "input"]
        texts = {"value", "gas_price"}
        expected = [tuple(str(r[n]) if n in texts and r[n] is not None else r[n] for n in names) for r in records]
        assert found[transactions.raw].select(names).rows() == expected
        assert found[receipts.raw]["effective_gas_price"].to_list() == [str(r["receipt_effective_gas_price"]) for r in records]
        assert [int(time.timestamp()) for time in found[receipts.raw]["block_timestamp"]] == [r["block_timestamp"] for r in records]


@FEW
@given(exported(), st.integers(1, 200))
def test_an_export_that_is_cut(tmp_path_factory: pytest.TempPathFactory, records: list[Object], cut: int) -> None:
    """It is refused, or what is left is whole but for the last cell, which does not tell."""
    text = table(records)
    path = written(tmp_path_factory.mktemp("etl") / "t.csv", text[: max(len(text) - cut, text.index("\n"))])
    prices: list[str] = []
    with suppress(QuantLakeError):
        prices = [price for stream, frame in rows(etl.read, path).items() if stream is receipts.raw for price in frame["effective_gas_price"]]
    expected = [str(r["receipt_effective_gas_price"]) for r in records][: len(prices)]
    assert prices[:-1] == expected[:-1] and all(whole.startswith(price) for whole, price in zip(expected, prices, strict=True))


@st.composite
def exported_logs(draw: Draw) -> list[Object]:
    return [
        {"log_index": i, "transaction_hash": hash_of(1), "transaction_index": 0, "block_hash": hash_of(7), "block_number": 7, "address": ADDRESS,
         "data": draw(DATA), "topics": draw(TOPICS)}
        for i in range(draw(st.integers(1, 5)))
    ]  # fmt: skip


@FEW
@given(exported_logs())
def test_exported_logs(tmp_path_factory: pytest.TempPathFactory, records: list[Object]) -> None:
    folder = tmp_path_factory.mktemp("etl")
    for path in (written(folder / "l.csv", table(records)), written(folder / "l.json", lines(*records))):
        found = rows(etl.read, path)[logs.raw]
        assert found.select("log_index", "data", "topics").rows() == [(r["log_index"], r["data"], r["topics"]) for r in records]
        assert found["line_number"].to_list() == list(range(1, len(records) + 1))


FIXED = ("hash", "block_hash", "from_address", "input")
WHOLE = ("nonce", "block_number", "transaction_index", "value", "gas")


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
@given(exported(), st.data())
def test_a_damaged_member_of_an_export(tmp_path_factory: pytest.TempPathFactory, records: list[Object], data: st.DataObject) -> None:
    member = data.draw(st.sampled_from(FIXED + WHOLE))
    place = data.draw(st.integers(0, len(records) - 1))
    bad = st.sampled_from([None, "0x1g", "x", ""] if member in FIXED else [None, "0x1", "-1", "1.5", "1e3", str(2**256), ""])
    records[place][member] = data.draw(bad)
    folder = tmp_path_factory.mktemp("etl")
    assert f"line {place + 2}" in refused(etl.read, written(folder / "t.csv", table(records)))
    assert f"{'line' if len(records) > 1 else 'item'} {place + 1}" in refused(etl.read, written(folder / "t.json", lines(*records)))


@st.composite
def traced(draw: Draw) -> list[Object]:
    """Calls in a tree, and rewards."""
    found = []
    for place in draw(st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=6, unique_by=tuple)):
        failed = {"result": None, "error": "Reverted"} if draw(st.booleans()) else {}
        found.append(trace(*place, **failed))
        found[-1]["action"]["value"] = hex(draw(AMOUNTS))
    return found + [reward(hex(value)) for value in draw(st.lists(AMOUNTS, max_size=2))]


@FEW
@given(traced())
def test_traces(tmp_path_factory: pytest.TempPathFactory, told: list[Object]) -> None:
    folder = tmp_path_factory.mktemp("parity")
    kept = {"block_number": 7, "traces": told, "receipts": []}
    paths = ((json_rpc.read, written(folder / "r.json", response(told))), (parity.read, written(folder / "7.json", kept)))
    failed = {tuple(t["traceAddress"]) for t in told if t["error" if "error" in t else "type"] == "Reverted"}
    for read, path in paths:
        found = rows(read, path).get(traces.raw)
        if found is None:
            assert not told
            continue
        assert found["value"].to_list() == [str(int(t["action"]["value"], 16)) for t in told]
        assert found["trace_address"].to_list() == [",".join(map(str, t["traceAddress"])) for t in told]
        calls = [tuple(t["traceAddress"]) for t in told if t["type"] == "call"]
        assert found["status"].to_list()[: len(calls)] == [0 if any(c[:n] in failed for n in range(len(c) + 1)) else 1 for c in calls]
        assert found["reward_index"].drop_nulls().to_list() == list(range(len(told) - len(calls)))


@FEW
@given(st.data())
def test_a_damaged_trace(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    bad = trace(1)
    member = data.draw(st.sampled_from(["blockHash", "blockNumber", "traceAddress", "transactionHash", "transactionPosition", "type", "action", "from", "value", "gas"]))
    within = bad["action"] if member in bad["action"] else bad
    within[member] = data.draw(st.sampled_from([None, "0xg", "x", -1, 1.5, {}]))
    path = written(tmp_path_factory.mktemp("parity") / "7.json", {"block_number": 7, "traces": [trace(), bad], "receipts": []})
    assert "trace 1" in refused(parity.read, path)
