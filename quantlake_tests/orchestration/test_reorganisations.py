"""Reorganisations of a chain: nothing is rewritten, views show the chain of now or then, what is built of them follows; over real stores."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa

from quantlake.cli.embedded import Embedded
from quantlake.contract import Stream
from quantlake.contract.catalog import Catalog, discover
from quantlake.datasets.onchain import blocks, chain_status, logs
from quantlake.orchestration.refresh import refresh
from quantlake.serving.frames import Tables
from quantlake.serving.query import QueryService
from quantlake.settings import Settings
from quantlake.sources.importers import typed
from quantlake.sources.publish import send
from quantlake.wiring import Adapters
from quantlake_tests.orchestration.forks import EVERY, MIDNIGHT, SECOND, Block, chain, forked, messages, status

GRAPH = Catalog(tuple(d for d in discover().datasets if d.family == "onchain"))
STANDING = [d for d in GRAPH.datasets if d.stands]
OF_ARRIVAL = ("known_at", "known_at_source", "observed_at", "receive_time", "superseded_at")
WITH_ROWS = tuple(
    f"{layer}_onchain_{name}"
    for layer, names in (("curated", ("blocks", "canonical_blocks", "transactions", "receipts", "logs")), ("derived", ("token_transfers", "dex_swaps")))
    for name in names
)


class World:
    """A home that watches chains."""

    def __init__(self, adapters: Adapters, instance: dg.DagsterInstance) -> None:
        self.adapters, self.instance = adapters, instance

    def see(self, seen: list[Block], observed: datetime | None = None, gone: list[Block] | None = None) -> None:
        for stream, rows in messages(seen, observed).items():
            self.send(stream, rows)
        self.send(chain_status.raw, status(seen, observed, gone or []))

    def send(self, stream: Stream, rows: pa.Table) -> None:
        send(self.adapters.broker, self.adapters.registry, stream, rows)

    def refreshed(self) -> dict[str, list[str]]:
        """The dates built of each table."""
        done = refresh(GRAPH, GRAPH.datasets, self.adapters, self.instance)
        assert not done.errors
        assert not done.rejected
        return {path: [str(o.partition) for o in outcomes if o.changed] for path, outcomes in done.outcomes.items()}

    def views(self, moment: datetime | None = None) -> dict[str, list[dict[str, Any]]]:
        """What every table shows of the chain, but for when and from where it was known."""
        found = {}
        for dataset in STANDING:
            provenance = {c.name for c in dataset.columns if c.provenance} | set(OF_ARRIVAL)
            rows = Tables(GRAPH, self.adapters).table(dataset.path, moment).collect().drop(provenance, strict=False)
            sql = QueryService(GRAPH, self.adapters).run(f"SELECT * FROM {dataset.spec.sql_name}", moment).read_all()
            assert sql.num_rows == rows.height
            found[dataset.path] = sorted(rows.to_dicts(), key=str)
        return found

    def heights(self, table: str) -> set[int]:
        return {row[0] for row in self.sql(f"SELECT DISTINCT block_number FROM {table}")}

    def sql(self, query: str, moment: datetime | None = None) -> list[tuple[Any, ...]]:
        return [tuple(r.values()) for r in QueryService(GRAPH, self.adapters).run(query, moment).read_all().to_pylist()]


@contextmanager
def opened(home: Path) -> Iterator[World]:
    adapters = Adapters(Settings(home=home))
    with Embedded(adapters, GRAPH), dg.DagsterInstance.ephemeral() as instance:
        yield World(adapters, instance)


def test_views_show_the_chain_of_now_and_of_then(tmp_path: Path) -> None:
    """Six chains at once, each reorganised in its own way."""
    first = {n: chain(n, MIDNIGHT - 40 * EVERY, 70) for n in range(1, 7)}
    first[2] = chain(2, MIDNIGHT - 69 * EVERY, 70)  # its last two blocks lie around midnight
    before = max(b.time for blocks in first.values() for b in blocks) + 2 * SECOND
    changed = {
        1: forked(first[1], 1, "b", 2),
        2: forked(first[2], 2, "b", 3),
        3: forked(first[3], 64, "b", 65),
        4: forked(first[4], 3, "b", 4),
        5: forked(first[5], 4, "b", 2),  # a shorter one
        6: forked(first[6], 2, "b", 2),
    }
    final = {**changed, 4: [*first[4], *chain_on(first[4], 2)], 6: forked(changed[6], 1, "c", 3)}

    with opened(tmp_path / "watched") as world:
        world.see([b for blocks in first.values() for b in blocks])
        world.refreshed()
        then = world.views()
        assert {path: len(rows) for path, rows in then.items()}["derived/onchain/token_transfers"] == 6 * 70

        at = before + timedelta(minutes=5)
        for old, new in ((first[n], changed[n]) for n in changed):
            world.see([b for b in new if b not in old], at, [b for b in old if b.number > new[-1].number])
        built = world.refreshed()
        assert built["curated/onchain/canonical_blocks"] == ["2024-03-05"], "all of it was seen then"
        assert built["curated/onchain/blocks"] == ["2024-03-04", "2024-03-05"]
        between = world.views()
        later = at + timedelta(minutes=5)
        for n in (4, 6):
            known = [b for b in final[n] if b not in changed[n]]
            world.see(known, later)
        world.refreshed()
        now = world.views()
        assert world.views(before) == then
        assert world.views(at + SECOND) == between
        rewritten = world.sql("SELECT count(*), count(superseded_at) FROM curated_onchain_logs_versions")
        everything = {b for some in (*first.values(), *changed.values(), *final.values()) for b in some}
        assert rewritten == [(2 * len(everything), 0)]
        shown = world.sql("SELECT is_canonical, count(*) FROM derived_onchain_token_transfers_versions GROUP BY 1 ORDER BY 1")
        chain_length = sum(len(blocks) for blocks in final.values())
        assert shown == [(False, len(everything) - chain_length), (True, chain_length)]
        assert world.sql("SELECT chain_id, partition_date, transfers, value FROM derived_onchain_token_transfers_1d ORDER BY 2, 1") == daily(final)
        assert world.sql("SELECT chain_id, partition_date, transfers, value FROM derived_onchain_token_transfers_1d ORDER BY 2, 1", before) == daily(first)

    with opened(tmp_path / "scratch") as world:
        world.see([b for blocks in final.values() for b in blocks])
        world.refreshed()
        assert world.views() == now


def daily(chains: dict[int, list[Block]]) -> list[tuple[Any, ...]]:
    """What is transferred a date, added up in Python."""
    amounts: dict[tuple[date, int], list[int]] = {}
    for block in (b for some in chains.values() for b in some):
        amounts.setdefault((block.time.date(), block.chain_id), []).append(block.amount)
    return [(chain_id, day, len(found), str(sum(found))) for (day, chain_id), found in sorted(amounts.items())]


def chain_on(blocks: list[Block], more: int) -> list[Block]:
    found = [blocks[-1]]
    for _ in range(more):
        found.append(Block(found[-1].chain_id, found[-1].number + 1, found[-1].time + EVERY, found[-1].hash))
    return found[1:]


def test_what_is_not_whole_is_kept_back_until_it_is(home: Path) -> None:
    made = chain(1, MIDNIGHT, 40)
    every = {b.number for b in made}
    height, place = pl.col("block_number"), pl.col("log_index")
    with opened(home) as world:
        at_first = {stream: pl.DataFrame(rows) for stream, rows in messages(made).items()}
        # a block that is not there, one that says that it has more transactions, and one without its first log
        counts = pl.when(height == 120).then(pl.lit(2, pl.Int64)).otherwise("transaction_count")
        at_first[blocks.raw] = at_first[blocks.raw].filter(height != 110).with_columns(transaction_count=counts)
        at_first[logs.raw] = at_first[logs.raw].filter((height != 130) | (place != 0))
        for stream, frame in at_first.items():
            world.send(stream, typed(stream, frame))
        world.send(chain_status.raw, status(made))
        ((path, _, why),) = refresh(GRAPH, GRAPH.datasets, world.adapters, world.instance).rejected
        assert path == "derived/onchain/chain_links" and why.startswith("has_its_block") and "1 of 40 rows whose block is not there" in why
        lacking = {name: every - world.heights(name) for name in WITH_ROWS}
        assert lacking == {
            "curated_onchain_blocks": {110}, "curated_onchain_canonical_blocks": set(), "curated_onchain_transactions": {120},
            "curated_onchain_receipts": set(), "curated_onchain_logs": {130}, "derived_onchain_token_transfers": {130},
            "derived_onchain_dex_swaps": {130},
        }  # fmt: skip
        assert {r[0] for r in world.sql("SELECT DISTINCT _check FROM rejected_curated_onchain_logs")} == {"log_index_contiguous"}
        for stream, rows in messages(made).items():
            world.send(stream, rows)
        world.refreshed()
        assert [name for name in WITH_ROWS if world.heights(name) != every] == []


def test_a_broken_chain_is_refused_where_it_is_final(home: Path) -> None:
    made = chain(1, MIDNIGHT, 80)
    lost = [replace(b, fork="lost") if b.number in (105, 170) else b for b in made]  # the blocks above name other parents
    with opened(home) as world:
        world.see(lost)
        done = refresh(GRAPH, GRAPH.datasets, world.adapters, world.instance)
        ((path, day, why),) = done.rejected
        assert (path, day) == ("derived/onchain/chain_links", MIDNIGHT.date())
        assert why.startswith("parent_link") and "1 of 80 rows that do not follow the block below" in why, "of the last 64 blocks none is final"
        world.see([b for b in made if b.number in (105, 170)], MIDNIGHT + timedelta(hours=1))
        world.refreshed()
        assert world.sql("SELECT count(*), count(*) FILTER (is_finalized) FROM derived_onchain_chain_links") == [(80, 16)]
