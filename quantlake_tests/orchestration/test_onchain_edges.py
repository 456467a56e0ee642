"""Edges of on-chain data over real stores: days between a block and what is said of it, rows without a time, removed logs, two chains, midnight."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quantlake.datasets.onchain import blocks, chain_status, logs
from quantlake.orchestration.refresh import refresh
from quantlake.sources import replay
from quantlake.sources.importers import typed
from quantlake.sources.publish import send
from quantlake_tests.orchestration.forks import (
    EVERY,
    MIDNIGHT,
    POOL,
    SECOND,
    TRANSFER,
    Block,
    chain,
    forked,
    messages,
    status,
    topic,
)
from quantlake_tests.orchestration.test_reorganisations import GRAPH, World, opened

NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)
HOURS = timedelta(hours=1)


def hashed(number: int, fork: int) -> str:
    return f"0x{fork:08x}{number:056x}"


def header(number: int, fork: int, time: datetime) -> dict[str, Any]:
    zero = "0x" + "0" * 64
    return {
        "number": hex(number), "hash": hashed(number, fork), "parentHash": hashed(number - 1, 1), "sha3Uncles": zero, "logsBloom": "0x" + "0" * 512,
        "transactionsRoot": zero, "stateRoot": zero, "receiptsRoot": zero, "miner": POOL, "extraData": "0x", "gasLimit": "0x1", "gasUsed": "0x1",
        "timestamp": hex(int(time.timestamp())), "transactions": [hashed(number, 9)],
    }  # fmt: skip


def log(number: int, fork: int, value: int, *, removed: bool = False) -> dict[str, Any]:
    return {
        "blockHash": hashed(number, fork), "blockNumber": hex(number), "logIndex": "0x0", "transactionHash": hashed(number, 9), "transactionIndex": "0x0",
        "address": "0x" + "a" * 40, "topics": [TRANSFER, topic(POOL), topic(POOL)], "data": f"0x{value:064x}", "removed": removed,
    }  # fmt: skip


def replayed(world: World, folder: Path, **files: Any) -> None:
    """Results as files of a folder, and the folder replayed."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, results in files.items():
        (folder / f"{name}.json").write_text(json.dumps([{"jsonrpc": "2.0", "id": 1, "result": r} for r in results]))
    adapters = world.adapters
    replay.replay(replay.plan([folder]), lambda stream, rows: send(adapters.broker, adapters.registry, stream, rows), lambda _: None)


def shown(world: World, chain_id: int, since: int) -> list[Any]:
    return [row[0] for row in world.sql(f"SELECT block_hash FROM curated_onchain_blocks WHERE chain_id = {chain_id} AND block_number >= {since} ORDER BY block_number")]


def test_rows_without_and_with_their_blocks_time_count_once(home: Path) -> None:
    with opened(home / "home") as world:
        replayed(world, home / "files", logs=[[log(3, 1, 1000)]])
        world.refreshed()
        replayed(world, home / "files", blocks=[header(3, 1, NOON)])
        world.refreshed()
        assert world.sql("SELECT count(*), u256_sum(value) FROM derived_onchain_token_transfers") == [(1, "1000")]


def test_sums_of_undated_rows_follow_a_reorganisation(home: Path) -> None:
    with opened(home / "home") as world:
        replayed(world, home / "undated", logs=[[log(3, 1, 1000)]])
        world.refreshed()
        replayed(world, home / "other", blocks=[header(3, 2, NOON)])
        world.refreshed()
        assert world.sql("SELECT count(*) FROM derived_onchain_token_transfers") == [(0,)]
        assert world.sql("SELECT transfers, value FROM derived_onchain_token_transfers_1d") == []


@pytest.mark.parametrize("blocks_too", [True, False])
def test_a_return_that_is_seen_days_later_counts(home: Path, blocks_too: bool) -> None:
    first = chain(5, NOON, 30)
    second = forked(first, 2, "b", 2)
    seen = NOON + timedelta(days=3)
    with opened(home / "home") as world:
        world.see(first)
        world.refreshed()
        if blocks_too:  # a branch that is wholly new three days later
            expected = second[-2:]
            world.see(expected, seen)
        else:  # a return to blocks that are there
            world.see(second[-2:], second[-1].time + SECOND)
            world.refreshed()
            expected = first[-2:]
            world.send(chain_status.raw, status(expected, seen))
        world.refreshed()
        assert shown(world, 5, 128) == [b.hash for b in expected]
        world.see(chain(6, seen + HOURS, 40))  # another chain; the date is built again
        world.refreshed()
        assert shown(world, 5, 128) == [b.hash for b in expected]


