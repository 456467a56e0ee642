"""What a date looks up over other dates: names that hold from a day to another, and what comes after it; over real stores."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quantlake.cli.embedded import Embedded
from quantlake.contract import PARTITION_DATE, Column, Date, Derived, Input, Integer, Stream, Table, Text, Timestamp
from quantlake.contract.catalog import Catalog
from quantlake.orchestration.assemble import assemble
from quantlake.orchestration.refresh import Refreshed, refresh
from quantlake.orchestration.staleness import state
from quantlake.orchestration.tags import RANGE_END, RANGE_START
from quantlake.orchestration.why import why
from quantlake.serving.frames import Tables
from quantlake.serving.query import QueryService
from quantlake.settings import Settings
from quantlake.sources.importers import typed
from quantlake.sources.publish import send
from quantlake.wiring import Adapters

KNOWN_AT = Column("known_at", Timestamp, "When.")
NAME = (
    Column("symbol", Text, "x"), Column("valid_from", Date, "x"), Column("valid_to", Date, "x", null=True), Column("name", Text, "x"),
    KNOWN_AT, PARTITION_DATE,
)  # fmt: skip
PRINT = (Column("id", Text, "x"), Column("symbol", Text, "x"), Column("size", Integer, "x"), KNOWN_AT, PARTITION_DATE)

raw_names = Stream("tests.things.names", doc="x", owner="t", topic="t.names", message_key="symbol", columns=NAME)
names = Table(
    "tests.things.names", of=raw_names, doc="x", owner="t", columns=NAME, key=("symbol", "valid_from"), versions="across", storage_partition="year"
)
raw_prints = Stream("tests.things.prints", doc="x", owner="t", topic="t.prints", message_key="id", columns=PRINT)
prints = Table(
    "tests.things.prints", of=raw_prints, doc="x", owner="t", key=("id",), columns=(*PRINT, Column("name", Text, "x", null=True)),
    looks_up=(Input(names, None, None, since="valid_from", until="valid_to"),),
)  # fmt: skip
totals = Derived(
    "tests.things.totals", of=(prints, Input(prints, 1, None, makes="none")), many=True, doc="x", owner="t", key=("id",),
    columns=(Column("id", Text, "x"), Column("later", Integer, "Sizes of later dates."), KNOWN_AT, PARTITION_DATE),
)  # fmt: skip
GRAPH = Catalog((raw_names, names, raw_prints, prints, totals))


@prints.build
def named(received: pl.LazyFrame, looked_up: pl.LazyFrame) -> pl.LazyFrame:
    valid = (pl.col("valid_from") <= pl.col("partition_date")) & (pl.col("valid_to").is_null() | (pl.col("valid_to") > pl.col("partition_date")))
    found = received.join(looked_up.select("symbol", "valid_from", "valid_to", "name"), on="symbol").filter(valid).select("id", "name")
    return received.join(found, on="id", how="left", maintain_order="left")


@totals.build
def summed(now: pl.LazyFrame, later: pl.LazyFrame) -> pl.LazyFrame:
    by_date = later.group_by("partition_date").agg(pl.col("size").sum(), pl.col("known_at").max())
    pairs = now.select("id", "known_at", "partition_date").join(by_date, how="cross").filter(pl.col("partition_date_right") > pl.col("partition_date"))
    sums = pairs.group_by("id").agg(later=pl.col("size").sum(), newest=pl.col("known_at_right").max())
    return now.join(sums, on="id", how="left").with_columns(
        pl.col("later").fill_null(0), known_at=pl.max_horizontal("known_at", "newest")
    )  # fmt: skip


def day(n: int) -> date:
    return date(2024, 3, n)


def at(n: int, hour: int = 0) -> datetime:
    return datetime(2024, 3, n, hour, tzinfo=UTC)


class World:
    """A home, and what arrives in it."""

    def __init__(self, adapters: Adapters, instance: dg.DagsterInstance) -> None:
        self.adapters = adapters
        self.instance = instance

    def name(self, symbol: str, name: str, first: int, end: int | None, known: datetime | None = None) -> None:
        known = known or at(first)
        self._send(raw_names, {
            "symbol": symbol, "valid_from": day(first), "valid_to": day(end) if end else None, "name": name, "known_at": known,
            "partition_date": known.date(),
        })  # fmt: skip

    def prints(self, *days: int, symbol: str = "A", size: int = 1) -> None:
        self._send(raw_prints, *(
            {"id": f"{symbol}{n}", "symbol": symbol, "size": size, "known_at": at(n, 12), "partition_date": day(n)} for n in days
        ))  # fmt: skip

    def _send(self, stream: Stream, *rows: dict[str, Any]) -> None:
        schema = {c.name: pl.DataFrame(stream.spec.arrow.empty_table()).schema[c.name] for c in stream.columns}
        send(self.adapters.broker, self.adapters.registry, stream, typed(stream, pl.DataFrame(list(rows), schema=schema)))

    def refreshed(self) -> dict[str, list[int]]:
        """The days of March built of each asset, in order; afterwards nothing is stale, and a second refresh does nothing."""
        done = self._refresh()
        again = state(GRAPH, GRAPH.datasets, self.adapters, self.instance)
        assert {d.path: again.stale(d) for d in GRAPH.datasets if again.stale(d)} == {}
        assert not self._refresh().outcomes
        return {path: [o.partition.day for o in outcomes] for path, outcomes in done.outcomes.items() if not path.startswith("raw/")}

    def _refresh(self) -> Refreshed:
        done = refresh(GRAPH, GRAPH.datasets, self.adapters, self.instance)
        assert not done.errors
        assert not done.rejected
        return done

    def sql(self, query: str, moment: datetime | None = None) -> list[tuple[Any, ...]]:
        return [tuple(r.values()) for r in QueryService(GRAPH, self.adapters).run(query, moment).read_all().to_pylist()]


@pytest.fixture
def world(home: Path) -> Iterator[World]:
    adapters = Adapters(Settings(home=home))
    with Embedded(adapters, GRAPH), dg.DagsterInstance.ephemeral() as instance:
        yield World(adapters, instance)


NAMED = "SELECT partition_date, name FROM curated_things_prints ORDER BY 1"
LATER = "SELECT partition_date, later FROM derived_things_totals ORDER BY 1"


def test_a_new_name_touches_the_dates_on_which_it_holds_and_no_others(world: World) -> None:
    world.name("A", "old", 1, None)
    world.prints(4, 5, 6, 7)
    first = world.refreshed()
    assert first["curated/things/names"] == [1]
    assert first["curated/things/prints"] == [4, 5, 6, 7], "once each: what they look up is built before them"
    assert world.sql(NAMED) == [(day(n), "old") for n in (4, 5, 6, 7)]

    world.name("A", "old", 1, 6, known=at(9))  # it ended on the 6th, as is known on the 9th
    world.name("A", "new", 6, None, known=at(9))
    then = world.refreshed()
    assert then["curated/things/names"] == [9]
    assert then["curated/things/prints"] == [6, 7], "on the 4th and 5th the same name holds"
    assert world.sql(NAMED) == [(day(4), "old"), (day(5), "old"), (day(6), "new"), (day(7), "new")]

    world.name("B", "other", 7, None)
    assert world.refreshed() == {"curated/things/names": [7], "curated/things/prints": [7]}


def test_names_are_the_newest_of_any_partition_and_as_known_then(world: World) -> None:
    world.name("A", "old", 1, None)
    world.name("A", "newer", 1, None, known=at(5))
    world.name("A", "newest", 1, None, known=at(3))  # arrives last, and was known before
    world.refreshed()
    query = "SELECT name FROM curated_things_names"
    assert world.sql(query) == [("newer",)]
    shown = [world.sql(query, moment) for moment in (at(1) - timedelta(hours=1), at(2), at(3), at(4), at(5))]
    assert shown == [[], [("old",)], [("newest",)], [("newest",)], [("newer",)]]
    assert world.sql("SELECT name, superseded_at FROM curated_things_names_versions ORDER BY known_at") == [
        ("old", at(3)), ("newest", at(5)), ("newer", None),
    ]  # fmt: skip
    frames = Tables(GRAPH, world.adapters)
    for moment in (None, at(2), at(3), at(5)):
        assert frames.table("curated/things/names", moment).collect()["name"].to_list() == [r[0] for r in world.sql(query, moment)]


def test_what_comes_later_is_read_by_all_earlier_dates(world: World) -> None:
    world.prints(4, 5, 6)
    assert world.refreshed()["derived/things/totals"] == [4, 5, 6]
    assert world.sql(LATER) == [(day(4), 2), (day(5), 1), (day(6), 0)]
    world.prints(5, symbol="B", size=10)
    assert world.refreshed()["derived/things/totals"] == [4, 5], "the 6th does not read the 5th"
    assert world.sql("SELECT id, later FROM derived_things_totals ORDER BY 1") == [("A4", 12), ("A5", 1), ("A6", 0), ("B5", 1)]
    assert world.sql(LATER, at(4, 13)) == [(day(4), 0)]
    assert world.sql("SELECT id, later FROM derived_things_totals ORDER BY 1", at(5, 13)) == [("A4", 11), ("A5", 0), ("B5", 0)]
    assert world.sql("SELECT id, later FROM derived_things_totals ORDER BY 1", at(9)) == [("A4", 12), ("A5", 1), ("A6", 0), ("B5", 1)]


def test_why_tells_what_was_looked_up(world: World) -> None:
    world.name("A", "old", 1, None)
    world.prints(4, 5)
    world.refreshed()
    explained = {w.asset: w for w in why(prints, day(4), GRAPH, world.adapters, world.instance)}
    assert explained[prints.path].state == "built"
    assert all(i.used and not i.newer for i in explained[prints.path].inputs)
    world.name("A", "new", 1, None, known=at(8))
    refresh(GRAPH, [raw_names, names], world.adapters, world.instance)
    newer = why(prints, day(4), GRAPH, world.adapters, world.instance)[-1]
    assert newer.state == "older than its inputs"
    assert [i.asset for i in newer.inputs if i.newer] == ["curated/things/names"]


def test_the_sensor_asks_for_dates_whose_names_changed(world: World) -> None:
    graph = assemble(GRAPH, lambda: world.adapters)
    repository = graph.get_repository_def()
    sensor = repository.get_sensor_def("changed_lookups")
    cursor: str | None = None

    def tick() -> list[tuple[str, str, str]]:
        nonlocal cursor
        with dg.build_sensor_context(instance=world.instance, cursor=cursor, repository_def=repository) as context:
            found = sensor.evaluate_tick(context)
        cursor = found.cursor
        return [
            ("+".join(k.path[-1] for k in r.asset_selection or ()), r.tags[RANGE_START], r.tags[RANGE_END]) for r in found.run_requests or []
        ]  # fmt: skip

    world.name("A", "old", 1, None)
    world.prints(4, 5, 6)
    world.refreshed()
    tick()
    assert tick() == []
    world.name("A", "new", 5, None, known=at(9))
    world.name("A", "old", 1, 5, known=at(9))
    refresh(GRAPH, [raw_names, names], world.adapters, world.instance)
    assert tick() == [("prints", "2024-03-05", "2024-03-06")]
    assert tick() == []
