"""Why a partition is as it is: from what it was built, when, by whom, what is newer, and what rejected it since."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from quantlake.contract import Dataset, Stream
from quantlake.contract.catalog import Catalog
from quantlake.contract.suites import check_names
from quantlake.orchestration.build import store_of
from quantlake.orchestration.inputs import Versions, deciding, something
from quantlake.orchestration.landed import landed_outcomes
from quantlake.orchestration.record import DATA_VERSION, INPUT_VERSION, Recorded, asset_key, recorded
from quantlake.ports import Platform


@dataclass(frozen=True)
class Input:
    """An input of a build: the data version and snapshot used, and the version that it has now ("" = none)."""

    asset: str
    used: str
    snapshot_id: str | None
    now: str

    @property
    def newer(self) -> bool:
        return something(self.used) != self.now


@dataclass(frozen=True)
class Failure:
    """A blocking check that failed: when (UTC), which, what it found, in which run."""

    at: datetime
    check: str
    reason: str
    run_id: str
    partition: date


@dataclass(frozen=True)
class Why:
    """A partition explained. ``state`` is one of: built, older than its inputs, never built, no rows. Times are UTC."""

    asset: str
    partition: date
    state: str
    built_at: datetime | None = None
    requested_by: str | None = None
    run_id: str | None = None
    rows: int | None = None
    content_changed: bool | None = None
    data_version: str | None = None
    snapshot_id: str | None = None
    inputs: list[Input] = field(default_factory=list)
    raw_offsets: list[dict[str, Any]] = field(default_factory=list)
    landed_since: list[dict[str, Any]] = field(default_factory=list)
    rejected: Failure | None = None


def why(dataset: Dataset, day: date, catalog: Catalog, platform: Platform, instance: dg.DagsterInstance) -> list[Why]:
    """The partition of a dataset and, before it, those that it is built from, streams first."""
    above = {dataset.path}
    for d in reversed(catalog.datasets):
        if d.path in above:
            above |= {i.path for i in d.inputs}
    chain = [d for d in catalog.datasets if d.path in above]
    around = {d.path: {day} for d in chain}
    for d in chain:
        for read in d.reads:
            around[read.dataset.path] |= set(read.days(day, store_of(read.dataset, platform).counts(read.dataset.spec) if not read.bounded else ()))
    landings = {d.path: landed_outcomes(d, sorted(around[d.path]), platform) for d in chain if isinstance(d, Stream)}
    landed = {path: next(o for o in outcomes if o.partition == day) for path, outcomes in landings.items()}
    records = {d.path: recorded(d, instance, around[d.path]) for d in chain}
    known = {path: found[day] for path, found in records.items() if day in found}
    now = {path: {d: r.version for d, r in found.items()} for path, found in records.items()}
    now |= {path: {o.partition: o.version for o in outcomes if o.offsets} for path, outcomes in landings.items()}
    explained = []
    for d in chain:
        found = known.get(d.path)
        held = [vars(o) for o in landed[d.path].offsets] if isinstance(d, Stream) else None
        rejected = last_failure(d, instance, day)
        if found is None:
            state = "no rows" if not any(o.rows for s in catalog.roots(d) for o in landings[s.path]) else "never built"
            explained.append(Why(d.path, day, state, raw_offsets=held or [], rejected=rejected))
            continue
        inputs = Versions([day])
        for r in d.reads:
            inputs.add(r, now[r.dataset.path], deciding(r, platform))
        explained.append(_explained(d, day, found, now, inputs.of[day], held, rejected))
    return explained


def last_failure(dataset: Dataset, instance: dg.DagsterInstance, day: date | None = None) -> Failure | None:
    """The latest failure of a blocking check (on a date, if given) after which the partition was not built."""
    latest: Failure | None = None
    partition = PartitionKeyFilter(key=day.isoformat()) if day else None
    for name, blocking in check_names(dataset):
        if not blocking:
            continue
        key = dg.AssetCheckKey(asset_key(dataset), name)
        failed = {AssetCheckExecutionRecordStatus.FAILED}
        for record in instance.event_log_storage.get_asset_check_execution_history(key, 1, status=failed, partition_filter=partition):
            event = record.event.dagster_event if record.event else None
            if event is None or record.event is None or (latest and record.event.timestamp <= latest.at.timestamp()):
                continue
            evaluation = event.asset_check_evaluation_data
            if evaluation.partition and evaluation.description != "not reached":
                at = datetime.fromtimestamp(record.event.timestamp, UTC)
                latest = Failure(at, name, evaluation.description or "", record.run_id, date.fromisoformat(evaluation.partition))
    if latest is None:
        return None
    built = recorded(dataset, instance, [latest.partition]).get(latest.partition)
    return None if built and built.timestamp > latest.at.timestamp() else latest


def _explained(
    dataset: Dataset, day: date, found: Recorded, now: Mapping[str, Mapping[date, str]], versions: Mapping[str, str],
    held: list[dict[str, Any]] | None, rejected: Failure | None,
) -> Why:  # fmt: skip
    metadata: dict[str, Any] = {name: value.value for name, value in found.event.metadata.items()}
    snapshots = metadata.get("inputs", {})
    inputs = [
        Input(path, found.tags.get(INPUT_VERSION + path, ""), snapshots.get(path, {}).get("snapshot_id"), version)
        for path, version in versions.items()
    ]
    used = metadata.get("raw_offsets", [])
    stale = any(i.newer for i in inputs) or (held is not None and found.tags.get(DATA_VERSION) != now[dataset.path].get(day, found.version))
    return Why(
        dataset.path, day, "older than its inputs" if stale else "built", datetime.fromtimestamp(found.timestamp, UTC),
        metadata.get("requested_by"), found.run_id or None, metadata.get("dagster/row_count"), metadata.get("content_changed"), found.version,
        metadata.get("snapshot_id"), inputs, used, [span for span in held or [] if span not in used], rejected,
    )  # fmt: skip
