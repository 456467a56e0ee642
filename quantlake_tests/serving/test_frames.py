"""Lazy frames: what each path shows, and that filters and selections decide which files, columns and partitions are touched."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

import quantlake
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.olap.clickhouse import ClickHouse
from quantlake.contract import Column, QuantLakeError, Text
from quantlake.contract.catalog import Catalog
from quantlake.datasets.market.trades import trades
from quantlake.serving.frames import Tables
from quantlake_tests.serving import world as w
from quantlake_tests.serving.world import MONDAY, TUESDAY, WEDNESDAY, World, at, quote

QUOTES, TOTALS = "curated/things/quotes", "derived/things/totals"
OF_MONDAY = pl.col("partition_date") == MONDAY


@pytest.fixture
def world(lake: Iceberg) -> World:
    return World(lake)


def only_files_of(world: World, dataset: w.Dataset, day: date) -> None:
    """Remove the data files of every other date: whoever opens one fails."""
    kept = world.lake.files(dataset.spec, [day]).paths
    others = [path for path in world.lake.files(dataset.spec).paths if path not in kept]
    assert kept and others
    for path in others:
        Path(path.removeprefix("file://")).unlink()


def test_curated_shows_latest_versions_and_those_of_a_time(world: World) -> None:
    world.arrive(quote("a", 1, 0), quote("a", 2, 9), quote("b", 3, 5, TUESDAY))
    table = world.tables.table
    assert table(QUOTES).collect_schema() == pl.DataFrame(w.quotes.spec.arrow.empty_table()).drop("superseded_at").schema
    prices = {t: sorted(table(QUOTES, as_known_at=t).select("price").collect()["price"]) for t in (at(-1), at(0), at(8), at(9), at(99))}
    assert prices == {at(-1): [], at(0): [1.0], at(8): [1.0, 3.0], at(9): [2.0, 3.0], at(99): [2.0, 3.0]}
    assert sorted(table(QUOTES).collect()["price"]) == [2.0, 3.0]
    versions = table(QUOTES, versions=True).sort("price").select("price", "superseded_at")
    assert versions.collect().rows() == [(1.0, at(9)), (2.0, None), (3.0, None)]
    assert table(QUOTES, "2024-01-01T00:08:00", versions=True).collect().height == 2
    assert table(QUOTES, "2024-01-01T09:09:00+09:00").collect().height == 2


def test_raw_shows_what_could_be_decoded(world: World) -> None:
    raw = {"_log": "l", "_topic": "t", "_partition": 0, "_timestamp": at(9), "_schema_id": 1}
    rows = [
        {**quote("a", 1, 5), **raw, "_offset": 0}, {"partition_date": MONDAY, **raw, "_offset": 1, "_error_class": "Bad", "_error": "e"},
        {**quote("b", 1, 5), **raw, "_offset": 2, "known_at": None},
    ]  # fmt: skip
    frame = pl.DataFrame(rows, pl.DataFrame(w.stream.spec.arrow.empty_table()).schema)
    world.lake.publish(w.stream.spec, [MONDAY], frame.to_arrow())
    shown = world.tables.table("raw/things/quotes")
    assert shown.collect()["name"].to_list() == ["a", "b"] and not {"_error_class", "_error", "_value"} & set(shown.collect_schema())
    found = {t: world.tables.table("raw/things/quotes", at(t)).collect()["name"].to_list() for t in (4, 5, 8, 9)}
    assert found == {4: [], 5: ["a"], 8: ["a"], 9: ["a", "b"]}  # b says nothing: known when it arrived


@pytest.mark.parametrize("as_known_at", [None, at(19)])
@pytest.mark.parametrize("path", [QUOTES, "derived/things/names", "feature/things/moves"])
def test_a_filter_opens_only_its_partitions_files(world: World, path: str, as_known_at: object) -> None:
    world.arrive(*(quote(name, 1, 0, day) for day in w.DAYS for name in "ab"))
    for built in (w.totals, w.names, w.both, w.moves):
        world.build(built)
    asked = world.tables.table(path, as_known_at=as_known_at)  # type: ignore[arg-type]
    whole = asked.filter(OF_MONDAY).collect()
    assert whole.height
    for dataset in (w.quotes, w.names, w.moves):
        only_files_of(world, dataset, MONDAY)
    for engine in ("in-memory", "streaming"):
        assert asked.filter(OF_MONDAY).collect(engine=engine).equals(whole)
        column = whole.columns[0]
        some = asked.filter(pl.col(column).is_not_null()).filter(OF_MONDAY).select(column)
        assert some.collect(engine=engine).equals(whole.select(column))
    with pytest.raises(FileNotFoundError):
        asked.filter(pl.col("partition_date") == TUESDAY).collect()


def test_a_selection_reads_only_its_columns(world: World) -> None:
    world.arrive(quote("a", 1, 0))
    plan = world.tables.table(QUOTES, at(5)).select("name")
    assert plan.collect().rows() == [("a",)]
    assert "PROJECT 3/5 COLUMNS" in plan.explain()  # name, and what the predicate needs
    assert "PROJECT 1/5 COLUMNS" in world.tables.table(QUOTES, versions=True).select("name").explain()


def test_only_partitions_that_are_asked_for_are_computed(world: World) -> None:
    world.arrive(quote("a", 1, 0), quote("bad", 1, 0, TUESDAY), quote("c", 1, 0, WEDNESDAY))
    world.plant(w.totals, {"quotes": 1, "total": 7.0, "known_at": at(0), "partition_date": WEDNESDAY})
    known = world.tables.table(TOTALS, as_known_at=at(9))  # Tuesday's function fails
    for mine, total in ((OF_MONDAY, 1.0), (pl.col("partition_date") > TUESDAY, 7.0), (OF_MONDAY & (pl.col("total") > 0), 1.0)):
        assert known.filter(mine).select("total").collect()["total"].to_list() == [total]
        assert known.select("total", "partition_date").filter(mine).collect(engine="streaming")["total"].to_list() == [total]
    assert known.filter(pl.col("partition_date") > TUESDAY).head(1).collect().height == 1
    assert known.filter(pl.col("partition_date") != TUESDAY).head(1).collect().height == 1
    assert sorted(known.filter(pl.col("partition_date") != TUESDAY).collect()["total"]) == [1.0, 7.0]
    for all_of_it in (known, known.filter(pl.col("total") > 0), known.filter(OF_MONDAY | (pl.col("total") > 0))):
        with pytest.raises(QuantLakeError, match="derived/things/totals of 2024-01-02 cannot be computed .* no total of bad quotes"):
            all_of_it.collect()
    assert known.collect_schema() == pl.DataFrame(w.totals.spec.arrow.empty_table()).schema
    assert world.tables.table("rollup/things/totals", at(9)).filter(OF_MONDAY).collect().to_dicts() == [{"total": 1.0, "partition_date": MONDAY}]


def test_a_frame_stays_at_the_snapshot_it_was_asked_for(world: World) -> None:
    world.arrive(quote("a", 1, 0))
    world.build(w.totals, MONDAY)
    frames = [world.tables.table(path, t) for path in (QUOTES, TOTALS) for t in (None, at(9))]
    before = [f.collect() for f in frames]
    world.arrive(quote("b", 2, 1))
    world.build(w.totals, MONDAY)
    assert all(f.collect().equals(b) for f, b in zip(frames, before, strict=True))
    assert world.tables.table(TOTALS, at(9)).collect()["total"].to_list() == [3.0]


def test_rows_known_later_are_not_shown(world: World) -> None:
    world.arrive(quote("a", 1, 0))
    for dataset in (w.totals, w.both, w.moves):
        world.build(dataset, MONDAY)
    assert [world.tables.table("feature/things/moves", at(t)).collect().height for t in (9, 10)] == [0, 1]


def test_a_column_the_contract_gained_is_null_in_older_files(world: World) -> None:
    world.arrive(quote("a", 1, 0))
    gained = replace(w.quotes, columns=(*w.QUOTE, Column("note", Text, "Later.", null=True)))
    tables = Tables(Catalog((w.stream, gained)), w.platform(world.lake))
    assert tables.table(QUOTES).select("note", "name").collect().rows() == [(None, "a")]
    world.lake.ensure(gained.spec)
    assert tables.table(QUOTES).filter(pl.col("note").is_null()).collect().height == 1
    rows = pl.DataFrame(world.lake.read(gained.spec)).with_columns(note=pl.lit("x"), partition_date=pl.lit(TUESDAY))
    world.lake.publish(gained.spec, [TUESDAY], rows.to_arrow())
    assert tables.table(QUOTES).sort("note").select("note").collect()["note"].to_list() == [None, "x"]
    assert world.tables.table(QUOTES).collect().columns == [c.name for c in w.QUOTE]  # by who does not know it


def test_a_table_that_is_not_there_is_empty(world: World) -> None:
    for path in ("raw/things/quotes", QUOTES, TOTALS, "feature/things/moves"):
        for t in (None, at(0)):
            assert world.tables.table(path, t).filter(OF_MONDAY).collect().is_empty()


def test_a_rollup_is_read_from_its_store(home: Path, world: World) -> None:
    olap = ClickHouse.embedded(home / "clickhouse", home / "locks")
    olap.ensure(w.rollup.spec)
    rows = pl.DataFrame({"total": [1.0, 2.0], "extra": ["a", "b"], "partition_date": [MONDAY, TUESDAY]})
    olap.publish(w.rollup.spec, [MONDAY, TUESDAY], rows.to_arrow())
    tables = Tables(w.CATALOG, w.platform(world.lake, olap=olap))
    rollup = tables.table("rollup/things/totals")
    assert rollup.collect().sort("total").equals(rows)
    assert rollup.filter(OF_MONDAY, pl.col("total") > 0).select("extra").collect()["extra"].to_list() == ["a"]
    assert rollup.filter(pl.col("partition_date") > TUESDAY + timedelta(days=9)).collect().is_empty()


def test_what_there_is_not_is_refused(world: World) -> None:
    for path, t, versions, reason in (
        ("curated/things/nothing", None, False, "there is no dataset 'curated/things/nothing'"),
        (TOTALS, None, True, "derived/things/totals has no versions"),
        ("embedding/things/index", at(0), False, "past vectors are not kept"),
        (QUOTES, "tomorrow", False, "is no time"),
    ):
        with pytest.raises(QuantLakeError, match=reason):
            world.tables.table(path, t, versions=versions)


def test_the_package_opens_the_home_of_its_settings_and_imports_nothing_before(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, quantlake; print(sorted({m.split('.')[0] for m in sys.modules} & {'polars', 'pyarrow', 'pyiceberg', 'dagster', 'duckdb'}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ).stdout == "[]\n"
    monkeypatch.setenv("QUANTLAKE_HOME", str(home))
    monkeypatch.chdir(home)
    lake = Iceberg.embedded(home / "lake", home / "locks")
    rows = pl.DataFrame([{"symbol": "X", "known_at": at(5), "partition_date": MONDAY}], pl.DataFrame(trades.spec.arrow.empty_table()).schema)
    lake.publish(trades.spec, [MONDAY], rows.to_arrow())
    assert quantlake.lake().table("curated/market/trades", as_known_at="2024-01-01T00:05Z").select("symbol").collect().rows() == [("X",)]
    assert quantlake.lake().table("curated/market/trades", as_known_at=at(4)).collect().is_empty()
