"""Swaps and pools out of logs: a recorded block, vectors by hand, and drawn logs against plain Python."""

from collections import Counter
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings

from quantlake import evm
from quantlake.datasets.onchain import dex_pools, logs
from quantlake.datasets.onchain.dex_swaps import dex_swaps
from quantlake_tests.evm import drawn, plain
from quantlake_tests.evm.plain import (
    AT,
    FACTORY,
    PAIR_CREATED,
    POOL_CREATED,
    V2_SWAP,
    V3_SWAP,
    Log,
    a_log,
    address,
    data,
    frame,
    log_rows,
    pool_rows,
    read_logs,
    token_rows,
    topic,
    undecoded,
)
from quantlake_tests.recorded import recorded

V3 = "0x1f98431c8ad98523631ae4a59f267346ea31f984"
SELF = address(0xC0)


def swaps(*logs: Log, pools: pl.LazyFrame | None = None) -> list[dict[str, Any]]:
    return evm.swaps(log_rows(*logs), pool_rows() if pools is None else pools).collect().to_dicts()


def v2(*numbers: int, **other: Any) -> Log:
    return a_log([V2_SWAP, topic(0xA), topic(0xB)], data(*numbers), **other)


def v3(*numbers: int) -> Log:
    return a_log([V3_SWAP, topic(0xA), topic(0xB)], data(*numbers))


def claimed(factory: str, token0: int, *, protocol: str | None = None, days: int = 0, said: int = 0) -> dict[str, Any]:
    at = AT + timedelta(days=days)
    return {"pool": SELF, "factory": factory, "protocol": protocol, "token0": address(token0), "token1": address(99), "first_seen": at.date(), "known_at": at + timedelta(seconds=said)}


def test_a_recorded_blocks_swaps_are_paid_by_its_transfers() -> None:
    logs = read_logs(recorded("onchain/eth_block_17173049/logs.jsonl"))
    found, moved = swaps(*logs), evm.transfers(log_rows(*logs), token_rows()).collect().to_dicts()
    paid = {(t["transaction_hash"], t["token_address"], t["to_address"], t["value"]) for t in moved}
    received = {(t["transaction_hash"], t["token_address"], t["from_address"], t["value"]) for t in moved}
    to, of = ({(tx, who, value) for tx, _, who, value in side} for side in (paid, received))
    ins, outs = 0, 0
    for row in found:
        amounts = [row["amount0"], row["amount1"]]
        ins += any((row["transaction_hash"], row["pool"], a) in to for a in amounts if not a.startswith("-"))
        outs += any((row["transaction_hash"], row["pool"], a[1:]) in of for a in amounts if a.startswith("-"))
    assert Counter(row["protocol"] for row in found) == {"uniswap_v2_like": 27, "uniswap_v3_like": 5}
    assert (ins, outs) == (32, 28)
    assert all(row["flags"] == ["unknown_pool"] and row["token0"] is None for row in found)
    assert found == sorted(found, key=lambda row: [row[k] for k in dex_swaps.key])


@pytest.mark.parametrize(("numbers", "wanted"), [
    ((5, 0, 0, 7), ("5", "-7")), ((0, 5, 7, 0), ("-7", "5")), ((9, 8, 2, 10), ("7", "-2")), ((0, 0, 0, 0), ("0", "0")),
    ((1 << 64, 1 << 200, 1, 0), (str((1 << 64) - 1), str(1 << 200))), (((1 << 255) - 1, 0, 0, 1 << 255), (str((1 << 255) - 1), str(-(1 << 255)))),
])  # fmt: skip
def test_a_v2_swap_is_what_came_in_less_what_went_out(numbers: tuple[int, ...], wanted: tuple[str, str]) -> None:
    (row,) = swaps(v2(*numbers))
    assert list(row) == [c.name for c in dex_swaps.columns]
    assert (row["amount0"], row["amount1"]) == wanted
    assert (row["pool"], row["sender"], row["recipient"]) == (SELF, address(0xA), address(0xB))
    assert (row["protocol"], row["sqrt_price_x96"], row["liquidity"], row["tick"]) == ("uniswap_v2_like", None, None, None)


@pytest.mark.parametrize("numbers", [(1 << 255, 0, 0, 0), (0, 0, (1 << 255) + 1, 0), (0, (1 << 256) - 1, 0, 0)])
def test_an_amount_that_256_bits_with_a_sign_do_not_hold_is_no_swap(numbers: tuple[int, ...]) -> None:
    assert swaps(v2(*numbers)) == []
    assert [row["event"] for row in undecoded(v2(*numbers))] == ["v2_swap"]


def test_a_v3_swap_is_as_logged() -> None:
    (row,) = swaps(v3(-(10**30), 10**30, (1 << 160) - 1, (1 << 128) - 1, -887272))
    assert (row["amount0"], row["amount1"], row["tick"]) == (str(-(10**30)), str(10**30), -887272)
    assert (row["sqrt_price_x96"], row["liquidity"], row["protocol"]) == (str((1 << 160) - 1), str((1 << 128) - 1), "uniswap_v3_like")


@pytest.mark.parametrize("numbers", [(1, 1, 1 << 160, 1, 1), (1, 1, 1, 1 << 128, 1), (1, 1, 1, 1, 1 << 23), (1, 1, 1, 1, -(1 << 23) - 1), (1, 1, 1, 1), (1, 1, 1, 1, 1, 1)])
def test_words_that_are_not_of_the_events_types_are_no_swap(numbers: tuple[int, ...]) -> None:
    assert swaps(v3(*numbers)) == []
    assert [row["event"] for row in undecoded(v3(*numbers))] == ["v3_swap"]


