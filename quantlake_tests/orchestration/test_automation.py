"""The sensors and the sweep, tick by tick, over real stores: what they request, and that a request repeats nothing."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from quantlake.orchestration.assemble import assemble
from quantlake.orchestration.assets import report_landing
from quantlake.orchestration.automation import ACTIVE
from quantlake.orchestration.refresh import QUIET
from quantlake.orchestration.tags import RANGE_END, RANGE_START
from quantlake.ports import Message
from quantlake.wiring import Adapters
from quantlake_tests.orchestration.market import BUILT, GRAPH, arrive, market, materializations, trade

FRIDAY = date(2024, 3, 8)
DAYS = [date(2024, 3, 4) + timedelta(days=n) for n in range(3)]


class Daemon:
    """Ticks as Dagster's daemon makes them, and the runs they ask for, executed here."""

    def __init__(self, adapters: Adapters, instance: dg.DagsterInstance) -> None:
        self.adapters, self.instance = adapters, instance
        self.graph = assemble(GRAPH, lambda: adapters)
        self.repository = self.graph.get_repository_def()
        self.cursors: dict[str, str | None] = {}
        self.message: str | None = None

    def land(self) -> None:
        """What the resident lander does."""
        from quantlake.landing.land import land

        a = self.adapters
        stream = GRAPH.streams[0]
        land(stream, broker=a.broker, registry=a.registry, lake=a.lake, report=report_landing(self.instance, a))

    def tick(self, name: str) -> list[tuple[str, str, str]]:
        """The ranges that a sensor requests: assets, first and last date; none of them run yet."""
        self.requests = self._tick(name)
        return [
            ("+".join("/".join(k.path) for k in r.asset_selection or ()), r.tags[RANGE_START], r.tags[RANGE_END]) for r in self.requests
        ]

    def _tick(self, name: str) -> Sequence[dg.RunRequest]:
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursors.get(name), repository_def=self.repository) as context:
            found = self.repository.get_sensor_def(name).evaluate_tick(context)
        self.cursors[name], self.message = found.cursor, found.skip_message
        return found.run_requests or []

    def run(self) -> list[bool]:
        assets = [a for a in self.graph.assets or () if isinstance(a, dg.AssetsDefinition)]
        return [
            dg.materialize(
                assets, selection=dg.AssetSelection.assets(*(r.asset_selection or ())).without_checks(), instance=self.instance,
                tags=dict(r.tags), raise_on_error=False, run_config=QUIET,
            ).success
            for r in self.requests
        ]  # fmt: skip


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    with market(home) as adapters, dg.instance_for_test() as instance:
        yield Daemon(adapters, instance)


def test_landing_requests_what_is_built_from_the_touched_dates_once(daemon: Daemon) -> None:
    assert daemon.tick("new_data") == [] and "nothing has landed" in str(daemon.message)
    arrive(daemon.adapters, *(trade(day, n) for day in DAYS for n in range(3)))
    daemon.land()
    before = daemon.cursors["new_data"]
    assert daemon.tick("new_data") == [("+".join(BUILT), "2024-03-04", "2024-03-06")]
    keys = [r.run_key for r in daemon.requests]
    daemon.cursors["new_data"] = before  # the daemon died before it kept the cursor
    assert daemon.tick("new_data") and [r.run_key for r in daemon.requests] == keys
    assert daemon.run() == [True]
    assert all(materializations(daemon.instance, path) == {str(d): 1 for d in DAYS} for path in BUILT)
    assert daemon.tick("new_data") == [] and daemon.tick("changed_inputs") == []

    daemon.adapters.broker.produce(GRAPH.streams[0].topic, [Message(b"ACME", b"no frame")])
    daemon.land()
    assert daemon.tick("new_data") == []  # nothing is built from a dead letter

    arrive(daemon.adapters, trade(DAYS[0], 7), trade(DAYS[2], 1))  # a late row and an exact repeat
    daemon.land()
    assert daemon.tick("new_data") == [("+".join(BUILT), "2024-03-04", "2024-03-04"), ("+".join(BUILT), "2024-03-06", "2024-03-06")]
    assert daemon.run() == [True, True]
    repeated = {"curated/market/trades": 2}  # looked at, found to be the same; nothing below it was built
    for path in BUILT:
        expected = {"2024-03-04": 2, "2024-03-05": 1, "2024-03-06": repeated.get(path, 1)}
        assert materializations(daemon.instance, path) == expected, path
    assert daemon.tick("changed_inputs") == [] and daemon.tick("new_data") == []


