"""The state of every asset, from the stores, the broker and Dagster's record."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg
import pyarrow.compute as pc

from quantlake.contract import Dataset, QuantLakeError, Stream, Table
from quantlake.contract.catalog import Catalog
from quantlake.contract.suites import check_names
from quantlake.landing.audit import pending
from quantlake.orchestration.build import store_of
from quantlake.orchestration.record import asset_key
from quantlake.orchestration.staleness import state
from quantlake.orchestration.why import last_failure
from quantlake.ports import Platform


@dataclass(frozen=True)
class AssetStatus:
    """One asset. ``rows`` are what its SQL name shows; ``last_commit`` is when its content last changed, UTC.

    ``missing`` and ``stale`` count the dates that have rows in the streams and were never built, or not from what the inputs are
    now; ``lag`` is how many messages on the broker have not landed (streams; None: no broker answers).
    """

    asset: str
    partitions: int
    rows: int
    first: date | None
    last: date | None
    missing: int
    stale: int
    lag: int | None
    last_commit: datetime | None
    last_check: str
    last_failure: str


def statuses(catalog: Catalog, platform: Platform, instance: dg.DagsterInstance, *, broker: bool) -> list[AssetStatus]:
    """Every asset, inputs first. ``broker``: whether one answers."""
    wanted = state(catalog, catalog.datasets, platform, instance)
    found = []
    for dataset in catalog.datasets:
        behind = (len(wanted.missing.get(dataset.path, ())), len(wanted.older.get(dataset.path, ())))
        try:
            counts = visible_counts(dataset, platform)
        except QuantLakeError as error:
            reason = f"its store cannot be asked: {error}"
            found.append(AssetStatus(dataset.path, 0, 0, None, None, *behind, None, None, reason, ""))
            continue
        days = sorted(counts)
        found.append(AssetStatus(
            dataset.path, len(days), sum(counts.values()), days[0] if days else None, days[-1] if days else None, *behind,
            _lag(dataset, platform) if broker and isinstance(dataset, Stream) else None,
            _last_commit(dataset, platform, instance), _last_check(dataset, instance), _failure(dataset, instance),
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


def _lag(stream: Stream, platform: Platform) -> int | None:
    try:
        return pending(stream, lake=platform.lake, broker=platform.broker)
    except QuantLakeError:
        return None


def _failure(dataset: Dataset, instance: dg.DagsterInstance) -> str:
    failure = last_failure(dataset, instance)
    return f"{failure.partition} {failure.check}: {failure.reason} ({failure.at:%Y-%m-%d %H:%M})" if failure else ""


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
            kind = "failed" if evaluation.severity is dg.AssetCheckSeverity.ERROR else "warned"
            failed.append(f"{key.name} {kind} on {evaluation.partition}")
    return "; ".join(failed) or (f"{passed} passed" if passed else "not reached by the last run" if planned else "none yet")
