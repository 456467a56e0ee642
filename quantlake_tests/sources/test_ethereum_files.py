"""On-chain files: forms, what lies beside, undated rows, removed logs, traces, tokens, and what is refused by name."""

import gzip
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quantlake.contract import QuantLakeError
from quantlake.contract.versions import known_then, latest, versioned
from quantlake.datasets.onchain import blocks, chain_status, common, contracts, logs, receipts, tokens, traces, transactions
from quantlake.sources import replay
from quantlake.sources.ethereum import json_rpc, parity
from quantlake_tests.sources.ethereum_objects import (
    ADDRESS,
    OTHER,
    ROOT,
    Object,
    block,
    hash_of,
    lines,
    log,
    read,
    receipt,
    response,
    reward,
    trace,
    transaction,
    written,
)

TOKEN = "0x" + "c3" * 20
SYMBOL, NAME, DECIMALS, SUPPLY = "0x95d89b41", "0x06fdde03", "0x313ce567", "0x18160ddd"
TIME = datetime.fromtimestamp(1_700_000_007, UTC)


def dated(rows: pl.DataFrame) -> list[tuple[Any, ...]]:
    return rows.select("block_timestamp", "event_time", "event_time_source", "known_at_source", "partition_date").rows()


# Responses


def test_a_response_a_batch_and_a_response_a_line_give_the_same_rows(tmp_path: Path) -> None:
    one, other = response(block(7, transaction())), response(block(8), 2)
    batch, each = read(written(tmp_path / "batch.json", [one, other])), read(written(tmp_path / "lines.jsonl", lines(one, other)))
    (tmp_path / "packed.json.gz").write_bytes(gzip.compress(json.dumps([one, other]).encode()))
    packed = read(tmp_path / "packed.json.gz")
    for found in (each, packed):
        for stream, rows in batch.items():
            own = ("source_name", "source_version")
            assert found[stream].drop(own).equals(rows.drop(own))
    assert {stream.path: rows.height for stream, rows in batch.items()} == {
        "raw/onchain/blocks": 2, "raw/onchain/transactions": 1, "raw/onchain/chain_status": 2,
    }  # fmt: skip
    assert batch[blocks.raw].select("line_number", "item_index", "source_name").rows() == [(1, 0, "json_rpc/batch.json"), (2, 0, "json_rpc/batch.json")]


@pytest.mark.parametrize("document", [
    response(None), response("0x10"), response(True), response([]), response([ROOT]),
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "header not found"}},
    [{"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": "limit exceeded"}}, response(None, 2)],
])
def test_what_has_no_rows_is_known_all_the_same(tmp_path: Path, document: Any) -> None:
    assert read(written(tmp_path / "answer.json", document)) == {}


def test_responses_of_other_interfaces_are_none_of_a_chain_s(tmp_path: Path) -> None:
    for document in (
        {"jsonrpc": "2.0", "id": 1, "result": {"instrument_name": "BTC-PERPETUAL", "mark_price": 1.5}}, {"error": [], "result": {"XXBTZUSD": {}}},
        {"type": "transaction", "amount": 1}, [{"hash": "x"}],
    ):
        assert replay.recognise(written(tmp_path / "answer.json", document)) is None


