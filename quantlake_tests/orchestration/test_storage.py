"""Events stored in a group are what Dagster would have stored one by one, and a group that fails stores nothing."""

import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.events.log import EventLogEntry

from quantlake.orchestration.storage import PooledSqliteEventLogStorage, grouped

KEY = dg.AssetKey(["curated", "market", "trades"])
DAYS = ("2024-03-04", "2024-03-05", "2024-03-06")


def entry(data: Any, kind: DagsterEventType, run_id: str, at: float) -> EventLogEntry:
    event = DagsterEvent(event_type_value=kind.value, job_name="job", step_key="step", event_specific_data=data)
    return EventLogEntry(None, "debug", "", run_id, at, step_key="step", job_name="job", dagster_event=event)


def events(run_id: str) -> list[EventLogEntry]:
    now = time.time()
    found = []
    for n, day in enumerate(DAYS):
        planned = AssetMaterializationPlannedData(KEY, partition=day)
        found.append(entry(planned, DagsterEventType.ASSET_MATERIALIZATION_PLANNED, run_id, now + n / 10))
        for name, passed in (("schema", True), ("in_range", day != DAYS[1])):
            check = dg.AssetCheckEvaluation(KEY, name, passed, partition=day)
            found.append(entry(check, DagsterEventType.ASSET_CHECK_EVALUATION, run_id, now + n / 10))
        made = dg.AssetMaterialization(KEY, partition=day, tags={"dagster/data_version": f"v{n}"}, metadata={"rows": n})
        found.append(entry(StepMaterializationData(made), DagsterEventType.ASSET_MATERIALIZATION, run_id, now + n / 10))
    return found


def seen(storage: PooledSqliteEventLogStorage, run_id: str) -> dict[str, Any]:
    """All that is asked of an event log, without the ids of its rows."""
    checks = {
        name: [
            (r.partition, r.status.value, r.run_id, r.event.timestamp if r.event else None)
            for r in storage.get_asset_check_execution_history(dg.AssetCheckKey(KEY, name), 10)
        ]
        for name in ("schema", "in_range")
    }
    records = storage.fetch_materializations(dg.AssetRecordsFilter(KEY), limit=10).records
    (asset,) = storage.get_asset_records([KEY])
    last = asset.asset_entry.last_materialization_record
    return {
        "checks": checks,
        "made": [(r.partition_key, r.timestamp, r.asset_materialization.tags, r.run_id) for r in records if r.asset_materialization],
        "newest": sorted(storage.get_latest_storage_id_by_partition(KEY, DagsterEventType.ASSET_MATERIALIZATION)),
        "tags": storage.get_latest_tags_by_partition(KEY, DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]),
        "last": last.partition_key if last else None,
        "log": [(e.dagster_event_type, e.timestamp) for e in storage.get_logs_for_run(run_id)],
    }


@pytest.fixture
def storages(tmp_path: Path) -> list[PooledSqliteEventLogStorage]:
    return [PooledSqliteEventLogStorage(str(tmp_path / name)) for name in ("single", "grouped")]


def test_a_group_stores_what_single_events_do(storages: list[PooledSqliteEventLogStorage]) -> None:
    stored = events("11111111-1111-1111-1111-111111111111")
    single, many = storages
    for event in stored:
        single.store_event(event)
    with grouped(many):
        for event in stored:
            many.store_event(event)
    ours, theirs = seen(many, stored[0].run_id), seen(single, stored[0].run_id)
    assert ours == theirs
    assert ours["tags"] == {day: {"dagster/data_version": f"v{n}"} for n, day in enumerate(DAYS)} and len(ours["log"]) == len(stored)


def test_planned_checks_are_updated_not_added(storages: list[PooledSqliteEventLogStorage]) -> None:
    run_id = "22222222-2222-2222-2222-222222222222"
    from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned

    planned = entry(AssetCheckEvaluationPlanned(asset_key=KEY, check_name="schema"), DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, run_id, time.time())
    done = entry(dg.AssetCheckEvaluation(KEY, "schema", True), DagsterEventType.ASSET_CHECK_EVALUATION, run_id, time.time())
    for storage in storages:
        storage.store_event(planned)
    storages[0].store_event(done)
    with grouped(storages[1]):
        storages[1].store_event(done)
    histories = [s.get_asset_check_execution_history(dg.AssetCheckKey(KEY, "schema"), 10) for s in storages]
    assert [[(r.status.value, r.partition) for r in h] for h in histories] == [[("SUCCEEDED", None)]] * 2


def test_a_group_that_fails_stores_nothing_and_the_next_one_all(storages: list[PooledSqliteEventLogStorage]) -> None:
    storage, stored = storages[1], events("33333333-3333-3333-3333-333333333333")
    with pytest.raises(RuntimeError), grouped(storage):
        storage.store_event(stored[3])
        raise RuntimeError
    assert storage.get_logs_for_run(stored[0].run_id) == []
    storage.store_event_batch(stored)
    assert len(storage.get_logs_for_run(stored[0].run_id)) == len(stored)
