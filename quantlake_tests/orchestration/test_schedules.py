"""What runs daily: closed days come out empty and nobody is overdue for them, and the lake is maintained, table by table."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time
from dagster._daemon.freshness import FreshnessDaemon
from dagster._utils.schedules import schedule_execution_time_iterator
from pydantic import ValidationError

from quantlake.cli.embedded import Embedded
from quantlake.contract import PARTITION_DATE, Column, Sessions, Stream, Table, TableSpec, Text
from quantlake.contract.catalog import Catalog, discover
from quantlake.orchestration.assemble import assemble
from quantlake.orchestration.record import asset_key
from quantlake.orchestration.refresh import QUIET
from quantlake.orchestration.schedules import schedules
from quantlake.orchestration.tags import REQUESTED_BY
from quantlake.settings import Settings
from quantlake.wiring import Adapters

XNYS = Sessions("XNYS", "America/New_York", opens=clock(9, 30), due=clock(22, 0))
WEDNESDAY, THANKSGIVING, EARLY_CLOSE = (date(2025, 11, n) for n in (26, 27, 28))
COLUMNS = (Column("id", Text, "Its name."), PARTITION_DATE)
PASS, FAIL = FreshnessState.PASS, FreshnessState.FAIL


def thing(sessions: Sessions | None, name: str = "things") -> Catalog:
    stream = Stream(f"d.test.{name}", doc="d", owner="o", topic="t", message_key="id", columns=COLUMNS, sessions=sessions)
    return Catalog((stream, Table(f"d.test.{name}", of=stream, doc="d", owner="o", key=("id",), columns=COLUMNS)))


def new_york(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)


def nothing() -> Adapters:
    pytest.fail("nothing is opened")


class Schedule:
    """The first schedule of a catalogue whose name begins so, ticked as the daemon does it."""

    def __init__(self, catalog: Catalog, name: str = "closed_days", platform: Callable[[], Adapters] = nothing) -> None:
        defs = dg.Definitions(assets=assemble(catalog, platform).assets, schedules=schedules(catalog, platform))
        self._repository = defs.get_repository_def()
        self.definition = next(s for s in self._repository.schedule_defs if s.name.startswith(name))

    def tick(self, at: datetime) -> dg.RunRequest | str:
        """Its request, or why there is none."""
        context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=self._repository)
        with freeze_time(at):
            found = self.definition.evaluate_tick(context)
        requests = found.run_requests or []
        assert len(requests) <= 1
        return requests[0] if requests else str(found.skip_message)


def test_a_closed_day_is_requested_and_an_open_one_is_not() -> None:
    schedule = Schedule(thing(XNYS))
    assert (schedule.definition.name, schedule.definition.default_status) == ("closed_days_xnys", dg.DefaultScheduleStatus.RUNNING)
    for day in (THANKSGIVING, date(2025, 11, 29)):
        request = schedule.tick(new_york(day, 15, 45))
        assert isinstance(request, dg.RunRequest)
        assert request.partition_key == str(day) and request.tags[REQUESTED_BY] == f"XNYS is closed on {day}"
        assert request.asset_selection == [asset_key(d) for d in thing(XNYS).datasets]
        again = schedule.tick(new_york(day, 15, 45))
        assert isinstance(again, dg.RunRequest) and again.run_key == request.run_key
    for day in (WEDNESDAY, EARLY_CLOSE):
        assert schedule.tick(new_york(day, 15, 45)) == f"XNYS is open on {day}: rows are due by 22:00 America/New_York"


def test_datasets_without_sessions_have_no_closed_days() -> None:
    assert [s.name for s in schedules(thing(None), nothing)] == ["maintenance"]
    two = Catalog((*thing(XNYS).datasets, *thing(replace(XNYS, due=clock(20, 0)), "others").datasets))
    names = [s.name for s in schedules(two, nothing)]
    assert names == ["maintenance", "closed_days_xnys_2200", "closed_days_xnys_2000"]


@pytest.mark.parametrize("sessions", [
    XNYS,
    replace(XNYS, opens=clock(0, 30), due=clock(4, 30)),  # ticks at 02:30, which a spring day has not and an autumn day has twice
    replace(XNYS, opens=clock(16, 0), due=clock(14, 0)),
    Sessions("XASX", "Australia/Sydney", opens=clock(10, 0), due=clock(6, 0)),
])  # fmt: skip
@pytest.mark.parametrize("first", [date(2025, 3, 6), date(2025, 10, 2), date(2025, 10, 30), date(2025, 4, 3)])
def test_each_day_is_looked_at_once_in_its_partition_s_time_also_where_clocks_change(sessions: Sessions, first: date) -> None:
    schedule = Schedule(thing(sessions))
    start = datetime.combine(first, clock(), UTC).timestamp()
    ticks = schedule_execution_time_iterator(start, str(schedule.definition.cron_schedule), sessions.timezone)
    seen = []
    for _, at in zip(range(6), ticks, strict=False):
        found = schedule.tick(at)
        words = found.run_key if isinstance(found, dg.RunRequest) else found
        seen.append(date.fromisoformat(re.search(r"\d{4}-\d\d-\d\d", str(words)).group()))  # type: ignore[union-attr]
        assert datetime.combine(seen[-1], clock(), UTC) <= at  # Dagster has the partition by then
    assert seen == [seen[0] + timedelta(days=n) for n in range(6)]


class Clock:
    """An instance whose time is set, and Dagster's own judgement of freshness there."""

    def __init__(self, instance: dg.DagsterInstance, graph: dg.Definitions) -> None:
        self.instance, self._graph = instance, graph.resolve_asset_graph()

    def materialized(self, catalog: Catalog, day: date, at: datetime) -> None:
        with freeze_time(at):
            for dataset in catalog.datasets:
                self.instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(dataset), partition=str(day)))

    def state(self, path: str, at: datetime) -> FreshnessState:
        node = self._graph.get(dg.AssetKey(path.split("/")))
        with freeze_time(at):
            return asyncio.run(FreshnessDaemon()._compute_asset_freshness_state(LoadingContextForTest(self.instance), node))


