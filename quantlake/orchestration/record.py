"""What Dagster recorded of each partition's latest build, and whether its inputs are still what it was built from.

Nothing else is kept for this: a materialization carries its data version and those of its inputs as tags.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from weakref import WeakKeyDictionary

import dagster as dg

from quantlake.contract import Dataset, Stream
from quantlake.orchestration.inputs import Versions, deciding, something
from quantlake.orchestration.landed import landed_outcomes
from quantlake.ports import Platform

DATA_VERSION = "dagster/data_version"
INPUT_VERSION = "dagster/input_data_version/"
EVENTS = 500  # events read by one query


@dataclass(frozen=True)
class Recorded:
    """The latest materialization of a partition: its run ("" outside any), its time (seconds since 1970), its tags."""

    run_id: str
    timestamp: float
    tags: Mapping[str, str]
    event: dg.AssetMaterialization

    @property
    def version(self) -> str:
        return self.tags.get(DATA_VERSION, "")

    def built_from(self, versions: Mapping[str, str]) -> bool:
        """Whether these data versions, by path, are the inputs it was built from."""
        return all(something(self.tags.get(INPUT_VERSION + path, "")) == version for path, version in versions.items())


def asset_key(dataset: Dataset) -> dg.AssetKey:
    return dg.AssetKey([dataset.layer, dataset.family, dataset.name])


def recorded(dataset: Dataset, instance: dg.DagsterInstance, dates: Collection[date] | None = None) -> dict[date, Recorded]:
    """The latest materialization of each partition (None: of all). Dagster indexes only the data version, so events are read, each once."""
    key = asset_key(dataset)
    partitions = {d.isoformat() for d in dates} if dates is not None else None
    if partitions is not None and len(partitions) > EVENTS:  # an expression of so many terms costs more than all
        partitions = None
    latest = instance.event_log_storage.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION, partitions)
    read = _read.setdefault(instance, {}).setdefault(dataset.path, {})
    ids = sorted(id_ for id_ in latest.values() if id_ not in read)
    for start in range(0, len(ids), EVENTS):
        wanted = dg.AssetRecordsFilter(key, storage_ids=ids[start : start + EVENTS])
        for record in instance.fetch_materializations(wanted, limit=EVENTS).records:
            event = record.asset_materialization
            if event and record.partition_key:
                read[record.storage_id] = Recorded(record.run_id, record.timestamp, event.tags or {}, event)
    if partitions is None:
        _read[instance][dataset.path] = {id_: read[id_] for id_ in latest.values() if id_ in read}
    return {date.fromisoformat(partition): read[id_] for partition, id_ in latest.items() if id_ in read}


_read: WeakKeyDictionary[dg.DagsterInstance, dict[str, dict[int, Recorded]]] = WeakKeyDictionary()
"""Materializations that this process has read, by asset and storage id: they never change, and a refresh asks for all several times."""


def runs_tagged(instance: dg.DagsterInstance, tag: str, value: str) -> set[str]:
    """The ids of the runs with a tag."""
    return {run.run_id for run in instance.get_runs(dg.RunsFilter(tags={tag: value}))}


def made_by(dataset: Dataset, instance: dg.DagsterInstance, runs: Collection[str], dates: Collection[date] | None = None) -> set[date]:
    """The partitions whose latest materialization is of one of these runs."""
    return {d for d, r in recorded(dataset, instance, dates).items() if r.run_id in runs}


def up_to_date(
    dataset: Dataset, dates: Collection[date], platform: Platform, instance: dg.DagsterInstance, since: float = 0.0
) -> set[date]:
    """Those of ``dates`` whose latest materialization, not before ``since`` (seconds since 1970), was built from what its inputs are;
    of a raw one, that shows what has landed. A date that has nothing to be built from and never was built is one of them."""
    known = recorded(dataset, instance, dates)
    mine = {d: r for d, r in known.items() if r.timestamp >= since}
    if isinstance(dataset, Stream):
        versions = {o.partition: o.version for o in landed_outcomes(dataset, list(mine), platform)}
        return {d for d, r in mine.items() if d in versions and r.version == versions[d]} & set(dates)
    inputs = Versions(dates)
    for read in dataset.reads:
        days = {n for d in dates for n in read.days(d)} if read.bounded else None
        if isinstance(read.dataset, Stream):
            landed = landed_outcomes(read.dataset, None if days is None else list(days), platform)
            inputs.add(read, {o.partition: o.version for o in landed}, deciding(read, platform), {o.partition for o in landed if o.rows})
        else:
            found = {} if read.by_row else {d: r.version for d, r in recorded(read.dataset, instance, days).items()}
            inputs.add(read, found, deciding(read, platform))
    built = {d for d, r in mine.items() if d in inputs.of and r.built_from(inputs.of[d])}
    return built | {d for d in dates if d not in known and d not in inputs.made}
