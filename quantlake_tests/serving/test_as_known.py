"""Derived data as known at a time: what is stored answers where it was complete then, and everything else is computed again."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import Built, QuantLakeError, TableSpec
from quantlake.contract.catalog import Catalog
from quantlake.contract.compute import compute
from quantlake.datasets.market.bars_1m import bars
from quantlake.datasets.market.bars_1m import rollup as bars_rollup
from quantlake.datasets.market.trade_activity import trade_activity
from quantlake.datasets.market.trades import trades
from quantlake.ports import Commit
from quantlake.serving import as_known
from quantlake.serving.as_known import AsKnown, moment
from quantlake.serving.query import QueryService
from quantlake_tests.conftest import temporary_folder
from quantlake_tests.empty import NO_SYMBOLS
from quantlake_tests.serving.world import (
    DAYS,
    MONDAY,
    TUESDAY,
    WEDNESDAY,
    World,
    alone,
    at,
    both,
    fees,
    index,
    moves,
    names,
    of_raw,
    platform,
    quote,
    quotes,
    totals,
)  # fmt: skip

PLANTED = {"quotes": 7, "total": 777.0, "known_at": at(5), "partition_date": MONDAY}


@pytest.fixture
def world(lake: Iceberg) -> World:
    return World(lake)


def test_a_partition_that_was_complete_then_is_served_as_stored(world: World) -> None:
    world.arrive(quote("a", 1, 0), quote("b", 2, 5))
    world.plant(totals, PLANTED)
    for minute in (5, 6, 1e6):
        assert world.sql("SELECT * FROM derived_things_totals", minute) == [tuple(PLANTED.values())]
    assert world.totals(4) == [(1.0,)]  # computed: b was not known yet


def test_a_late_row_and_a_correction_are_not_known_before_their_time(world: World) -> None:
    world.arrive(quote("a", 1, 0), quote("b", 2, 1), quote("a", 1, 1, TUESDAY))
    world.build(totals)
    world.arrive(quote("late", 10, 60))
    world.arrive(quote("b", 5, 90))
    world.build(totals)
    assert world.totals() == [(16.0,), (1.0,)]
    answers = {minute: world.totals(minute) for minute in (0, 1, 59, 60, 89, 90, 1e6)}
    assert answers == {
        0: [(1.0,)], 1: [(3.0,), (1.0,)], 59: [(3.0,), (1.0,)], 60: [(13.0,), (1.0,)], 89: [(13.0,), (1.0,)],
        90: [(16.0,), (1.0,)], 1e6: [(16.0,), (1.0,)],
    }  # fmt: skip


def test_a_stored_partition_older_than_its_inputs_does_not_serve(world: World) -> None:
    world.arrive(quote("a", 1, 0))
    world.plant(totals, PLANTED)
    world.arrive(quote("b", 2, 1), quote("c", 3, 1, WEDNESDAY))
    assert world.totals() == [(777.0,)]
    assert world.totals(9) == [(3.0,), (3.0,)]  # Wednesday was never built
    world.plant(totals, PLANTED)
    assert world.totals(9) == [(777.0,), (3.0,)]


def test_a_derived_input_that_does_not_serve_is_computed_for_what_is_built_on_it(world: World) -> None:
    world.arrive(quote("a", 10, 0), quote("a", 20, 0, TUESDAY))
    world.arrive(quote("f", 1, 2), table=fees)
    for dataset in (totals, both, moves):
        world.build(dataset)
    world.plant(moves, {**PLANTED, "known_at": at(12)})
    feature = "SELECT total, known_at FROM feature_things_moves ORDER BY partition_date"
    assert world.sql(feature, 11) == [(20.0, at(10))]  # planted, and known only a minute later
    assert world.sql(feature, 12) == [(777.0, at(12)), (20.0, at(10))]
    assert world.sql(feature.replace("feature_things_moves", "derived_things_both"), 1) == [(10.0, at(0)), (20.0, at(0))]
    world.arrive(quote("a", 30, 30))  # totals, both and moves of Monday are stale, at whatever time
    assert world.sql(feature, 29) == [(9.0, at(12)), (20.0, at(10))]
    assert world.sql(feature, 40) == [(29.0, at(40)), (20.0, at(10))]
    world.plant(totals, {**PLANTED, "total": 500.0})
    assert world.sql(feature, 40) == [(499.0, at(15)), (20.0, at(10))]  # from the stored totals
    for dataset in (both, moves):
        world.build(dataset)
    world.plant(both, {**PLANTED, "total": 400.0})
    assert world.sql(feature, 40) == [(410.0 - 10, at(15)), (20.0, at(10))]
    known = AsKnown.of(moves, at(40), world.lake)
    assert (known.served, known.computed) == ([TUESDAY], [MONDAY])


def test_dates_of_which_nothing_was_known_are_not_computed(world: World) -> None:
    world.arrive(quote("bad", 1, 100), quote("a", 1, 50, TUESDAY), quote("bad", 1, 100, WEDNESDAY))
    known = AsKnown.of(totals, at(60), world.lake)
    assert (known.served, known.computed) == ([], [TUESDAY])
    assert world.totals(60) == [(1.0,)]
    empty = world.queries.run("SELECT * FROM derived_things_totals", at(49)).read_all()
    assert empty.num_rows == 0 and [(f.name, f.type) for f in empty.schema] == [(f.name, f.type) for f in totals.spec.arrow]


def test_tables_that_do_not_exist_or_are_empty_answer_with_no_rows(world: World) -> None:
    assert world.totals(9) == []
    for dataset in (quotes, totals):
        world.lake.ensure(dataset.spec)
    assert world.totals(9) == []
    world.arrive(quote("a", 1, 0))
    assert world.totals(9) == [(1.0,)]  # no commit of totals yet


def test_a_function_that_fails_on_what_was_known_names_dataset_date_and_reason(world: World) -> None:
    world.arrive(quote("bad", 1, 0, TUESDAY))
    reason = r"derived/things/totals of 2024-01-02 cannot be computed .* as known at 2024-01-01T00:09:00\+00:00: ValueError: no total of bad quotes"
    with pytest.raises(QuantLakeError, match=reason):
        world.totals(9)
    with pytest.raises(QuantLakeError, match="derived/things/totals of 2024-01-02"):
        world.sql("SELECT * FROM derived_things_both", 9)


def test_a_table_without_known_at_keeps_every_row_its_inputs_then_give(world: World) -> None:
    world.arrive(quote("a", 1, 0), quote("b", 1, 9))
    world.build(names)
    answers = [world.sql("SELECT name FROM derived_things_names ORDER BY name", t) for t in (-1, 8, 9)]
    assert answers == [[], [("a",)], [("a",), ("b",)]]


def test_a_stored_input_shows_no_row_known_later(world: World) -> None:
    world.arrive(quote("a", 1, 0))
    for dataset in (totals, both, moves):
        world.build(dataset)
    assert AsKnown.of(moves, at(9), world.lake).served == [MONDAY]
    assert [world.sql("SELECT total FROM derived_things_after", t) for t in (9, 10)] == [[], [(1.0,)]]


def test_what_was_deleted_later_was_there_before(world: World) -> None:
    deleted = pl.DataFrame([quote("a", 1, 0) | {"superseded_at": at(60)}], pl.DataFrame(quotes.spec.arrow.empty_table()).schema)
    world.publish(quotes, [deleted.to_arrow()], [MONDAY])
    world.build(totals, MONDAY)
    assert [world.totals(t) for t in (None, 59, 60)] == [[], [(1.0,)], []]


def test_a_rollup_is_answered_by_its_base_in_the_columns_both_have(world: World) -> None:
    world.arrive(quote("a", 1, 0), quote("b", 2, 9))
    answer = world.queries.run("SELECT * FROM rollup_things_totals", at(8)).read_all()
    assert answer.to_pylist() == [{"total": 1.0, "partition_date": MONDAY}]


@pytest.mark.parametrize(("dataset", "reason"), [
    (alone, r"rollup/things/alone cannot be answered as known at a time: it names no derived base \(`equals`\)"),
    (index, "embedding/things/index cannot be answered as known at a time: past vectors are not kept; ask curated/things/quotes"),
    (of_raw, "derived/things/of_raw cannot be answered as known at a time: it is built from raw/things/quotes, which keeps no versions"),
])  # fmt: skip
def test_what_cannot_be_answered_is_refused(world: World, dataset: Built, reason: str) -> None:
    with pytest.raises(QuantLakeError, match=reason):
        world.sql(f"SELECT * FROM {dataset.spec.sql_name}", 9)


def test_memory_is_bounded_by_computing_some_dates_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_known, "CHUNK_ROWS", 3)
    monkeypatch.setattr(as_known, "CHUNK_DATES", 2)
    days = [MONDAY + timedelta(days=n) for n in range(7)]
    world.arrive(*(quote(name, n, 0, day) for n, day in enumerate(days) for name in ("ab" if n == 1 else "abcd" if n == 4 else "a")))
    chunks = [frame["partition_date"].to_list() for frame in AsKnown.of(totals, at(9), world.lake).frames()]
    assert chunks == [days[:2], days[2:4], [days[4]], days[5:]]
    assert world.totals(9) == [(n * (2.0 if n == 1 else 4.0 if n == 4 else 1.0),) for n in range(7)]


def test_it_is_answered_from_one_state_of_the_lake(world: World) -> None:
    world.arrive(quote("a", 1, 0), quote("a", 1, 0, TUESDAY))
    world.plant(totals, PLANTED)
    known = AsKnown.of(totals, at(9), world.lake)
    world.arrive(quote("a", 5, 9), quote("a", 5, 9, TUESDAY))
    world.build(totals)
    assert (known.served, known.computed) == ([MONDAY], [TUESDAY])
    assert pl.concat([known.stored().collect(), *known.frames()])["total"].to_list() == [777.0, 1.0]


def test_what_is_published_between_its_looks_at_two_tables_does_no_harm(world: World, home: Path) -> None:
    class Racing(Iceberg):
        raced = False

        def commits(self, spec: TableSpec, after: int = 0) -> list[Commit]:
            found = super().commits(spec, after)
            if not self.raced:
                self.raced = True
                world.arrive(quote("a", 5, 9))
                world.build(totals)
            return found

    world.arrive(quote("a", 1, 0))
    world.build(totals)
    known = AsKnown.of(totals, at(8), Racing.embedded(home / "lake", home / "locks"))
    assert pl.concat([known.stored().collect(), *known.frames()])["total"].to_list() == [1.0]


def test_commits_that_have_expired_count_as_oldest(world: World) -> None:
    world.arrive(quote("a", 1, 0), quote("a", 2, 0, WEDNESDAY))
    world.plant(totals, PLANTED)
    world.arrive(quote("a", 1, 0, TUESDAY))
    assert AsKnown.of(totals, at(9), world.lake).computed == [TUESDAY, WEDNESDAY]
    expire(world.lake, quotes)  # of Monday and Wednesday
    assert AsKnown.of(totals, at(9), world.lake).served == [MONDAY]
    before = AsKnown.of(totals, at(9), world.lake)
    world.plant(totals, {**PLANTED, "partition_date": TUESDAY})
    expire(world.lake, totals)  # of Monday
    with pytest.raises(QuantLakeError, match="derived_things_totals no longer keeps snapshot"):
        before.stored()
    with pytest.raises(QuantLakeError, match="derived_things_totals no longer keeps snapshot"):
        world.lake.files(totals.spec, snapshot_id=before.snapshot_id)
    known = AsKnown.of(totals, at(9), world.lake)
    assert (known.served, known.computed) == ([MONDAY, TUESDAY], [WEDNESDAY])  # of Wednesday nothing is stored
    world.arrive(quote("b", 1, 0))
    assert AsKnown.of(totals, at(9), world.lake).served == [TUESDAY]


def expire(lake: Iceberg, dataset: Built) -> None:
    """Forget all but the current snapshot, as maintenance does."""
    table = lake._table(dataset.spec)
    current = table.current_snapshot().snapshot_id
    expiry = table.maintenance.expire_snapshots()
    for snapshot in table.snapshots():
        if snapshot.snapshot_id != current:
            expiry.by_id(snapshot.snapshot_id)
    expiry.commit()


@pytest.mark.parametrize(("text", "expected"), [
    ("2024-03-05T14:30:00Z", datetime(2024, 3, 5, 14, 30, tzinfo=UTC)), ("2024-03-05T14:30:00", datetime(2024, 3, 5, 14, 30, tzinfo=UTC)),
    ("2024-03-05T14:30:00.000001+09:00", datetime(2024, 3, 5, 5, 30, 0, 1, tzinfo=UTC)), ("2024-03-05", datetime(2024, 3, 5, tzinfo=UTC)),
    (datetime(2024, 3, 5, 9), datetime(2024, 3, 5, 9, tzinfo=UTC)),
    (datetime(2024, 3, 5, 9, tzinfo=timezone(timedelta(hours=-5))), datetime(2024, 3, 5, 14, tzinfo=UTC)),
])  # fmt: skip
def test_a_time_is_utc_where_it_has_no_offset(text: str | datetime, expected: datetime) -> None:
    assert moment(text) == expected and moment(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["yesterday", "", "2024-13-01", "0001-01-01T00:00:00+09:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(QuantLakeError, match="is no time; write it as 2024-03-05T14:30:00Z"):
        moment(text)


def test_an_offset_means_the_moment_it_names(world: World) -> None:
    world.arrive(quote("a", 1, 0), quote("b", 2, 60))
    world.build(totals)
    east = timezone(timedelta(hours=9))
    assert world.totals(at(59).astimezone(east)) == [(1.0,)] and world.totals(at(60).astimezone(east)) == [(3.0,)]


def trade(number: int, price: str, minute: float, known: float | None = None) -> dict[str, Any]:
    return {
        "symbol": "X", "venue": "v", "trade_id": str(number), "price": Decimal(price), "size": Decimal(1), "side": "unknown", "event_time": at(minute),
        "known_at": at(minute if known is None else known), "partition_date": MONDAY, "source_name": "s",
    }  # fmt: skip


def test_bars_their_rollup_and_features_are_those_of_the_trades_known_then(lake: Iceberg) -> None:
    rows = [trade(1, "10", 0), trade(2, "11", 0.5), trade(3, "12", 1), trade(4, "99", 2), trade(4, "13", 2, 600), trade(5, "14", 1.5, 300)]
    received, messages = (pl.DataFrame(s.spec.arrow.empty_table()).lazy() for s in trades.streams)
    received = pl.DataFrame(rows, received.collect_schema()).lazy()

    def computed(until: float) -> dict[str, pl.DataFrame]:
        curated = compute(trades, [received.filter(pl.col("known_at") <= at(until)), messages, NO_SYMBOLS], MONDAY)
        newest = pl.DataFrame(curated).filter(pl.col("superseded_at").is_null()).drop("superseded_at")
        of_bars = pl.DataFrame(compute(bars, [newest.lazy()], MONDAY))
        features = compute(trade_activity, [of_bars.lazy()], MONDAY)
        return {bars.path: of_bars, bars_rollup.path: of_bars.select(c.name for c in bars_rollup.columns), trade_activity.path: pl.DataFrame(features)}

    lake.publish(trades.spec, [MONDAY], compute(trades, [received, messages, NO_SYMBOLS], MONDAY))
    whole = computed(1e6)
    for dataset in (bars, trade_activity):
        lake.publish(dataset.spec, [MONDAY], whole[dataset.path].to_arrow())
    graph = Catalog((*trades.streams, trades, bars, bars_rollup, trade_activity))
    service = QueryService(graph, platform(lake))
    for minute in (0.5, 1, 2, 2.5, 3, 299, 300, 599, 600):
        for dataset in (bars, bars_rollup, trade_activity):
            answer = pl.DataFrame(service.run(f"SELECT * FROM {dataset.spec.sql_name} ORDER BY ALL", at(minute)).read_all())
            expected = computed(minute)[dataset.path].filter(pl.col("known_at") <= at(minute))
            assert answer.equals(expected.sort(expected.columns)), (dataset.path, minute)
    assert [computed(t)[bars.path]["close"].to_list()[-1] for t in (2, 600)] == [Decimal(99), Decimal(13)]  # there was something to see


ARRIVALS = st.lists(
    st.builds(
        quote, st.sampled_from("abc"), st.sampled_from([None, 1.0, 2.0, 4.0]), st.integers(0, 6), st.sampled_from(DAYS)
    ) | st.tuples(st.sampled_from([totals, both, moves]), st.sampled_from(DAYS)) | st.just("fee"),
    max_size=12,
)  # fmt: skip


@settings(deadline=None, max_examples=10)
@given(ARRIVALS, st.lists(st.integers(-1, 17), min_size=1, max_size=3))
def test_it_equals_the_functions_over_what_was_known(happened: list[Any], times: list[int]) -> None:
    """Whatever was stored, stale or missing when asked, the answer is the functions' over the versions picked by hand."""
    with temporary_folder() as folder:
        world = World(Iceberg.embedded(folder / "lake", folder / "locks"))
        for n, event in enumerate(happened):
            if isinstance(event, dict):
                world.arrive(event)
            elif event == "fee":
                world.arrive(quote("fee", n, n % 5, DAYS[n % 3]), table=fees)
            else:
                world.build(event[0], event[1])
        for minute in times:
            for dataset in (totals, both, moves):
                rows = world.sql(f"SELECT * FROM {dataset.spec.sql_name} ORDER BY partition_date", minute)
                assert rows == [r for day in DAYS for r in by_hand(world, dataset, at(minute), day).rows()]


def by_hand(world: World, dataset: Any, time: datetime, day: date) -> pl.DataFrame:
    """The rows of a date by the words of the promise, from what arrived: each key's newest version known by then."""
    schema = pl.DataFrame(dataset.spec.arrow.empty_table()).schema
    if dataset in (quotes, fees):
        newest: dict[str, dict[str, Any]] = {}
        for row in sorted(world.arrived[dataset.name], key=lambda r: r["known_at"]):
            old = newest.get(row["name"])
            if row["partition_date"] == day and row["known_at"] <= time and (old is None or old["price"] != row["price"]):
                newest[row["name"]] = row
        return pl.DataFrame(list(newest.values()), {k: v for k, v in schema.items() if k != "superseded_at"})
    inputs = [by_hand(world, i, time, day) for i in dataset.inputs]
    if not any(i.height for i in inputs):
        return pl.DataFrame(schema=schema)
    return pl.DataFrame(compute(dataset, [i.lazy() for i in inputs], day)).filter(pl.col("known_at") <= time)
