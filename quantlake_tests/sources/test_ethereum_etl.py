"""Files of ethereum-etl: blocks beside traces, lists in CSV and JSON, streams of all kinds, and what is refused by name."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quantlake.contract import QuantLakeError
from quantlake.datasets.onchain import blocks, chain_status, logs, traces
from quantlake.sources import replay
from quantlake.sources.ethereum import etl
from quantlake_tests.sources.ethereum_objects import ADDRESS, OTHER, ROOT, Object, hash_of, lines, read, response, trace, written

TIME = datetime.fromtimestamp(1_700_000_007, UTC)

BLOCK_CSV = "number,hash,parent_hash,timestamp,difficulty,withdrawals_root,withdrawals"
TRACE_CSV = "block_number,transaction_hash,transaction_index,from_address,to_address,value,trace_type,trace_address,error,status"


def test_traces_take_the_hash_of_a_block_beside_them(tmp_path: Path) -> None:
    row = f"7,{hash_of(1000)},0,{ADDRESS},{OTHER},{2**256 - 1},call"
    path = written(tmp_path / "traces.csv", f'{TRACE_CSV}\n{row},"0,2",,1\n{row},,oops,0\n7,,,,{ADDRESS},5,reward,,,1\n')
    with pytest.raises(QuantLakeError, match=r"no importer for this format \(ethereum-etl traces without their blocks' hashes: put the blocks beside them\)"):
        replay.plan([path])
    written(tmp_path / "trace_block.json", response([trace(number=8), trace(number=7)]))
    assert read(path)[traces.raw].select("block_hash", "block_timestamp").rows() == [(hash_of(7), None)] * 3
    written(tmp_path / "trace_block.json", response([trace(number=8)]))
    with pytest.raises(QuantLakeError, match=r"traces\.csv line 2: block_hash is missing, and the files beside it do not name just one block"):
        read(path)
    written(tmp_path / "blocks.csv", f"{BLOCK_CSV}\n7,{hash_of(7)},{hash_of(6)},1700000007,0,,\n")
    found = read(path)[traces.raw]
    assert found.select("block_hash", "block_timestamp", "trace_address", "value", "status", "error", "reward_index").rows() == [
        (hash_of(7), TIME, "0,2", str(2**256 - 1), 0, None, None), (hash_of(7), TIME, "", str(2**256 - 1), 0, "oops", None),
        (hash_of(7), TIME, "", "5", 1, None, 0),
    ]  # fmt: skip
    written(tmp_path / "more.csv", f"{BLOCK_CSV}\n7,{hash_of(8)},{hash_of(6)},1700000007,0,,\n")
    with pytest.raises(QuantLakeError, match="do not name just one block of its number"):
        read(path)


def test_blocks_in_csv_and_json_are_equal(tmp_path: Path) -> None:
    paid = {"index": 1, "validator_index": 2, "address": ADDRESS, "amount": 3}
    record = {"number": 7, "hash": hash_of(7), "parent_hash": hash_of(6), "timestamp": 1_700_000_007, "difficulty": 2**200}
    lists: list[tuple[str | None, list[Object] | None]] = [(ROOT, [paid, paid]), (ROOT, []), (None, []), (None, None)]
    told = [record | {"withdrawals_root": root, "withdrawals": paid} for root, paid in lists]
    each = read(written(tmp_path / "blocks.json", lines(*told)))[blocks.raw]
    quoted = [",".join(json.dumps(w) for w in paid or []).replace('"', '""') for _, paid in lists]
    cells = [f'7,{hash_of(7)},{hash_of(6)},1700000007,{2**200},{root or ""},"{text}"' for (root, _), text in zip(lists, quoted, strict=True)]
    table = read(written(tmp_path / "blocks.csv", "\n".join([BLOCK_CSV, *cells])))[blocks.raw]
    own = ("source_name", "source_version")
    assert each.drop(own).equals(table.drop(own))
    assert each["withdrawals"].to_list() == [json.dumps([paid, paid], separators=(",", ":")), "[]", None, None]
    assert each["difficulty"].to_list() == [str(2**200)] * 4


def test_a_stream_of_all_kinds_is_one_file(tmp_path: Path) -> None:
    shared = {"block_number": 7, "block_hash": hash_of(7), "transaction_index": 0, "block_timestamp": 1_700_000_007}
    told = [
        {"type": "block", "number": 7, "hash": hash_of(7), "parent_hash": hash_of(6), "timestamp": 1_700_000_007, "item_id": "b"},
        {"type": "log", **shared, "log_index": 0, "transaction_hash": hash_of(1), "address": ADDRESS, "topics": [], "data": "0x", "item_id": "l"},
        {"type": "token_transfer", "token_address": ADDRESS, "item_id": "t"},
    ]  # fmt: skip
    found = read(written(tmp_path / "stream.jsonl", lines(*told)))
    assert {stream: rows["line_number"].to_list() for stream, rows in found.items()} == {blocks.raw: [1], chain_status.raw: [1], logs.raw: [2]}
    assert found[logs.raw]["topics"].to_list() == [[]]


@pytest.mark.parametrize("members", etl.MEMBERS.values())
def test_a_header_alone_has_no_rows(tmp_path: Path, members: frozenset[str]) -> None:
    path = written(tmp_path / "t.csv", ",".join(sorted(members | {"block_hash"})))
    assert members == etl.MEMBERS["token_transfer"] or read(path) == {}


@pytest.mark.parametrize(("text", "found"), [
    (f"{BLOCK_CSV}\n7,{hash_of(7)},{hash_of(6)},170", "line 2 has 4 columns, not 7; a cut file?"),
    (f'{BLOCK_CSV}\n7,{hash_of(7)},{hash_of(6)},170,0,{ROOT},"{{', "line 2 is not CSV (unexpected end of data)"),
    (f'{BLOCK_CSV}\n7,{hash_of(7)},{hash_of(6)},170,0,{ROOT},"{{"', "line 2: withdrawals '{' is not JSON"),
    (f"{BLOCK_CSV}\n,{hash_of(7)},{hash_of(6)},170,0,,", "line 2: number is missing; it must be a whole number"),
    (f"{BLOCK_CSV}\n{2**63},{hash_of(7)},{hash_of(6)},170,0,,", f"line 2: number '{2**63}' is beyond 64 bits"),
    (f"{BLOCK_CSV}\n7,{hash_of(7)},{hash_of(6)},170,{2**256},,", "line 2: difficulty '1157"),
    (f"{BLOCK_CSV}\n7,{hash_of(7)},{hash_of(6)},170,1e18,,", "line 2: difficulty '1e18' is not a whole number"),
    (f"{BLOCK_CSV}\n7,{hash_of(7)[:-1]},{hash_of(6)},170,0,,", "is not a hash (0x and 64 hex digits)"),
    (f"{BLOCK_CSV}\n7,{hash_of(7)},{hash_of(6)},999999999999,0,,", "line 2: timestamp '999999999999' is no time before the year 10000"),
    (f"number,hash,parent_hash,timestamp\n7,{hash_of(7)},{hash_of(6)},{'1' * 5000}\n", "line 2: timestamp '1111"),
    (f'{BLOCK_CSV}\n7,{hash_of(7)},{hash_of(6)},170,0,{ROOT},"{{""index"": {"1" * 5000}}}"\n', "line 2 withdrawal 0: index '1111"),
    (f"address,symbol,name,decimals,total_supply\n{ADDRESS},A,B,300,1\n", "line 2: decimals '300' is beyond 255"),
    ("number,hash\n1,2\n", "line 1: 'number,hash' is the header of none of ethereum-etl's block, transaction"),
])
def test_tables_that_cannot_be_are_refused_by_name(tmp_path: Path, text: str, found: str) -> None:
    path = written(tmp_path / "blocks.csv", text)
    with pytest.raises(QuantLakeError) as error:
        list(etl.read(path))
    assert found in str(error.value) and str(path) in str(error.value)
