"""Sums of transfers a date: exact, and of the blocks that are the chain's."""

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from quantlake import evm
from quantlake.datasets.onchain import token_transfers_1d
from quantlake.datasets.onchain.canonical_blocks import canonical_blocks
from quantlake_tests.evm.plain import AT, TRANSFER, Log, a_log, address, data, frame, log_rows, token_rows, topic

LATER = AT + timedelta(minutes=5)


def moved(value: int, *, block: int = 1, index: int = 0, contract: int = 7, hashed: int | None = None, at: datetime = AT) -> Log:
    log = a_log([TRANSFER, topic(1), topic(2)], data(value), block=block, index=index, contract=contract, at=at)
    return log if hashed is None else log | {"block_hash": topic(hashed)}


def standing(block: int, hashed: int | None, known_at: datetime = AT) -> dict[str, Any]:
    return {"chain_id": 1, "block_number": block, "block_hash": hashed and topic(hashed), "known_at": known_at, "block_date": AT.date()}


def daily(logs: list[Log], *blocks: dict[str, Any]) -> list[dict[str, Any]]:
    transfers = evm.transfers(log_rows(*logs), token_rows())
    return token_transfers_1d.build(transfers, frame(canonical_blocks, blocks)).collect().to_dicts()


def test_sums_are_exact_and_of_one_token_and_date() -> None:
    most = (1 << 256) - 1
    logs = [moved(most, index=0), moved(most, index=1), moved(3, index=2, contract=8), moved(4, block=2, at=AT + timedelta(days=1))]
    nft = a_log([TRANSFER, topic(1), topic(2), topic(3)], contract=8, index=5)
    found = daily([*logs, nft], standing(1, 1))
    assert [(r["partition_date"], r["token_address"], r["transfers"], r["value"]) for r in found] == [
        (AT.date(), address(7), 2, str(2 * most)), (AT.date(), address(8), 1, "3"), (date(2023, 5, 3), address(7), 1, "4"),
    ]  # fmt: skip
    assert list(found[0]) == [c.name for c in token_transfers_1d.daily.columns]


def test_blocks_that_are_no_longer_the_chains_do_not_count() -> None:
    logs = [moved(5, block=1), moved(7, block=2), moved(11, block=2, hashed=22), moved(13, block=3, contract=8), moved(17, block=4)]
    before = daily(logs, standing(1, 1), standing(2, 2), standing(3, 3), standing(4, 4))
    after = daily(logs, standing(1, 1), standing(2, 22, LATER), standing(3, None, LATER), standing(4, 4))
    assert [(r["token_address"], r["transfers"], r["value"], r["known_at"]) for r in before] == [
        (address(7), 3, "29", AT), (address(8), 1, "13", AT),
    ]  # fmt: skip
    assert [(r["token_address"], r["transfers"], r["value"], r["known_at"]) for r in after] == [(address(7), 3, "33", LATER)]


def test_what_a_rebuild_of_the_final_chain_has_is_equal() -> None:
    logs = [moved(n, block=n, hashed=h, index=n % 3) for n in range(1, 6) for h in (n, n + 100)]
    final = [standing(n, n + 100 if n > 2 else n, LATER) for n in range(1, 6)]
    chain = [log for log in logs if log["block_hash"] in {b["block_hash"] for b in final}]
    assert daily(logs, *final) == daily(chain, *final)


def test_no_transfers_are_no_rows() -> None:
    assert daily([], standing(1, 1)) == []
    assert token_transfers_1d.build(evm.transfers(log_rows(), token_rows()), frame(canonical_blocks, [])).collect().schema["value"] == pl.String