def test_a_known_pool_has_tokens_and_a_name() -> None:
    (row,) = swaps(v2(5, 0, 0, 7), pools=pool_rows(claimed(FACTORY, 1, protocol="uniswap_v2")))
    assert (row["protocol"], row["token0"], row["token1"], row["flags"]) == ("uniswap_v2", address(1), address(99), [])
    (row,) = swaps(v2(5, 0, 0, 7), pools=pool_rows(claimed(address(0xF), 1)))
    assert (row["protocol"], row["token0"], row["flags"]) == ("uniswap_v2_like", address(1), [])


@pytest.mark.parametrize(("claims", "token0"), [
    ([claimed(FACTORY, 1, protocol="uniswap_v2", said=5), claimed(address(0xF), 2)], 1),  # who made it, though another claimed it before
    ([claimed(address(0xE), 1), claimed(address(0xF), 2, said=5)], 1),  # the first
    ([claimed(address(0xE), 1), claimed(address(0xF), 2, said=5), claimed(address(0xE), 3, said=9)], 3),  # what it said last
    ([claimed(address(0xE), 1), claimed(FACTORY, 2, protocol="uniswap_v2", days=1)], 1),  # not seen yet
])  # fmt: skip
def test_a_pool_that_several_claim_is_the_makers(claims: list[dict[str, Any]], token0: int) -> None:
    for pools in (claims, claims[::-1]):
        assert [row["token0"] for row in swaps(v2(5, 0, 0, 7), pools=pool_rows(*pools))] == [address(token0)]


def test_a_date_has_the_same_rows_whatever_stands_beside_it() -> None:
    days = [AT + timedelta(days=n) for n in range(3)]
    logs = [v2(5, 0, 0, n, index=n, at=day, block=d) for d, day in enumerate(days) for n in range(2)]
    pools = pool_rows(claimed(address(0xE), 1, days=1), claimed(FACTORY, 2, protocol="uniswap_v2", days=2))
    together = swaps(*logs, pools=pools)
    alone = [row for day in days for row in swaps(*(r for r in logs if r["partition_date"] == day.date()), pools=pools)]
    assert sorted(together, key=str) == sorted(alone, key=str)
    assert [(r["token0"], r["protocol"]) for r in together[::2]] == [
        (None, "uniswap_v2_like"), (address(1), "uniswap_v2_like"), (address(2), "uniswap_v2"),
    ]  # fmt: skip


def made(*rows: Log) -> list[dict[str, Any]]:
    """What the curated table has of raw logs."""
    raw = [{k: v for k, v in row.items() if k != "flags"} | {"known_at": AT + timedelta(days=1)} for row in rows]
    nothing = frame(dex_pools.pools, []).drop("protocol").with_columns(protocol=pl.lit(None, pl.String))
    held = frame(logs.logs, raw).drop("flags", "instrument_id")
    return dex_pools.curate(nothing.drop("flags", "instrument_id"), held).select(c.name for c in dex_pools.pools.columns).collect().to_dicts()


def test_a_factory_tells_of_its_pools() -> None:
    pair = a_log([PAIR_CREATED, topic(1), topic(2)], data(0x77, 12345)) | {"address": FACTORY, "source": "json_rpc", "line_number": 3}
    pool = a_log([POOL_CREATED, topic(1), topic(2), topic(500)], data(10, 0x78), index=1) | {"address": V3}
    fork = a_log([PAIR_CREATED, topic(1), topic(2)], data(0x79, 1), index=2, contract=0xF)
    found = made(pair, pool, fork)
    assert [(r["pool"], r["factory"], r["protocol"], r["fee"]) for r in found] == [
        (address(0x77), FACTORY, "uniswap_v2", None), (address(0x78), V3, "uniswap_v3", 500), (address(0x79), address(0xF), None, None),
    ]  # fmt: skip
    first = found[0]
    assert (first["token0"], first["token1"], first["first_seen"]) == (address(1), address(2), AT.date())
    assert (first["block_hash"], first["known_at"], first["partition_date"]) == (topic(1), AT + timedelta(days=1), AT.date())
    assert (first["source"], first["line_number"], first["flags"]) == ("json_rpc", 3, [])


def test_another_chains_factory_is_not_known_by_its_address() -> None:
    (row,) = made(a_log([PAIR_CREATED, topic(1), topic(2)], data(0x77, 1)) | {"address": FACTORY, "chain_id": 10})
    assert row["protocol"] is None


@pytest.mark.parametrize("log", [
    a_log([PAIR_CREATED, topic(1), topic(2)], data(0x77)), a_log([PAIR_CREATED, topic(1)], data(0x77, 1)),
    a_log([POOL_CREATED, topic(1), topic(2), topic(1 << 24)], data(10, 0x78)), a_log([POOL_CREATED, topic(1), topic(2), topic(1)], data(10, 0x78)[:-1] + "g"),
])  # fmt: skip
def test_what_does_not_tell_of_a_pool_makes_none(log: Log) -> None:
    assert made(log) == []
    assert [row["event"] for row in undecoded(log)] == ["pair_created" if log["topics"][0] == PAIR_CREATED else "pool_created"]


@settings(max_examples=50, deadline=None)
@given(drawn.columns)
def test_drawn_logs_are_decoded_as_one_by_one(logs: list[Log]) -> None:
    wanted = {n: plain.swap(log) for n, log in enumerate(logs)}
    columns = ("amount0", "amount1", "sqrt_price_x96", "liquidity", "tick", "sender", "recipient")
    got = {row["log_index"]: (row["protocol"][8:10], *(row[c] for c in columns)) for row in swaps(*logs)}
    assert got == {n: row for n, row in wanted.items() if row}
    aside = [r["log_index"] for r in undecoded(*logs) if r["event"].endswith("swap")]
    assert aside == [n for n, row in wanted.items() if row is None]