def test_dates_of_a_request_that_is_going_wait_and_a_weekend_is_no_gap(daemon: Daemon) -> None:
    arrive(daemon.adapters, trade(FRIDAY, 1), trade(FRIDAY + timedelta(days=3), 1), trade(FRIDAY + timedelta(days=400), 1))
    daemon.land()
    assert [r[1:] for r in daemon.tick("new_data")] == [("2024-03-08", "2024-03-11"), ("2025-04-12", "2025-04-12")]
    going = dict(daemon.requests[0].tags)
    run = dg.DagsterRun(job_name="any", run_id=str(uuid.uuid4()), tags=going, status=dg.DagsterRunStatus.STARTED)
    daemon.instance.add_run(run)
    arrive(daemon.adapters, trade(FRIDAY, 2))
    daemon.land()
    assert run.status in ACTIVE and daemon.tick("new_data") == [] and "wait for an earlier request" in str(daemon.message)
    daemon.instance.report_run_canceled(run)
    assert [r[1:] for r in daemon.tick("new_data")] == [("2024-03-08", "2024-03-08")]
    assert daemon.run() == [True] and daemon.tick("new_data") == []


def test_conditions_take_late_dates_as_ranges_and_ignore_what_did_not_change(daemon: Daemon) -> None:
    arrive(daemon.adapters, *(trade(day, n) for day in DAYS for n in range(2)))
    daemon.land()
    daemon.tick("changed_inputs")
    daemon.tick("new_data")
    daemon.requests = [r.with_replaced_attrs(asset_selection=[dg.AssetKey(["curated", "market", "trades"])]) for r in daemon.requests]
    assert daemon.run() == [True]  # curated alone, as a person may build it
    assert daemon.tick("changed_inputs") == [("derived/market/bars_1m+feature/market/trade_activity+rollup/market/bars_1m", "2024-03-04", "2024-03-06")]
    assert daemon.run() == [True]
    assert daemon.tick("changed_inputs") == [] and daemon.tick("changed_inputs") == []
    assert "nothing has happened" in str(daemon.message)
    assert all(materializations(daemon.instance, path) == {str(d): 1 for d in DAYS} for path in BUILT)


def test_the_sweep_takes_what_failed_and_what_nobody_requested(daemon: Daemon) -> None:
    arrive(daemon.adapters, *(trade(day, 1, "-1" if day == DAYS[1] else "10") for day in DAYS))
    daemon.land()
    daemon.tick("new_data")
    assert daemon.run() == [False]
    assert materializations(daemon.instance, "curated/market/trades") == {"2024-03-04": 1, "2024-03-06": 1}
    sweep = daemon.repository.get_schedule_def("sweep")

    def requested() -> list[dg.RunRequest]:
        with dg.build_schedule_context(
            instance=daemon.instance, repository_def=daemon.repository, scheduled_execution_time=datetime(2024, 3, 7, 0, 50, tzinfo=UTC)
        ) as context:
            return list(sweep.evaluate_tick(context).run_requests or [])

    daemon.requests = requested()
    assert [(len(r.asset_selection or ()), r.tags[RANGE_START], r.tags[RANGE_END]) for r in daemon.requests] == [
        (3, "2024-03-04", "2024-03-04"), (4, "2024-03-05", "2024-03-05"), (3, "2024-03-06", "2024-03-06"),
    ]  # fmt: skip
    assert daemon.run() == [True, False, True]
    arrive(daemon.adapters, trade(DAYS[1], 1, "11", datetime.now(UTC)))
    daemon.land()
    daemon.requests = requested()
    assert daemon.run() == [True] and requested() == []
    assert all(materializations(daemon.instance, path) == {str(d): 1 for d in DAYS} for path in BUILT)


def test_what_a_dead_lander_did_not_live_to_report_is_reported_by_the_next(daemon: Daemon) -> None:
    from quantlake.landing.land import land

    a, stream, raw = daemon.adapters, GRAPH.streams[0], GRAPH.streams[0].path
    arrive(a, *(trade(day, 0) for day in DAYS))
    daemon.land()
    arrive(a, trade(DAYS[1], 1))
    land(stream, broker=a.broker, registry=a.registry, lake=a.lake)  # committed, and nobody was told
    before = materializations(daemon.instance, raw)
    report_landing(daemon.instance, a, [stream])
    after = materializations(daemon.instance, raw)
    assert after == before | {str(DAYS[1]): before[str(DAYS[1])] + 1}
    report_landing(daemon.instance, a, [stream])
    assert materializations(daemon.instance, raw) == after, "what is reported is not reported again"
