"""What a home has of a chain, read from its landed rows; and the bookkeeping of a chain's newest blocks."""

from itertools import pairwise
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from quantlake.contract import TableSpec
from quantlake.datasets.onchain import chain_status, dex_pools, tokens
from quantlake.sources.live.ethereum.chain import Chain, linked
from quantlake.sources.live.ethereum.known import Known, known
from quantlake_tests.sources.chain_runs import Run, node
from quantlake_tests.sources.chains import Simulated


class Landed:
    """A lake of some rows of chain_status, in the order in which they were sent."""

    def __init__(self, rows: pl.DataFrame, token: str | None = None) -> None:
        self._rows, self._token = rows, token

    def scan(self, spec: TableSpec, **_: Any) -> pl.LazyFrame:
        empty = pl.DataFrame(pl.from_arrow(spec.arrow.empty_table()))
        placed = self._rows.with_row_index("_offset").with_columns(_partition=pl.lit(0), _timestamp=pl.lit(None))
        of_token = pl.DataFrame({"chain_id": [1], "address": [self._token]})
        found = {chain_status.raw.name: placed, tokens.raw.name: of_token, dex_pools.raw.name: empty}[spec.name]
        return pl.concat([empty, found.select(pl.col(c).cast(empty.schema[c]) for c in found.columns)], how="diagonal").lazy()


def test_the_latest_block_of_each_height_is_known_and_only_ones_own() -> None:
    with node(30) as server:
        run = Run(server, first=100).through(server, lambda: server.chain.reorganise(5, 2, "b"))
        rows = run.rows("chain_status")
        imported = rows.with_columns(source=pl.lit("json_rpc"), block_number=pl.col("block_number") + 1000)
        other = rows.with_columns(chain_id=pl.lit(5, pl.Int64), block_number=pl.col("block_number") + 2000)
        holed = rows.filter(pl.col("block_number") != 110)
        found = known(Landed(pl.concat([rows, imported, other])), 1, 64)
        broken = known(Landed(holed, "0xtoken"), 1, 64)
    assert dict(found.tail) == server.chain.hashes == run.chain
    assert (found.heights.to_list(), found.gone) == (list(range(100, 130)), 129)
    assert broken.tail[0][0] == 111 and list(broken.missing(100, 129)) == [range(110, 111)]
    assert broken.contracts == {"0xtoken"}
    assert known(Landed(rows), 7, 64).heights.is_empty()


@given(st.sets(st.integers(0, 40)), st.integers(0, 40), st.integers(0, 40))
def test_what_is_missing_and_what_is_there_make_a_range(there: set[int], first: int, last: int) -> None:
    gaps = list(Known(pl.Series(sorted(there), dtype=pl.Int64)).missing(first, last))
    assert [n for gap in gaps for n in gap] == [n for n in range(first, last + 1) if n not in there]
    assert all(a.stop < b.start for a, b in pairwise(gaps))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 12)), max_size=8))
def test_a_chain_keeps_its_newest_heights_whatever_it_loses(steps: list[tuple[int, int]]) -> None:
    simulated = Simulated(transactions=0).grow(70)
    chain = Chain(100)
    chain.take([made.header for made in simulated.chain])
    for turn, (depth, blocks) in enumerate(steps):
        tip = simulated.head
        simulated.reorganise(depth, blocks, str(turn))
        run = [made.header for made in simulated.chain[-blocks:]]
        assert linked(run) and chain.follows(run[0])
        change = chain.take(run)
        assert change.depth == depth and list(change.gone) == list(range(simulated.head + 1, tip + 1))
        assert chain.tip == simulated.head
        assert {n: chain.hash_at(n) for n in range(chain.base, simulated.head + 1)} == {n: own for n, own in simulated.hashes.items() if n >= chain.base}


def test_what_is_no_more_remembered_is_not_taken_for_the_chains_beginning() -> None:
    headers = [made.header for made in Simulated(transactions=0).grow(30).chain]
    young, old, loaded = Chain(20), Chain(20), Chain(20, [(h.number, h.hash) for h in headers])
    young.take(headers[10:20])
    old.take(headers)
    assert young.follows(headers[10]) and not young.follows(headers[25])
    assert old.base == loaded.base == 110
    assert not old.follows(headers[10]) and not loaded.follows(headers[10]) and old.follows(headers[11])
