"""A chain followed from a loopback node: what is sent is the chain, and what it was before each reorganisation is told in order."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pyarrow as pa
import pytest

from quantlake.contract import Stream
from quantlake.sources.live.ethereum.client import DeepError
from quantlake_tests.sources.chain_runs import Run, node


def told(run: Run, since: int) -> list[tuple[int, str | None]]:
    """What chain_status says after so many rows."""
    return run.rows("chain_status")[since:].select("block_number", "block_hash").rows()


def test_the_head_is_followed_and_every_row_is_sent_once_before_its_block_is_the_chains() -> None:
    with node() as server:
        run = Run(server).through(server, lambda: server.chain.grow(1), lambda: server.chain.grow(20))
        chain = [made for made in server.chain.chain if made.number >= 109]
    assert run.chain == {made.number: made.hash for made in chain}
    assert run.rows("blocks")["hash"].to_list() == [made.hash for made in chain]
    assert run.rows("transactions")["hash"].to_list() == [t["hash"] for made in chain for t in made.block["transactions"]]
    assert run.rows("receipts")["transaction_hash"].to_list() == [r["transactionHash"] for made in chain for r in made.receipts]
    assert run.rows("logs")["log_index"].to_list() == [0, 1, 2, 3] * len(chain)
    assert run.rows("transactions")["value"][1] == str(2**255 + 1)
    first = run.rows("blocks").row(0, named=True)
    assert (first["source"], first["venue"], first["known_at_source"], first["chain_id"]) == ("ethereum", "ethereum", "receive", 1)
    assert first["known_at"] == first["receive_time"] > first["event_time"] == first["block_timestamp"]
    assert run.rows("chain_status")["known_at"].is_sorted()
    assert (run.client.stats.lost, run.client.stats.reorganisations) == (0, 0)


@pytest.mark.parametrize(("depth", "blocks"), [(1, 1), (2, 3), (3, 1), (64, 65)])
def test_a_reorganisation_tells_each_new_block_and_each_height_that_has_none(depth: int, blocks: int) -> None:
    with node(80) as server:
        run = Run(server, first=100)
        before = []

        def reorganise() -> None:
            before.append(len(run.rows("chain_status")))
            server.chain.reorganise(depth, blocks, "b")

        run.through(server, reorganise)
        fork = server.chain.first + 80 - depth
        new = [(n, own) for n, own in server.chain.hashes.items() if n >= fork]
    assert told(run, before[0]) == [*new, *((n, None) for n in range(fork + blocks, fork + depth))]
    assert (run.client.stats.reorganisations, run.client.stats.deepest) == (1, depth)
    assert run.rows("chain_status")[before[0] :]["known_at_source"].unique().to_list() == ["receive"]


def test_a_reorganisation_of_65_blocks_stops_with_what_to_do() -> None:
    with node(80) as server:
        run = Run(server, first=100)
        with pytest.raises(DeepError, match="shares no block from 115 on .* up to 179: 65 blocks or more .* greater --reorg-depth"):
            run.through(server, lambda: server.chain.reorganise(65, 66, "b"), lambda: None)
        sent = len(run.rows("chain_status"))
        wider = Run(server, first=100, depth=70, known=run.known).through(server)
    assert sent == 80 and wider.client.stats.deepest == 65


def test_a_chain_that_returns_to_its_first_branch_is_told_so() -> None:
    with node(10) as server:
        first = server.chain.copy()

        def back() -> None:
            server.chain = first.grow(2)

        run = Run(server, first=100).through(server, lambda: server.chain.reorganise(3, 4, "b"), back)
    seen = [own for n, own in told(run, 0) if n == 108]
    assert len(seen) == 3 and seen[0] == seen[2] != seen[1]
    assert run.chain == first.hashes


def test_a_reorganisation_across_midnight_is_of_the_date_on_which_it_was_seen() -> None:
    midnight = 1_699_999_200 + 86_400 - 1_699_999_200 % 86_400
    with node(10, start=midnight - 12 * 106) as server:
        run = Run(server, first=100).through(server, lambda: server.chain.reorganise(6, 7, "b"))
        assert {server.chain.time(n).date() for n in (105, 106)} == set(run.rows("blocks")["partition_date"].unique().to_list())
    rows = run.rows("chain_status")
    assert (rows["partition_date"] == rows["observed_at"].dt.date()).all()
    assert run.chain == server.chain.hashes


def test_a_range_is_filled_as_history_and_the_newest_blocks_are_live() -> None:
    with node(100) as server:
        run = Run(server, first=105).through(server)
    rows = run.rows("transactions").join(run.rows("chain_status").select("block_hash", "observed_at", status=pl.col("known_at_source")), on="block_hash")
    history = rows.filter(pl.col("block_number") <= 199 - 64)
    assert (history["known_at"] == history["block_timestamp"]).all() and (history["observed_at"] == history["block_timestamp"]).all()
    assert history["known_at_source"].unique().to_list() == history["status"].unique().to_list() == ["block"]
    live = rows.filter(pl.col("block_number") > 199 - 64)
    assert (live["known_at"] > live["block_timestamp"] + timedelta(days=1)).all() and live["status"].unique().to_list() == ["receive"]
    assert run.rows("chain_status")["block_number"].to_list() == list(range(105, 200))


def test_a_range_ends_at_its_last_height_and_only_what_is_missing_is_asked_for() -> None:
    with node(60) as server:
        whole = Run(server, first=100, last=140).until(lambda: False)
        assert whole.chain == {n: own for n, own in server.chain.hashes.items() if n <= 140}
        wider = whole.known
        asked = len(server.asked)
        assert not Run(server, known=wider, first=100, last=140).until(lambda: False).sent
        left = replace(wider, heights=wider.heights.filter(~wider.heights.is_in([110, 111, 112, 120])))
        more = Run(server, known=left, first=100, last=145).until(lambda: False)
    assert sorted(more.chain) == [110, 111, 112, 120, *range(141, 146)]
    assert sum(1 for name, _ in server.asked[asked:] if name == "eth_getBlockReceipts") == 9


def test_a_backfill_that_was_cut_off_goes_on_where_it_was() -> None:
    with node(160) as server:
        cut = Run(server, first=100, last=250)
        cut.until(lambda: len(cut.chain) >= 40)
        rest = Run(server, known=cut.known, first=100, last=250).until(lambda: False)
    assert 40 <= len(cut.chain) < 151
    assert cut.chain | rest.chain == {n: own for n, own in server.chain.hashes.items() if n <= 250}
    assert not cut.chain.keys() & rest.chain.keys()
    sent = [n for run in (cut, rest) for n in run.rows("blocks")["block_number"].to_list()]
    assert set(sent) == set(range(100, 251)) and len(sent) - len(set(sent)) <= 8  # a window whose blocks were sent, and not yet their heights


def test_a_reorganisation_while_a_gap_was_filled_is_found() -> None:
    with node(80) as server:
        before = Run(server, first=120).through(server)
        run = Run(server, known=before.known, first=100)
        run.latest = dict(before.latest)
        send = run.client._outbox._send

        def meanwhile(stream: Stream, rows: pa.Table) -> int:
            if server.chain.head == 179:
                with server.lock:
                    server.chain.reorganise(4, 100, "b")
            return send(stream, rows)

        run.client._outbox._send = meanwhile
        run.until(lambda: run.chain == server.chain.hashes)
    assert run.client.stats.deepest == 4


@pytest.mark.parametrize(("depth", "blocks", "grown"), [(0, 0, 5), (2, 1, 0), (64, 140, 0)])
def test_a_reorganisation_while_nobody_looked_is_found(depth: int, blocks: int, grown: int) -> None:
    with node(70) as server:
        before = Run(server, first=100).through(server)
        server.chain.reorganise(depth, blocks, "b")
        server.chain.grow(grown)
        after = Run(server, known=before.known)
        after.latest = dict(before.latest)
        after.through(server)
    fork = 170 - depth
    new = [(n, own) for n, own in server.chain.hashes.items() if n >= fork]
    assert told(after, 0) == [*new, *((n, None) for n in range(fork + blocks + grown, 170))]
    replaced = after.rows("chain_status").filter(pl.col("block_number") < 170)
    assert set(replaced["known_at_source"]) <= {"receive"}


def test_blocks_after_a_height_that_had_none_are_not_known_before_that() -> None:
    with node(70) as server:
        before = Run(server, first=100).through(server, lambda: server.chain.reorganise(3, 1, "b"))
        known = before.known
        assert (max(before.chain), known.gone) == (167, 169)
        server.chain.grow(100)
        after = Run(server, known=known)
        after.until(lambda: max(after.chain, default=0) == server.chain.head)
    sources = dict(after.rows("chain_status").select("block_number", "known_at_source").iter_rows())
    assert sources[168] == sources[169] == "receive"
    assert sources[200] == "block"


def test_a_node_that_is_behind_takes_nothing_back() -> None:
    with node(80) as server:
        run = Run(server, first=100)
        whole = server.chain

        def behind() -> None:
            server.chain = whole.copy()
            server.chain.chain = whole.chain[:70]

        def far_behind() -> None:
            server.chain.chain = whole.chain[:5]

        run.through(server)
        behind()
        again = Run(server, known=run.known)
        again.until(lambda: server.count("eth_getBlockByNumber") > 30)
        far_behind()
        further = Run(server, known=run.known)
        further.until(lambda: any("it is 75 blocks behind" in said for said in further.said))
    assert not again.sent and not further.sent


def test_finalized_heights_are_told_with_the_newest_blocks() -> None:
    with node(80) as server:
        run = Run(server).through(server, lambda: server.chain.grow(1))
    assert run.rows("chain_status")["finalized_number"].to_list() == [179 - 64] * 2
