"""The state of every asset, from the stores and from Dagster's record of checks."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg
import pyarrow.compute as pc

from quantlake.contract import Dataset, QuantLakeError, Stream, Table
from quantlake.contract.catalog import Catalog
from quantlake.contract.suites import check_names
from quantlake.orchestration.assets import asset_key
from quantlake.orchestration.build import store_of
from quantlake.ports import Platform


@dataclass(frozen=True)
class AssetStatus:
    """One asset. ``rows`` are what its SQL name shows; ``last_commit`` is when its content last changed, UTC."""

    asset: str
    partitions: int
    rows: int
    first: date | None
    last: date | None
    last_commit: datetime | None
    last_check: str


def statuses(catalog: Catalog, platform: Platform, instance: dg.DagsterInstance) -> list[AssetStatus]:
    """Every asset, inputs first."""
    found = []
    for dataset in catalog.datasets:
        try:
            counts = visible_counts(dataset, platform)
        except QuantLakeError as error:
            found.append(AssetStatus(dataset.path, 0, 0, None, None, None, f"its store cannot be asked: {error}"))
            continue
        days = sorted(counts)
        found.append(AssetStatus(
            dataset.path, len(days), sum(counts.values()), days[0] if days else None, days[-1] if days else None,
            _last_commit(dataset, platform, instance), _last_check(dataset, instance),
        ))  # fmt: skip
    return found


def visible_counts(dataset: Dataset, platform: Platform) -> dict[date, int]:
    """Rows by date as the SQL name shows them: raw without dead letters, curated's latest versions."""
    hidden = "_error_class" if isinstance(dataset, Stream) else "superseded_at" if isinstance(dataset, Table) else None
    rows = store_of(dataset, platform).read(dataset.spec, None, ["partition_date", *([hidden] if hidden else [])])
    if hidden:
        rows = rows.filter(pc.is_null(rows[hidden]))
    counted = rows["partition_date"].value_counts()
    return {row["values"]: row["counts"] for row in counted.to_pylist()}


def _last_commit(dataset: Dataset, platform: Platform, instance: dg.DagsterInstance) -> datetime | None:
    if store_of(dataset, platform) is platform.lake:
        commit = platform.lake.last_commit(dataset.spec)
        return commit.committed_at if commit else None
    event = instance.get_latest_materialization_event(asset_key(dataset))
    return datetime.fromtimestamp(event.timestamp, UTC) if event else None


def _last_check(dataset: Dataset, instance: dg.DagsterInstance) -> str:
    keys = [dg.AssetCheckKey(asset_key(dataset), name) for name, _ in check_names(dataset)]
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    passed, failed, planned = 0, [], 0
    for key, record in records.items():
        event = record.event.dagster_event if record.event else None
        if event is None or event.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            planned += 1  # its run ended before it
            continue
        evaluation = event.asset_check_evaluation_data
        if evaluation.passed:
            passed += 1
        else:
            kind = "failed" if evaluation.blocking else "warned"
            failed.append(f"{key.name} {kind} on {evaluation.partition}")
    return "; ".join(failed) or (f"{passed} passed" if passed else "not reached by the last run" if planned else "none yet")
