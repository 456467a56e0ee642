"""A range run judges each date alone: what Dagster's event log says afterwards, over real stores."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from quantlake.contract.suites import EXACTLY_ONCE
from quantlake.datasets.market import trades
from quantlake.orchestration.assemble import assemble
from quantlake.orchestration.launcher import DIED
from quantlake.orchestration.refresh import QUIET, Refreshed, refresh
from quantlake.orchestration.status import statuses
from quantlake.orchestration.tags import RANGE_END, RANGE_START
from quantlake.wiring import Adapters
from quantlake_tests.orchestration.market import GRAPH, arrive, market, materializations, trade

DAYS = [date(2024, 3, 4) + timedelta(days=n) for n in range(4)]
BAD = DAYS[2]


@pytest.fixture
def adapters(home: Path) -> Iterator[Adapters]:
    with market(home) as found:
        arrive(found, *(trade(day, n, "-1" if (day, n) == (BAD, 3) else "10.25") for day in DAYS for n in range(5)))
        yield found


def test_good_dates_are_published_and_the_bad_one_fails_alone(adapters: Adapters) -> None:
    graph = assemble(GRAPH, lambda: adapters)
    assets = [a for a in graph.assets or () if isinstance(a, dg.AssetsDefinition)]
    tags = {RANGE_START: DAYS[0].isoformat(), RANGE_END: DAYS[-1].isoformat()}
    with dg.instance_for_test() as instance:
        result = dg.materialize(assets, instance=instance, tags=tags, raise_on_error=False, run_config=QUIET)
        assert not result.success
        good = {str(day): 1 for day in DAYS if day != BAD}
        assert materializations(instance, "raw/market/trades") == {str(day): 1 for day in DAYS}
        assert materializations(instance, "curated/market/trades") == good
        assert materializations(instance, "derived/market/bars_1m") == {}  # downstream of a failed step does not run
        logged = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        evaluations = [entry.get_dagster_event().asset_check_evaluation_data for entry in logged]
        checks = {e.partition: e.passed for e in evaluations if e.asset_key.path[0] == "curated" and e.check_name == "price_above_zero"}
        assert checks == {str(day): day != BAD for day in DAYS}
        assert sorted(adapters.lake.counts(trades.trades.spec)) == [day for day in DAYS if day != BAD]
        rejected = adapters.lake.read(trades.trades.rejected_spec).to_pylist()
        assert {(r["partition_date"], r["_run_id"]) for r in rejected} == {(BAD, result.run_id)}
        assert [r["trade_id"] for r in rejected if r["_check"]] == [f"{BAD}-3"]

        done = refresh(GRAPH, GRAPH.datasets, adapters, instance, landing=False)  # takes the good dates further
        assert [(path, day) for path, day, _ in done.rejected] == [("curated/market/trades", BAD)]
        for path in ("derived/market/bars_1m", "rollup/market/bars_1m", "feature/market/trade_activity"):
            assert materializations(instance, path) == good

        mended = datetime(2024, 3, 9, tzinfo=UTC)
        arrive(adapters, trade(BAD, 3, "11", mended))
        done = refresh(GRAPH, GRAPH.datasets, adapters, instance)
        # the correction's own history holds the bad version, which the latest view does not show
        assert not done.rejected and not done.errors
        assert materializations(instance, "rollup/market/bars_1m") == {str(day): 1 for day in DAYS}
        assert not refresh(GRAPH, GRAPH.datasets, adapters, instance).outcomes


def test_unchanged_content_is_not_committed(adapters: Adapters) -> None:
    with dg.instance_for_test() as instance:
        refresh(GRAPH, GRAPH.datasets, adapters, instance)
        specs = [d.spec for d in GRAPH.datasets if d.layer in ("curated", "derived", "feature")]
        before = [adapters.lake.last_commit(spec) for spec in specs]
        graph = assemble(GRAPH, lambda: adapters)
        assets = [a for a in graph.assets or () if isinstance(a, dg.AssetsDefinition)]
        assert dg.materialize(assets, instance=instance, partition_key=DAYS[0].isoformat(), run_config=QUIET).success
        assert [adapters.lake.last_commit(spec) for spec in specs] == before


def test_a_rejected_version_is_never_visible_not_even_as_known_then(adapters: Adapters) -> None:
    arrived, mended = datetime(2024, 3, 8, tzinfo=UTC), datetime(2024, 3, 9, tzinfo=UTC)
    with dg.instance_for_test() as instance:
        arrive(adapters, trade(DAYS[0], 1, "-7", arrived), trade(DAYS[0], 2, "11", arrived))
        done = refresh(GRAPH, GRAPH.datasets, adapters, instance)
        assert {day for _, day, _ in done.rejected} == {DAYS[0], BAD}
        arrive(adapters, trade(DAYS[0], 1, "-8", mended))
        arrive(adapters, trade(DAYS[0], 1, "12", mended))  # known at the same time as the bad one before it
        assert {day for _, day, _ in refresh(GRAPH, GRAPH.datasets, adapters, instance).rejected} == {BAD}
    rows = adapters.lake.read(trades.trades.spec, [DAYS[0]]).to_pylist()
    versions = {(r["trade_id"][-1], int(r["price"]), r["superseded_at"]) for r in rows if r["trade_id"][-1] in "12"}
    assert versions == {("1", 10, mended), ("1", 12, None), ("2", 10, arrived), ("2", 11, None)}


def test_a_rebuild_builds_each_date_once_however_often_it_is_cut_short(adapters: Adapters) -> None:
    good = [day for day in DAYS if day != BAD]
    curated, bars = (next(d for d in GRAPH.datasets if d.path == p) for p in ("curated/market/trades", "derived/market/bars_1m"))
    with dg.instance_for_test() as instance:

        def rebuild() -> Refreshed:
            return refresh(GRAPH, [curated, bars], adapters, instance, landing=False, span=(DAYS[0], DAYS[-1]), again=True)

        refresh(GRAPH, GRAPH.datasets, adapters, instance)
        first = rebuild()
        assert [o.partition for o in first.outcomes[curated.path]] == DAYS and first.resumed is None
        assert sorted(o.partition for o in first.outcomes[bars.path]) == good
        assert not any(o.changed for o in first.outcomes[bars.path])
        latest = instance.get_runs(limit=1)[0]
        instance.add_run_tags(latest.run_id, {DIED: "true"})  # as `reap` does for a run whose process was killed
        second = rebuild()
        assert second.resumed and bars.path not in second.outcomes
        assert [o.partition for o in second.outcomes[curated.path]] == [BAD]  # the one that is still to be done
        instance.add_run_tags(instance.get_runs(limit=1)[0].run_id, {DIED: "false"})
        assert sorted(o.partition for o in rebuild().outcomes[bars.path]) == good
        assert materializations(instance, bars.path) == {str(day): 3 for day in good}


def test_the_audit_of_the_topic_is_a_check_of_every_date(adapters: Adapters) -> None:
    graph = assemble(GRAPH, lambda: adapters)
    assets = [a for a in graph.assets or () if isinstance(a, dg.AssetsDefinition)]
    raw = dg.AssetKey(trades.raw.path.split("/"))
    assert graph.resolve_asset_graph().get_check_spec(dg.AssetCheckKey(raw, EXACTLY_ONCE)).blocking is False
    with dg.instance_for_test() as instance:

        def evaluated() -> dict[str | None, dg.AssetCheckEvaluation]:
            tags = {RANGE_START: DAYS[0].isoformat(), RANGE_END: DAYS[-1].isoformat()}
            result = dg.materialize(assets, selection=[raw], instance=instance, tags=tags, run_config=QUIET)
            assert result.success
            logged = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
            found = [entry.get_dagster_event().asset_check_evaluation_data for entry in logged]
            return {e.partition: e for e in found if e.check_name == EXACTLY_ONCE}

        sound = evaluated()
        assert sorted(map(str, sound)) == [str(day) for day in DAYS] and all(e.passed and not e.description for e in sound.values())
        figures = {name: value.value for name, value in sound[str(DAYS[0])].metadata.items()}
        assert {n: figures[n] for n in ("rows", "dead_letters", "duplicates", "gaps", "pending", "losses", "partitions")} == {
            "rows": 20, "dead_letters": 0, "duplicates": 0, "gaps": 0, "pending": 0, "losses": [], "partitions": 4,
        }  # fmt: skip
        assert [r["ranges"] for r in figures["ranges"] if r["ranges"]] == [[[0, 20]]] and len(figures["ranges"]) == 4

        rows = adapters.lake.read(trades.raw.spec)
        adapters.lake.publish(trades.raw.spec, DAYS, rows.filter([o != 7 for o in rows["_offset"].to_pylist()]))
        broken = evaluated()
        assert len(broken) == len(DAYS) and not any(e.passed or e.blocking for e in broken.values())
        (severity,), (reason,) = {e.severity for e in broken.values()}, {e.description for e in broken.values()}
        assert severity is dg.AssetCheckSeverity.ERROR and reason and "no row at [7, 8): 1 missing" in reason
        assert broken[str(DAYS[0])].metadata["gaps"].value == 1
        (status,) = [s for s in statuses(GRAPH, adapters, instance, broker=True) if s.asset == trades.raw.path]
        assert "exactly_once failed on 2024-03-0" in status.last_check and (status.lag, status.last_failure) == (0, "")
