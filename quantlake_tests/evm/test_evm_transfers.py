"""Transfers of tokens out of logs: recorded blocks, vectors by hand, and drawn logs against plain Python."""

import csv
import json
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings

from quantlake import evm
from quantlake.datasets.onchain.token_transfers import token_transfers
from quantlake.datasets.onchain.undecoded_logs import undecoded_logs
from quantlake_tests.evm import drawn, plain
from quantlake_tests.evm.plain import (
    AT,
    BATCH,
    SINGLE,
    TRANSFER,
    Log,
    a_log,
    address,
    data,
    log_rows,
    read_logs,
    token_rows,
    topic,
    undecoded,
)
from quantlake_tests.recorded import recorded

DATA = "onchain/ethereum_etl_rpc"


def transfers(*logs: Log, tokens: pl.LazyFrame | None = None) -> list[dict[str, Any]]:
    return evm.transfers(log_rows(*logs), token_rows() if tokens is None else tokens).collect().to_dicts()


def read_transfers(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        return list(csv.DictReader(path.read_text().splitlines()))
    return [json.loads(line) for line in path.read_text().splitlines()]


FIELDS = ("token_address", "from_address", "to_address", "value", "transaction_hash", "log_index", "block_number")


def fields(rows: list[dict[str, Any]]) -> Counter[tuple[str, ...]]:
    """What ethereum-etl says of a transfer: its third word is the ``value``, whatever it is."""
    return Counter(tuple(str(row["token_id"] if row.get("standard") == "erc721" and f == "value" else row[f]) for f in FIELDS) for row in rows)


def test_a_recorded_block_has_the_transfers_that_were_published() -> None:
    folder = recorded("onchain/eth_block_17173049")
    logs = read_logs(folder / "logs.jsonl")
    found = transfers(*logs)
    assert len(logs) == 271
    assert fields(found) == fields(read_transfers(folder / "token_transfers.jsonl"))
    assert Counter(row["standard"] for row in found) == {"erc20": 106, "erc721": 8}
    assert all(row["value"] == "1" for row in found if row["standard"] == "erc721")
    assert undecoded(*logs) == []
    assert found == sorted(found, key=lambda row: [row[k] for k in token_transfers.key])


@pytest.mark.parametrize(("logs", "wanted"), [
    ("test_export_token_transfers_job/block_with_transfers/web3_response.eth_getFilterLogs_0x0.json", "expected_token_transfers.csv"),
    ("test_extract_token_transfers_job/logs/logs.csv", "expected_token_transfers.csv"),
    ("test_stream/blocks_1755634_1755635/expected_logs.json", "expected_token_transfers.json"),
])  # fmt: skip
def test_recorded_logs_have_the_transfers_that_were_published(logs: str, wanted: str) -> None:
    path = recorded(f"{DATA}/{logs}")
    published = read_transfers(path.parent / wanted)
    assert published
    assert fields(transfers(*read_logs(path))) == fields(published)


# by hand


def test_an_erc20_is_in_units_of_its_token() -> None:
    log = a_log([TRANSFER, topic(0xA), topic(0xB)], data(1_500_000), contract=7)
    (row,) = transfers(log, tokens=token_rows((7, 6, None)))
    assert list(row) == [c.name for c in token_transfers.columns]
    assert (row["token_address"], row["from_address"], row["to_address"], row["operator"]) == (address(7), address(0xA), address(0xB), None)
    assert (row["standard"], row["value"], row["token_id"], row["item_index"]) == ("erc20", "1500000", None, 0)
    assert (row["value_normalized"], row["flags"], row["known_at"], row["event_time"]) == (Decimal("1.5"), [], AT, AT)


@pytest.mark.parametrize(("value", "decimals", "wanted"), [(10**38 - 1, 18, Decimal("99999999999999999999.999999999999999999")), (10**38, 18, None), (1, 19, None), ((1 << 256) - 1, 6, None)])
def test_a_value_that_does_not_fit_exactly_is_not_normalised(value: int, decimals: int, wanted: Decimal | None) -> None:
    (row,) = transfers(a_log([TRANSFER, topic(1), topic(2)], data(value), contract=7), tokens=token_rows((7, decimals, None)))
    assert (row["value"], row["value_normalized"], row["flags"]) == (str(value), wanted, [])


def test_decimals_that_are_not_known_are_not_assumed() -> None:
    logs = [a_log([TRANSFER, topic(1), topic(2)], data(5), contract=c, index=c) for c in (7, 8)]
    found = transfers(*logs, tokens=token_rows((7, None, None)))
    assert [(r["value_normalized"], r["flags"]) for r in found] == [(None, ["unknown_decimals"])] * 2


def test_an_erc721_is_one_of_its_token() -> None:
    log = a_log([TRANSFER, topic(1), topic(2), topic((1 << 256) - 1)], contract=7)
    (row,) = transfers(log, tokens=token_rows((7, 18, None)))
    assert (row["standard"], row["token_id"], row["value"]) == ("erc721", str((1 << 256) - 1), "1")
    assert (row["value_normalized"], row["flags"]) == (None, [])


def test_a_single_erc1155() -> None:
    (row,) = transfers(a_log([SINGLE, topic(1), topic(2), topic(3)], data(42, 7)))
    assert (row["operator"], row["from_address"], row["to_address"]) == (address(1), address(2), address(3))
    assert (row["standard"], row["token_id"], row["value"], row["item_index"], row["value_normalized"], row["flags"]) == ("erc1155", "42", "7", 0, None, [])


# ids [1, 2^256-1], values [10, 0]: offsets, then each array's length before it
BATCH_OF_TWO = (0x40, 0xA0, 2, 1, (1 << 256) - 1, 2, 10, 0)


def test_a_batch_has_a_row_an_item() -> None:
    found = transfers(a_log([BATCH, topic(1), topic(2), topic(3)], data(*BATCH_OF_TWO)))
    assert [(r["item_index"], r["token_id"], r["value"], r["operator"]) for r in found] == [(0, "1", "10", address(1)), (1, str((1 << 256) - 1), "0", address(1))]


@pytest.mark.parametrize(("numbers", "items"), [
    ((0x40, 0x60, 0, 0), []), ((0x40, 0x40, 0), []),  # empty; both offsets name one array
    ((0x40, 0x40, 1, 9), [("9", "9")]), ((0x80, 0x40, 1, 10, 1, 9), [("9", "10")]),  # values first
    ((0x60, 0xA0, 77, 1, 5, 1, 6), [("5", "6")]),  # a word that belongs to none
])  # fmt: skip
def test_arrays_lie_where_their_offsets_say(numbers: tuple[int, ...], items: list[tuple[str, str]]) -> None:
    log = a_log([BATCH, topic(1), topic(2), topic(3)], data(*numbers))
    assert [(r["token_id"], r["value"]) for r in transfers(log)] == items
    assert undecoded(log) == []


@pytest.mark.parametrize("numbers", [
    (), (0x40,), (0x40, 0x60), (0x40, 0x80, 1, 5), (0x40, 0x80, 1, 5, 2, 6, 7), (0x40, 0x80, 2, 5, 1, 6), (0x40, 0x80, 1, 5, 1 << 255, 6),
    (1 << 255, 0x80, 1, 5, 1, 6), (0x40, 0xC0, 1, 5, 1, 6), (0x40, 0x80, 1, 5, 1), ((1 << 256) - 32, 0x80, 1, 5, 1, 6), (0x40, 0x80, 1 << 59, 5, 1, 6),
])  # fmt: skip
def test_arrays_that_leave_the_data_or_differ_in_length_are_kept_aside(numbers: tuple[int, ...]) -> None:
    log = a_log([BATCH, topic(1), topic(2), topic(3)], data(*numbers))
    assert transfers(log) == []
    (row,) = undecoded(log)
    assert list(row) == [c.name for c in undecoded_logs.columns]
    assert (row["event"], row["topic_count"], row["data_bytes"]) == ("transfer_batch", 4, 32 * len(numbers))


@pytest.mark.parametrize(("topics", "words"), [(1, 3), (2, 2), (3, 0), (3, 2), (4, 1), (1, 0), (2, 1)])
def test_a_transfer_laid_out_otherwise_says_not_what_it_transfers(topics: int, words: int) -> None:
    log = a_log([TRANSFER, *[topic(1)] * (topics - 1)], data(*[1] * words))
    assert transfers(log) == []
    assert [(r["event"], r["topic_count"], r["data_bytes"]) for r in undecoded(log)] == [("transfer", topics, 32 * words)]


def test_deposits_of_weth_are_no_transfers() -> None:
    deposit, withdrawal = (f"0x{n}" for n in ("e1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c", "7fcf532c15f0a6db0bd6d0e038bea71d30d808c7d98cb3bf7268a95bf5081b65"))
    logs = a_log([deposit, topic(1)], data(5)), a_log([withdrawal, topic(1)], data(5), index=1)
    assert (transfers(*logs), undecoded(*logs)) == ([], [])


def test_a_date_has_the_same_rows_whatever_stands_beside_it() -> None:
    days = [AT + timedelta(days=n) for n in range(3)]
    logs = [a_log([TRANSFER, topic(1), topic(2)], data(5), contract=7 + n % 2, index=n, at=day, block=d) for d, day in enumerate(days) for n in range(4)]
    tokens = token_rows((7, 1, date(2023, 5, 3)), (8, 0, None))
    together = transfers(*logs, tokens=tokens)
    alone = [row for day in days for row in transfers(*(r for r in logs if r["partition_date"] == day.date()), tokens=tokens)]
    assert sorted(together, key=str) == sorted(alone, key=str)
    assert [r["flags"] for r in together if r["token_address"] == address(7)] == [["unknown_decimals"]] * 2 + [[]] * 4


# against plain Python


@settings(max_examples=50, deadline=None)
@given(drawn.columns)
def test_drawn_logs_are_decoded_as_one_by_one(logs: list[Log]) -> None:
    decimals = {n: n for n in range(0, 30, 2)}
    logs = [{**log, "address": address(n)} for n, log in enumerate(logs)]
    found = transfers(*logs, tokens=token_rows(*((n, d, None) for n, d in decimals.items())))
    wanted = {n: plain.transfers(log) for n, log in enumerate(logs)}
    got: dict[int, list[tuple[Any, ...]]] = {n: [] for n in wanted}
    for row in found:
        n = row["log_index"]
        assert row["item_index"] == len(got[n])
        assert row["value_normalized"] == (plain.exactly(row["value"], decimals.get(n)) if row["standard"] == "erc20" else None)
        got[n].append(tuple(row[c] for c in ("standard", "operator", "from_address", "to_address", "token_id", "value")))
    assert got == {n: rows or [] for n, rows in wanted.items()}
    aside = [r["log_index"] for r in undecoded(*logs) if r["event"].startswith("transfer")]
    assert aside == [n for n, rows in wanted.items() if rows is None]
