"""Recorded on-chain data through the real commands: what the tables show, and that a second replay adds nothing."""

import json
from collections.abc import Iterator

import pytest

from quantlake.wiring import catalog
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import Commands, commands
from quantlake_tests.recorded import recorded

TABLES = tuple(d for d in catalog().datasets if d.family == "onchain" and d.layer != "raw")


@pytest.fixture(scope="module")
def ql() -> Iterator[Commands]:
    folder = recorded("onchain")
    with commands() as ql, announced(ql):
        ql.run("replay", str(folder))
        ql.run("refresh")
        yield ql


def test_a_block_s_transfers_are_those_recorded(ql: Commands) -> None:
    lines = (recorded("onchain") / "eth_block_17173049" / "token_transfers.jsonl").read_text().splitlines()
    expected = [json.loads(line) for line in lines]
    columns = ("token_address", "from_address", "to_address", "transaction_hash", "log_index", "block_hash")
    found = ql.sql("select * from derived_onchain_token_transfers where block_number = 17173049")
    amount = {(r["log_index"], int(r["token_id"] if r["standard"] == "erc721" else r["value"])) for r in found}
    assert {tuple(r[c] for c in columns) for r in found} == {tuple(e[c] for c in columns) for e in expected}
    assert amount == {(e["log_index"], e["value"]) for e in expected}
    assert all(r["is_canonical"] for r in found)
    total = sum(e["value"] for e in expected if e["log_index"] in {r["log_index"] for r in found if r["standard"] == "erc20"})
    summed = "select u256_sum(value) as sum, max(u256(value)) > 18446744073709551615 as beyond from derived_onchain_token_transfers"
    assert ql.sql(f"{summed} where block_number = 17173049 and standard = 'erc20'") == [{"sum": str(total), "beyond": True}]


def test_one_block_in_two_files_is_one(ql: Commands) -> None:
    rows = ql.sql("select count(*) n, count(distinct (transaction_index, trace_address, reward_index)) keys from curated_onchain_traces where block_number = 10921991")
    assert rows == [{"n": 991, "keys": 991}]


def test_a_second_replay_adds_nothing(ql: Commands) -> None:
    names = [f"{d.spec.sql_name}_{view}" for d in TABLES for view in d.views_besides]
    count = " union all ".join(f"select '{name}' as name, count(*) as n from {name}" for name in names)
    before = ql.sql(count)
    assert len(before) == len(names) > 9
    ql.run("replay", str(recorded("onchain")))
    ql.run("refresh")
    assert ql.sql(count) == before
    assert ql.run("audit").stdout.rstrip().endswith("clean")