def test_a_session_is_overdue_from_its_due_time_until_its_rows_are_there() -> None:
    catalog = thing(XNYS)
    with dg.instance_for_test() as instance:
        clock = Clock(instance, assemble(catalog, nothing))
        assert clock.state("raw/test/things", new_york(WEDNESDAY, 23)) == FreshnessState.UNKNOWN
        clock.materialized(catalog, date(2025, 11, 25), new_york(date(2025, 11, 25), 16))
        for path in ("raw/test/things", "curated/test/things"):
            assert clock.state(path, new_york(WEDNESDAY, 21, 59)) == PASS
            assert clock.state(path, new_york(WEDNESDAY, 22, 1)) == FAIL
        clock.materialized(catalog, WEDNESDAY, new_york(WEDNESDAY, 23))
        assert clock.state("raw/test/things", new_york(WEDNESDAY, 23, 30)) == PASS
        clock.materialized(catalog, EARLY_CLOSE, new_york(EARLY_CLOSE, 13, 5))
        friday_to_monday = [new_york(EARLY_CLOSE, 22, 1), *(new_york(date(2025, 11, 29) + timedelta(days=n), 22, 1) for n in (0, 1))]
        assert {clock.state("raw/test/things", at) for at in friday_to_monday} == {PASS}
        assert clock.state("raw/test/things", new_york(date(2025, 12, 1), 22, 1)) == FAIL


def test_rows_due_on_the_morning_after_are_not_due_on_sunday() -> None:
    catalog = thing(replace(XNYS, due=clock(6, 0)))
    monday, tuesday = date(2025, 12, 1), date(2025, 12, 2)
    with dg.instance_for_test() as instance:
        found = Clock(instance, assemble(catalog, nothing))
        found.materialized(catalog, EARLY_CLOSE, new_york(EARLY_CLOSE, 17))
        for at in (new_york(date(2025, 11, 29), 7), new_york(date(2025, 11, 30), 7), new_york(monday, 7), new_york(tuesday, 5, 59)):
            assert found.state("raw/test/things", at) == PASS
        assert found.state("raw/test/things", new_york(tuesday, 6, 1)) == FAIL


def test_what_has_no_sessions_is_overdue_after_its_greatest_lag() -> None:
    catalog = thing(None)
    with dg.instance_for_test() as instance:
        found = Clock(instance, assemble(catalog, nothing))
        found.materialized(catalog, WEDNESDAY, new_york(WEDNESDAY, 12))
        assert found.state("raw/test/things", new_york(date(2025, 11, 30), 11)) == PASS
        assert found.state("raw/test/things", new_york(date(2025, 11, 30), 13)) == FAIL


@pytest.fixture
def adapters(tmp_path: Path) -> Iterator[Adapters]:
    found = Adapters(Settings(home=tmp_path))
    with Embedded(found, discover()):
        yield found