def test_removed_logs_of_one_block_do_not_hide_another(home: Path) -> None:
    with opened(home / "home") as world:
        replayed(world, home / "a", blocks=[header(7, 2, NOON)], logs=[[log(7, 2, 222)]])
        replayed(world, home / "b", removed=[[log(7, 1, 111, removed=True)]])
        world.refreshed()
        assert world.sql("SELECT value FROM derived_onchain_token_transfers") == [("222",)]


def test_files_of_two_chains_may_have_one_content(home: Path) -> None:
    with opened(home / "home") as world:
        for number in (1, 137):
            folder = home / str(number)
            folder.mkdir()
            (folder / "web3_response.eth_chainId_x.json").write_text(json.dumps({"result": hex(number)}))
            (folder / f"web3_response.eth_call_data_0x313ce567_to_{POOL}_latest.json").write_text(json.dumps({"result": f"0x{6:064x}"}))
            replayed(world, folder)
        world.refreshed()
        assert world.sql("SELECT chain_id, decimals FROM curated_onchain_tokens ORDER BY 1") == [(1, 6), (137, 6)]


def test_what_was_known_later_is_not_known_before(home: Path) -> None:
    made = chain(9, NOON, 20)
    seen, later = NOON + HOURS, NOON + 5 * HOURS
    with opened(home / "home") as world:
        world.see(made, seen)
        more = pl.DataFrame(messages(made[:1], later)[blocks.raw]).with_columns(total_difficulty=pl.lit("777"))
        world.send(blocks.raw, typed(blocks.raw, more))
        world.refreshed()
        asked = "SELECT total_difficulty FROM curated_onchain_blocks WHERE block_number = 100"
        assert world.sql(asked) == [("777",)]
        assert world.sql(asked, seen + HOURS) == [(None,)]


def test_a_link_across_midnight_follows_the_block_below(home: Path) -> None:
    first = chain(1, MIDNIGHT - 15 * EVERY, 30)  # 114 is the last of its date, 115 the first of the next
    other = Block(1, 114, first[14].time, first[13].hash, "b")
    with opened(home / "home") as world:
        world.see(first)
        world.refreshed()
        world.see([other], first[-1].time + SECOND * 5)
        world.refreshed()
        assert world.sql("SELECT hash_below FROM derived_onchain_chain_links WHERE block_number = 115") == [(other.hash,)]
        world.send(chain_status.raw, status(first[14:15], first[-1].time + timedelta(minutes=1)))
        world.refreshed()
        assert world.sql("SELECT hash_below FROM derived_onchain_chain_links WHERE block_number = 115") == [(first[14].hash,)]


def test_a_link_that_was_broken_before_midnight_is_found_once_final(home: Path) -> None:
    made = chain(6, MIDNIGHT - 100 * EVERY, 200)
    lost = [Block(6, b.number, b.time, b.parent_hash, "lost") if b.number == 190 else b for b in made]
    with opened(home / "home") as world:
        world.see(lost)
        done = refresh(GRAPH, GRAPH.datasets, world.adapters, world.instance)
        assert world.sql("SELECT is_finalized FROM curated_onchain_blocks WHERE block_number = 191") == [(True,)]
        assert [(path, day) for path, day, _ in done.rejected] == [("derived/onchain/chain_links", date(2024, 3, 4))]


def test_what_failed_holds_up_only_what_is_built_from_it(home: Path) -> None:
    """Logs of one date and the chain's status of another are refused: transfers of the latter need its logs alone."""
    height = pl.col("block_number")
    lacks_a_log, lacks_blocks = chain(1, datetime(2024, 4, 1, 12, tzinfo=UTC), 3), chain(4, datetime(2024, 4, 4, 12, tzinfo=UTC), 40)
    gone = {logs.raw: (height == 101) & (pl.col("log_index") == 0), blocks.raw: height.is_between(110, 114)}
    with opened(home / "home") as world:
        for made, stream in ((lacks_a_log, logs.raw), (lacks_blocks, blocks.raw)):
            for each, rows in messages(made).items():
                frame = pl.DataFrame(rows)
                world.send(each, typed(each, frame.filter(~gone[each]) if each is stream else frame))
            world.send(chain_status.raw, status(made))
        refresh(GRAPH, GRAPH.datasets, world.adapters, world.instance)
        assert world.sql("SELECT count(*) FROM derived_onchain_token_transfers WHERE chain_id = 4") == [(40,)]