def test_whole_transactions_and_hashes_alone_are_counted(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a.json", [response(block(7, transaction(), transaction(place=1))), response(block(8, hash_of(5), hash_of(6)))]))
    assert found[blocks.raw]["transaction_count"].to_list() == [2, 2]
    assert found[transactions.raw].select("transaction_index", "line_number", "item_index").rows() == [(0, 1, 0), (1, 1, 1)]


@pytest.mark.parametrize("method", ["eth_getBlockByNumber", "eth_getTransactionReceipt", "eth_getLogs", "trace_block"])
def test_a_result_is_what_the_file_s_name_says_was_asked(tmp_path: Path, method: str) -> None:
    with pytest.raises(QuantLakeError, match=rf"{method}\.json item 1 is '0x1', not an object"):
        read(written(tmp_path / f"{method}.json", response("0x1")))
    assert read(written(tmp_path / f"{method}.json", response(None))) == {}
    assert replay.recognise(written(tmp_path / "eth_prices.json", '{"close": 1}')) is None


def test_a_block_has_its_time_and_is_the_chain_s_from_then_on(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a.json", response(block(7, transaction()))))
    for stream in (blocks.raw, transactions.raw, chain_status.raw):
        assert dated(found[stream]) == [(TIME, TIME, "block", "block", date(2023, 11, 14))]
        assert found[stream]["known_at"].to_list() == [TIME]
    assert found[chain_status.raw].select("block_number", "block_hash", "observed_at").row(0) == (7, hash_of(7), TIME)


def test_withdrawals_are_json_and_none_before_there_were_any(tmp_path: Path) -> None:
    paid = {"index": "0xa", "validatorIndex": "0xb", "address": ADDRESS.upper().replace("0X", "0x"), "amount": "0xffffffff"}
    found = read(written(tmp_path / "a.json", [response(block(n, withdrawals=w)) for n, w in ((1, [paid]), (2, []), (3, None))]))
    assert found[blocks.raw]["withdrawals"].to_list() == [
        f'[{{"index":10,"validator_index":11,"address":"{ADDRESS}","amount":4294967295}}]', "[]", None,
    ]  # fmt: skip


def test_receipts_and_logs_take_the_time_of_a_block_beside_them(tmp_path: Path) -> None:
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    for folder in (alone, beside):
        folder.mkdir()
        written(folder / "receipts.json", response([receipt(7, 0, log(7, 0), log(7, 1))]))
    written(beside / "later.json", [response(block(8)), response(block(7))])
    for stream, height in ((receipts.raw, 1), (logs.raw, 2)):
        assert dated(read(beside / "receipts.json")[stream]) == [(TIME, TIME, "block", "block", date(2023, 11, 14))] * height
        rows = read(alone / "receipts.json")[stream]
        assert dated(rows) == [(None, common.UNDATED, "none", "receive", date(1970, 1, 1))] * height
        assert abs(rows["known_at"][0] - datetime.now(UTC)) < timedelta(minutes=1)
    written(alone / "blocks.csv", f"number,hash,parent_hash,timestamp\n7,{hash_of(7)},{hash_of(6)},1700000007\n")
    assert read(alone / "receipts.json")[logs.raw]["block_timestamp"].to_list() == [TIME, TIME]


def curated(*paths: Path) -> pl.DataFrame:
    """The versions of logs of files that are replayed one after the other, a minute apart."""
    parts = [read(path)[logs.raw] for path in paths]
    arrived = [rows.with_columns(_timestamp=datetime.now(UTC) + timedelta(minutes=n)) for n, rows in enumerate(parts)]
    nothing = [pl.LazyFrame(pl.DataFrame(table.spec.arrow.empty_table())) for table in (blocks.blocks, receipts.receipts)]
    assert logs.logs.function is not None
    return versioned(logs.logs.function(pl.concat(arrived).lazy(), *nothing), logs.logs)


def shown(versions: pl.DataFrame, then: datetime | None = None) -> list[int]:
    there = latest(versions.lazy(), logs.logs) if then is None else versions.lazy().filter(known_then(then, logs.logs))
    return there.collect()["log_index"].sort().to_list()


@pytest.mark.parametrize("header", [True, False])
def test_a_removed_log_alone_is_shown_no_more_until_it_is_sent_again(tmp_path: Path, header: bool) -> None:
    if header:
        written(tmp_path / "block.json", response(block(7)))
    told = written(tmp_path / "a.json", response([log(7, 0), log(7, 1)]))
    gone = written(tmp_path / "b.json", response([log(7, 0, removed=True)]))
    again = written(tmp_path / "c.json", response([log(7, 0)]))
    before = datetime.now(UTC)
    found = curated(told, gone)
    assert shown(found) == [1] and found.filter("removed")["known_at_source"].to_list() == ["receive"]
    if header:
        assert shown(found, TIME) == shown(found, before) == [0, 1]
        assert shown(found, TIME - timedelta(seconds=1)) == []
    returned = curated(told, gone, again)
    assert shown(returned) == [0, 1]
    assert shown(returned, datetime.now(UTC)) == [1] and shown(returned, datetime.now(UTC) + timedelta(minutes=3)) == [0, 1]
    assert returned.filter(pl.col("log_index") == 0)["removed"].to_list() == [None, True, None]


def test_a_removed_log_says_nothing_of_other_blocks_of_its_height(tmp_path: Path) -> None:
    gone = response([log(7, 0, removed=True), log(7, 1, removed=True)])
    assert read(written(tmp_path / "logs.json", gone)).keys() == {logs.raw}
    beside = read(written(tmp_path / "b.json", [response(block(7, hash=hash_of(99))), gone]))[chain_status.raw]
    assert beside["block_hash"].to_list() == [hash_of(99)]


def test_a_log_is_one_whether_a_node_says_that_it_is_not_removed(tmp_path: Path) -> None:
    silent = log(7, 0)
    del silent["removed"]
    each = [written(tmp_path / f"{n}.json", response([told])) for n, told in enumerate((log(7, 0), silent, log(7, 0, removed=None)))]
    assert curated(*each).height == 1
    with pytest.raises(QuantLakeError, match=r"item 1 result 0: removed '5' is not true or false"):
        read(written(tmp_path / "a.json", response([log(removed=5)])))


def test_what_was_removed_last_does_not_last() -> None:
    row = {"partition_date": date(2023, 11, 14), "chain_id": 1, "block_hash": hash_of(7)}
    told = [(0, None), (1, None), (0, True), (2, True), (2, None)]
    rows = pl.LazyFrame([{**row, "log_index": index, "removed": removed} for index, removed in told], schema_overrides={"removed": pl.Boolean})
    assert logs.lasting(rows).collect().select("log_index", "removed").rows() == [(1, None), (2, None)]


def test_the_chain_is_what_the_folder_says(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", response(block()))
    assert read(path)[blocks.raw].select("chain_id", "venue").row(0) == (1, "ethereum")
    written(tmp_path / "web3_response.eth_chainId_.json", response("0x89"))
    assert read(path)[blocks.raw].select("chain_id", "venue").row(0) == (137, "polygon")
    assert read(tmp_path / "web3_response.eth_chainId_.json") == {}
    second = written(tmp_path / "eth_chainId.json", response("0x1"))
    with pytest.raises(QuantLakeError, match=r"name chains \[1, 137\]; keep each chain's files in a folder"):
        read(path)
    written(second, response("one"))
    with pytest.raises(QuantLakeError, match=r"eth_chainId\.json: its result is \['one'\], not a chain's id"):
        read(path)


def test_the_same_bytes_of_two_chains_are_two_records(tmp_path: Path) -> None:
    names = ("a.json", f"eth_call_data_{SYMBOL}_to_{TOKEN}_latest.json", "blocks.csv", "trace.json")
    documents = (response(block()), response("0x"), f"number,hash,parent_hash,timestamp\n7,{hash_of(7)},{hash_of(6)},1700000007\n", [trace()])
    for folder, chain in (("main", None), ("other", "0x89")):
        (tmp_path / folder).mkdir()
        for name, document in zip(names, documents, strict=True):
            written(tmp_path / folder / name, document)
        if chain:
            written(tmp_path / folder / "eth_chainId.json", response(chain))
    found = {folder: [rows for name in names for rows in read(tmp_path / folder / name).values()] for folder in ("main", "other")}
    of = {folder: [(r["source_name"], r["source_version"]) for rows in those for r in rows.to_dicts()] for folder, those in found.items()}
    assert [(name.replace("/chain-137/", "/"), version) for name, version in of["other"]] == of["main"]
    assert {name.rpartition("/")[0] for name, _ in of["other"]} == {"json_rpc/chain-137", "ethereum_etl/chain-137", "parity_trace/chain-137"}
    written(tmp_path / "main" / "eth_chainId.json", response("0x89"))
    assert read(tmp_path / "main" / "a.json")[blocks.raw]["source_name"].to_list() == ["json_rpc/chain-137/a.json"]


@pytest.mark.parametrize(("name", "document"), [
    ("a.json", response(block(timestamp="0xffffffff"))),
    ("blocks.csv", f"number,hash,parent_hash,timestamp\n7,{ROOT},{ROOT},4294967295\n"),
    ("7.json", {"block_number": 7, "block_timestamp": 2**32 - 1, "traces": [trace()], "receipts": []}),
])
def test_a_block_that_is_to_come_is_refused_by_name_and_dates_nothing(tmp_path: Path, name: str, document: Any) -> None:
    path = written(tmp_path / name, document)
    with pytest.raises(QuantLakeError, match=rf"{name} .*timestamp '4294967295' is of 2106-02-07, which is to come"):
        read(path)
    beside = written(tmp_path / "logs.json", response([log(7, blockHash=ROOT), log(7)]))
    assert read(beside)[logs.raw]["block_timestamp"].to_list() == [None, None]
    soon = response(block(timestamp=hex(int(datetime.now(UTC).timestamp()) + 3600)))
    assert read(written(tmp_path / "soon.json", soon))[blocks.raw].height == 1


def test_a_damaged_file_beside_keeps_no_other_back(tmp_path: Path) -> None:
    path = written(tmp_path / "logs.json", response([log(7), log(8)]))
    head = "number,hash,parent_hash,timestamp"
    written(tmp_path / "long.csv", f"{head}\n7,{hash_of(7)},{hash_of(6)},{'1' * 5000}\n8,{hash_of(8)},{hash_of(7)},1700000008\n")
    written(tmp_path / "cut.csv", f"{head}\n7,{hash_of(7)},{hash_of(6)}")
    assert read(path)[logs.raw]["block_timestamp"].to_list() == [None, TIME + timedelta(seconds=1)]


# Contracts' answers


def call(folder: Path, selector: str, answer: Any) -> Path:
    whole = answer if isinstance(answer, dict) else response(answer)
    return written(folder / f"web3_response.eth_call_data_{selector}_to_{TOKEN}_latest.json", whole)


def test_the_answers_of_a_token_are_one_row(tmp_path: Path) -> None:
    text = "0x" + f"{32:064x}{4:064x}" + b"A\xff\0B".hex().ljust(64, "0")
    paths = [
        call(tmp_path, SYMBOL, text), call(tmp_path, DECIMALS, "0x"), call(tmp_path, SUPPLY, "0x" + "f" * 64),
        call(tmp_path, NAME, {"jsonrpc": "2.0", "id": 1, "error": {"code": 3, "message": "execution reverted"}}),
    ]  # fmt: skip
    found = [rows for path in sorted(paths) for rows in read(path).values()]
    assert [rows.select("address", "symbol", "name", "decimals", "total_supply", "bad_text", "block_number").rows() for rows in found] == [
        [(TOKEN, "A�B", None, None, str(2**256 - 1), True, None)],
    ]  # fmt: skip
    assert [path for path in sorted(paths) if tokens.raw in read(path)] == [call(tmp_path, NAME, response(None))]
    assert read(written(tmp_path / f"eth_call_data_0x70a08231_to_{TOKEN}_latest.json", response("0x01"))) == {}


def test_code_of_a_contract(tmp_path: Path) -> None:
    path = written(tmp_path / f"web3_response.eth_getCode_{TOKEN}_0x10.json", response("0x63a9059cbb63FFFFFFFF5b6370a08231"))
    row = read(path)[contracts.raw].row(0, named=True)
    assert (row["address"], row["block_number"], row["function_sighashes"]) == (TOKEN, 16, ["0xa9059cbb", "0xffffffff"])
    assert read(written(path, response("0x")))[contracts.raw]["bytecode"].to_list() == ["0x"]


@pytest.mark.parametrize("answer", ["0xabc", "text", 5, {}])
def test_an_answer_that_is_no_data_is_refused(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(QuantLakeError, match=r"_latest\.json(: its result| is not one response with a result or an error)"):
        read(call(tmp_path, SYMBOL, answer))


# Traces


def test_traces_of_every_type_in_either_spelling(tmp_path: Path) -> None:
    failed = {"result": None, "error": "Reverted"}
    told = [
        trace(subtraces=2),
        trace(0, subtraces=1, **failed),
        trace(0, 0, type="suicide", action={"address": ADDRESS, "refundAddress": OTHER, "balance": "0x5"}, result=None),
        trace(1, type="create", action={"from": ADDRESS, "gas": "0x1", "init": "0x60", "value": "0x0"},
              result={"address": OTHER.upper().replace("0X", "0x"), "code": "0x61", "gasUsed": "0x2"}),
        reward("0x1bc16d674ec80000"), reward("0x5", "uncle"),
    ]  # fmt: skip
    found = read(written(tmp_path / "trace_block.json", response(told)))[traces.raw]
    assert found.select("trace_type", "trace_address", "status", "reward_index", "from_address", "to_address", "value").rows() == [
        ("call", "", 1, None, ADDRESS, OTHER, "1"), ("call", "0", 0, None, ADDRESS, OTHER, "1"), ("suicide", "0,0", 0, None, ADDRESS, OTHER, "5"),
        ("create", "1", 1, None, ADDRESS, OTHER, "0"), ("reward", "", 1, 0, None, ADDRESS, "2000000000000000000"), ("reward", "", 1, 1, None, ADDRESS, "5"),
    ]  # fmt: skip
    assert found.select("input", "output", "gas", "gas_used", "error").rows()[1:4] == [
        ("0x", None, 21000, None, "Reverted"), (None, None, None, None, None), ("0x60", "0x61", 1, 2, None),
    ]  # fmt: skip
    bare = read(written(tmp_path / "bare.json", told))[traces.raw]
    snake = {"blockHash": "block_hash", "blockNumber": "block_number", "traceAddress": "trace_address", "transactionHash": "transaction_hash",
             "transactionPosition": "transaction_position"}  # fmt: skip
    kept = {"block_number": 7, "traces": [{snake.get(k, k): v for k, v in t.items()} for t in told], "receipts": []}
    inspected = read(written(tmp_path / "7.json", kept))[traces.raw]
    facts = [c.name for c in traces.COLUMNS]
    assert found.select(facts).equals(bare.select(facts))
    assert found.select(facts).equals(inspected.select(facts))


def inspected(*told: Object, receipts: list[Object] | None = None) -> Object:
    return {"block_number": 7, "traces": list(told), "receipts": receipts or []}


OUTCOME = {"block_number": 7, "transaction_hash": hash_of(1000), "transaction_index": 0, "gas_used": 5, "cumulative_gas_used": 5}


@pytest.mark.parametrize(("kept", "found"), [
    (inspected(receipts=[OUTCOME]), "item 1 receipt 0: without a trace beside it, nothing says which block it is of"),
    (inspected(trace(), trace(1, blockHash=hash_of(8))), "its traces are of more than one block"),
    (inspected(trace(number=8)), "item 1 trace 0: blockNumber '8' is not that of what it is in, '7'"),
    (inspected(trace(), receipts=[OUTCOME | {"gas_used": None}]), "item 1 receipt 0: gas_used is missing"),
    (inspected(trace(type="move")), "type 'move' is none of call, create, suicide, reward"),
    (inspected(trace(result=None)), "trace 0: it has neither a result nor an error"),
    (inspected(trace(action={"from": ADDRESS})), "trace 0: action.to is missing"),
    (inspected(trace(action=None)), "trace 0: its action must be an object"),
    (inspected(trace(transactionHash=None)), "trace 0: a call without a transaction"),
    (inspected(trace(traceAddress=None)), "trace 0: traceAddress is missing"),
    (inspected(trace(traceAddress=[-1])), "trace 0: traceAddress '-1' is not a list"),
    ({"block_number": 7, "traces": None, "traceAddress": 1}, "traces is 'None', not a list"),
])
def test_traces_that_cannot_be_are_refused_by_name(tmp_path: Path, kept: Object, found: str) -> None:
    with pytest.raises(QuantLakeError) as error:
        list(parity.read(written(tmp_path / "7.json", kept)))
    assert found in str(error.value) and str(tmp_path / "7.json") in str(error.value)


# What is refused


@pytest.mark.parametrize(("text", "found"), [
    ("<html>gateway timeout</html>", "is not JSON (Expecting value); it begins '<html>gateway"),
    (json.dumps(response(block()))[:-30], "line 1 is not JSON"),
    (lines(response(block())) + "{", "line 2 is not JSON"),
    ('{"result": {"number": ' + "9" * 5000 + ', "parentHash": 1}}', "item 1: number '9999"),
    ('{"result": NaN}', "NaN is no number of JSON"),
    ("[" * 100_000, "is nested too deeply"),
    ('{"id": 1}', "item 1 is \"{'id': 1}\", not a response with a result or an error"),
    ("[5]", "item 1 is '5', not a response"),
    ('{"result": {"number": "\\ud83d", "parentHash": 1}}', "item 1: number has half of a character"),
])
def test_documents_that_are_no_responses_are_refused_by_name(tmp_path: Path, text: str, found: str) -> None:
    path = written(tmp_path / "eth_getBlockByNumber.json", text)
    with pytest.raises(QuantLakeError) as error:
        list(json_rpc.read(path))
    assert found in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(("result", "found"), [
    (block(number="0x"), "item 1: number '0x' is not a hex quantity"),
    (block(number=7), "item 1: number '7' is not a hex quantity"),
    (block(hash=hash_of(7)[2:]), "item 1: hash '0000"),
    (block(7, transaction(8)), f"item 1 transaction 0: blockHash '{hash_of(8)[:60]}' is not that of what it is in"),
    (block(7, "0x12"), "item 1 transaction 0: hash '0x12' is not a hash"),
    (block(7, 5), "item 1 transaction 0 is '5', not an object"),
    (block(transactions={}), "item 1: transactions is '{}', not a list"),
    (block(withdrawals=[{}]), "item 1 withdrawal 0: index is missing"),
    (block(7, transaction(value=5)), "item 1 transaction 0: value '5' is not a hex quantity"),
    (block(7, transaction(value="0x1" + "0" * 64)), "item 1 transaction 0: value '0x1000"),
    (block(7, transaction(gas=1.5)), "item 1 transaction 0: gas '1.5' is not a hex quantity"),
    (block(7, transaction(to=["0x"])), "item 1 transaction 0: to is \"['0x']\", which is neither text nor a whole number"),
    ([receipt(7, 0, log(8))], "item 1 result 0 log 0: blockHash"),
    ([receipt(logs=None)], "item 1 result 0: logs is 'None', not a list"),
    ([log(topics=[ROOT] * 5)], "is not a list of up to 4, each a word"),
    ([log(topics="0x")], "item 1 result 0: topics is '0x', not a list"),
    ([log(data="0x123")], "item 1 result 0: data '0x123' is not data (0x and pairs of hex digits)"),
    ([log(topics=["\ud83d"])], "item 1 result 0: topics has half of a character"),
    ([log(topics=[1.5])], "item 1 result 0: topics '1.5' is not a list of up to 4, each a word"),
    ([log(), "0x"], "item 1 result 1 is '0x', not an object"),
    ({"colour": 1, "blockHash": "x"}, "item 1 has the members 'colour, blockHash', which are none of a block, trace"),
])
def test_objects_that_cannot_be_are_refused_by_name(tmp_path: Path, result: Any, found: str) -> None:
    path = written(tmp_path / "a.json", response(result))
    with pytest.raises(QuantLakeError) as error:
        list(json_rpc.read(path))
    assert found in str(error.value) and str(path) in str(error.value)