def test_a_holiday_comes_out_green_and_empty_through_the_whole_graph_and_is_not_overdue(adapters: Adapters) -> None:
    """News has no sessions: its empty day is built beside, as nothing else here builds an index of no texts."""
    catalog = discover()
    due = Catalog(tuple(d for d in catalog.datasets if d.sessions))
    assert {"raw/market/trades", "derived/market/bars_1d", "rollup/market/bars_1m"} <= {d.path for d in due.datasets}
    graph = assemble(catalog, lambda: adapters)
    tick = new_york(THANKSGIVING, 15, 45)
    request = Schedule(catalog).tick(tick)
    assert isinstance(request, dg.RunRequest) and request.asset_selection == [asset_key(d) for d in due.datasets]
    assets = [a for a in graph.assets or () if isinstance(a, dg.AssetsDefinition)]
    with dg.instance_for_test() as instance:
        found = Clock(instance, graph)
        found.materialized(due, WEDNESDAY, new_york(WEDNESDAY, 17))
        night = new_york(THANKSGIVING, 22, 1)
        assert {found.state(d.path, night) for d in due.datasets} == {FAIL}  # what Dagster alone would say
        with freeze_time(tick):
            done = dg.materialize(assets, instance=instance, partition_key=request.partition_key, run_config=QUIET, tags=request.tags)
        assert done.success
        made = {m.asset_key: m for m in (e.materialization for e in done.all_events if e.is_step_materialization)}
        assert made.keys() == {asset_key(d) for d in catalog.datasets}
        assert {(m.partition, m.metadata["dagster/row_count"].value, m.metadata["requested_by"].value) for m in made.values()} == {
            (str(THANKSGIVING), 0, f"XNYS is closed on {THANKSGIVING}")
        }
        assert all(e.asset_check_evaluation_data.passed for e in done.all_events if e.event_type_value == "ASSET_CHECK_EVALUATION")
        assert {found.state(d.path, night) for d in due.datasets} == {PASS}


def lived(adapters: Adapters, spec: TableSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table whose one date was replaced 30 and 20 days ago and today."""
    here, day = time.time(), date(2025, 1, 2)
    for days in (30, 20, 0):
        with monkeypatch.context() as moved:
            moved.setattr(time, "time", lambda days=days: here - days * 86_400)
            rows = pa.Table.from_pylist([{"id": str(days), "partition_date": day}], pa.schema([f.with_nullable(True) for f in spec.arrow]))
            adapters.lake.publish(spec, [day], rows)


def freed(events: list[dg.DagsterEvent]) -> dict[str, dict[str, object]]:
    """What a maintenance run says of each table."""
    for event in events:
        if event.is_step_failure and event.step_failure_data.user_failure_data:
            metadata = event.step_failure_data.user_failure_data.metadata
        elif event.is_successful_output:
            metadata = event.step_output_data.metadata
        else:
            continue
        return {str(r.data["table"]): dict(r.data) for r in metadata["tables"].records}  # type: ignore[union-attr]
    raise AssertionError(events)


def test_every_table_is_maintained_and_one_that_cannot_be_keeps_no_other_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTLAKE_KEEP_SNAPSHOTS_DAYS", "25")
    adapters, catalog = Adapters(Settings(home=tmp_path)), thing(None)
    raw, curated = catalog.datasets
    specs = [raw.spec, curated.spec, curated.rejected_spec]
    for spec in specs:
        lived(adapters, spec, monkeypatch)
    schedule = Schedule(catalog, "maintenance", lambda: adapters)
    job = schedule.definition.job
    assert isinstance(job, dg.JobDefinition) and schedule.definition.default_status == dg.DefaultScheduleStatus.RUNNING
    request = schedule.tick(datetime(2025, 11, 27, 3, 30, tzinfo=UTC))
    assert isinstance(request, dg.RunRequest) and request.run_key == "maintenance:2025-11-27"

    first = min((tmp_path / "lake" / "raw").rglob("snap-*.avro"), key=lambda p: p.stat().st_mtime_ns)
    first.rename(tmp_path / "away")
    with dg.instance_for_test() as instance:
        done = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not done.success
        [failure] = [e.step_failure_data.user_failure_data for e in done.all_events if e.is_step_failure]
        why = "1 of 3 tables could not be maintained: raw_test_things: raw_test_things cannot be maintained: "
        assert failure and str(failure.description).startswith(why)
        assert list(freed(done.all_events)) == [specs[1].sql_name, specs[2].sql_name]

        (tmp_path / "away").rename(first)
        done = job.execute_in_process(instance=instance)
        # 30 days ago: one snapshot, its list, manifest and data file; 20 days ago: the date's removal
        assert freed(done.all_events)["raw_test_things"].items() >= {"expired": 1, "files": 3}.items()
        assert freed(job.execute_in_process(instance=instance).all_events) == {}
    for spec in specs:
        assert adapters.lake.read(spec)["id"].to_pylist() == ["0"] and len(adapters.lake.commits(spec)) == 4


def test_a_retention_that_is_no_positive_number_is_refused() -> None:
    for days in (0, -1):
        with pytest.raises(ValidationError, match="keep_snapshots_days"):
            Settings(keep_snapshots_days=days)
