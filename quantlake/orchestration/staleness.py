"""What is missing or older than its inputs: the lake and the stores compared with what Dagster recorded of each build.

Nothing is kept for this: a materialization carries the data versions it was built from as tags.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg

from quantlake.contract import Dataset, Stream
from quantlake.contract.catalog import Catalog
from quantlake.orchestration.assets import DATA_VERSION, INPUT_VERSION, asset_key
from quantlake.orchestration.build import landed_outcomes
from quantlake.ports import Platform

EVENTS = 500  # events read by one query


@dataclass(frozen=True)
class Work:
    """Datasets (inputs first) to build over dates without a break."""

    datasets: tuple[Dataset, ...]
    first: date
    last: date


def stale(catalog: Catalog, selected: Sequence[Dataset], platform: Platform, instance: dg.DagsterInstance) -> dict[Dataset, set[date]]:
    """Dates of each selected built dataset that are missing or older than an input, or downstream of such."""
    today = datetime.now(UTC).date()
    current: dict[str, dict[date, str]] = {}
    for stream in catalog.streams:
        held = landed_outcomes(stream, None, platform)  # a date that holds dead letters alone has nothing to build from
        current[stream.path] = {o.partition: o.version for o in held if o.rows and stream.start <= o.partition <= today}
    wanted: dict[Dataset, set[date]] = {}
    chosen = {d.path for d in selected}
    for dataset in catalog.datasets:
        if isinstance(dataset, Stream):
            continue
        recorded = _recorded(dataset, instance)
        dates = {d for i in dataset.inputs for d in current[i.path] if dataset.start <= d}
        old = set()
        for day in dates:
            tags = recorded.get(day)
            if tags is None or any(tags.get(INPUT_VERSION + i.path) != current[i.path].get(day) for i in dataset.inputs):
                old.add(day)
        if dataset.path in chosen:
            old |= {d for i in dataset.inputs for d in wanted.get(i, ())}
            wanted[dataset] = old
        current[dataset.path] = {d: recorded[d].get(DATA_VERSION, "") if d in recorded else "" for d in dates}
    return {dataset: dates for dataset, dates in wanted.items() if dates}


def outside(catalog: Catalog, platform: Platform) -> dict[str, list[date]]:
    """Dates of landed rows that no partition has: before the stream's start or after today."""
    today = datetime.now(UTC).date()
    found = {s.path: [o.partition for o in landed_outcomes(s, None, platform) if o.rows] for s in catalog.streams}
    return {path: days for path, dates in found.items() if (days := [d for d in dates if not catalog[path].start <= d <= today])}


def grouped(wanted: dict[Dataset, set[date]]) -> list[Work]:
    """The fewest runs: dates that want the same datasets and follow one another are one."""
    by_day: dict[date, list[Dataset]] = {}
    for dataset, dates in wanted.items():
        for day in dates:
            by_day.setdefault(day, []).append(dataset)
    runs: list[Work] = []
    for day in sorted(by_day):
        datasets = tuple(by_day[day])
        last = runs[-1] if runs else None
        if last and last.datasets == datasets and (day - last.last).days == 1:
            runs[-1] = Work(datasets, last.first, day)
        else:
            runs.append(Work(datasets, day, day))
    return runs


def _recorded(dataset: Dataset, instance: dg.DagsterInstance) -> dict[date, Mapping[str, str]]:
    """The tags of each partition's latest materialization. Dagster indexes only the data version, so the events are read."""
    key = asset_key(dataset)
    latest = instance.event_log_storage.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    ids = sorted(latest.values())
    found: dict[date, Mapping[str, str]] = {}
    for start in range(0, len(ids), EVENTS):
        wanted = dg.AssetRecordsFilter(key, storage_ids=ids[start : start + EVENTS])
        for record in instance.fetch_materializations(wanted, limit=EVENTS).records:
            if record.asset_materialization and record.partition_key:
                found[date.fromisoformat(record.partition_key)] = record.asset_materialization.tags or {}
    return found
