"""Build, judge, publish: one dataset over some dates, whatever its kind; no Dagster here.

Each date is judged alone, before anything of it is visible. Good dates whose content changed are published in one commit, bad
ones go to the rejected table with run, check and reason.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract import Built, Dataset, Derived, EmbeddingIndex, FeatureView, Rollup, Stream, Table
from quantlake.contract import Rows as Checked
from quantlake.contract.compute import compute_each, visible
from quantlake.contract.fingerprint import EMPTY, fingerprints
from quantlake.contract.suites import EQUALS_DERIVED, SCHEMA, check_names
from quantlake.landing.audit import COORDINATES
from quantlake.landing.logs import Logs
from quantlake.orchestration.inputs import Versions, deciding, seen
from quantlake.ports import CheckResult, PartitionStore, Platform

CHUNK_ROWS = 500_000  # input rows held at once: 0.6 GB of trades
CHUNK_DATES = 250
NOT_READ = ("_error", "_value")  # of dead letters alone
OF_A_ROW = ("not_null", "in_range", "allowed_values", "ordered")


@dataclass(frozen=True)
class Used:
    """An input as it was read: the date's data version, and the table's snapshot where its store is the lake."""

    version: str
    snapshot_id: int | None


@dataclass(frozen=True)
class Offsets:
    """The records of a raw partition that came from one Kafka partition of one log: ``first`` to ``last`` inclusive, so many."""

    log: str
    partition: int
    first: int
    last: int
    records: int


@dataclass(frozen=True)
class Outcome:
    """What became of one date: its content's data version and table snapshot, the inputs used (by path), the raw offsets they hold.

    ``rows`` is what its SQL name shows; ``changed`` whether content was committed.
    """

    partition: date
    rows: int
    version: str
    results: Sequence[CheckResult]
    changed: bool = False
    inputs: Mapping[str, "Used"] = field(default_factory=dict)
    offsets: Sequence["Offsets"] = ()
    snapshot_id: int | None = None
    preview: pa.Table | None = None

    @property
    def good(self) -> bool:
        return all(r.passed or not r.blocking for r in self.results)

    @property
    def why(self) -> str:
        """What the failed blocking checks found; "" where it is good."""
        return "; ".join(f"{r.check}: {r.reason}" for r in self.results if r.blocking and not r.passed)


def store_of(dataset: Dataset, platform: Platform) -> PartitionStore:
    """The store that holds a dataset's rows."""
    if isinstance(dataset, Rollup):
        return platform.olap
    return platform.vectors if isinstance(dataset, EmbeddingIndex) else platform.lake


def build(dataset: Dataset, dates: Sequence[date], platform: Platform, run_id: str) -> Iterator[list[Outcome]]:
    """Build, judge and publish every date, in chunks of bounded memory; yields the outcomes of each chunk once it is done."""
    store_of(dataset, platform).ensure(dataset.spec)
    for chunk in _chunks(dataset, dates, platform):
        with store_of(dataset, platform).lock(dataset.spec):
            outcomes = _build_chunk(dataset, chunk, platform, run_id)
        yield outcomes


def offsets_of(held: pa.Table) -> dict[date, dict[tuple[str, int], Offsets]]:
    """Which records of which Kafka partition each date of raw rows holds, by (log, partition)."""
    place = ["partition_date", "_log", "_partition"]
    offset = pl.col("_offset")
    spans = pl.DataFrame(held.select([*place, "_offset"])).group_by(place).agg(offset.min().alias("first"), offset.max().alias("last"), pl.len())
    found: dict[date, dict[tuple[str, int], Offsets]] = {}
    for day, log, partition, *span in spans.iter_rows():
        found.setdefault(day, {})[log, partition] = Offsets(log, partition, *span)
    return found


def _chunks(dataset: Dataset, dates: Sequence[date], platform: Platform) -> Iterator[list[date]]:
    if len(dates) == 1 or (isinstance(dataset, Derived) and dataset.carries):  # a date carries on from what the one before published
        yield from ([d] for d in sorted(dates))
        return
    counts: Counter[date] = Counter()
    for read in dataset.reads:
        if read.makes != "none":
            counts.update(store_of(read.dataset, platform).counts(read.dataset.spec))
    yield from bounded(sorted(dates), counts, CHUNK_ROWS, CHUNK_DATES)


def bounded(dates: Sequence[date], counts: Mapping[date, int], most_rows: int, most_dates: int | None) -> Iterator[list[date]]:
    """Dates in chunks of at most so many rows (one date at least)."""
    chunk: list[date] = []
    held = 0
    for day in dates:
        rows = counts.get(day, 0)
        if chunk and (held + rows > most_rows or len(chunk) == most_dates):
            yield chunk
            chunk, held = [], 0
        chunk.append(day)
        held += rows
    if chunk:
        yield chunk


def _build_chunk(dataset: Dataset, dates: list[date], platform: Platform, run_id: str) -> list[Outcome]:
    store = store_of(dataset, platform)
    offered, used, offsets = _read_inputs(dataset, dates, platform)
    candidates, broken = _candidates(dataset, dates, offered, store, platform)
    if isinstance(dataset, Table) and (bad := _bad_history(dataset, candidates, [d for d in dates if d not in broken], platform)) is not None:
        candidates, broken = _candidates(dataset, dates, offered, store, platform, bad)
    versions = isinstance(dataset, Table) and candidates["superseded_at"].null_count < candidates.num_rows  # a filter is a copy
    judged = candidates.filter(pc.is_null(candidates["superseded_at"])) if versions else candidates
    sound = [d for d in dates if d not in broken]
    results = platform.quality.judge(dataset, judged, sound) if sound else {}
    for day in sound:
        results[day].insert(0, CheckResult(SCHEMA, passed=True, blocking=True))
    if isinstance(dataset, Rollup) and dataset.equals:
        for day, result in _equals(dataset, judged, offered[1], sound).items():
            results[day].append(result)
    for day, reason in broken.items():
        results[day] = _unbuilt(dataset, reason)

    candidates, shown = visible(dataset, candidates), visible(dataset, judged)
    now = fingerprints(candidates, dataset.stored_columns)
    held = store.read(dataset.spec, dates)
    stored = fingerprints(held, dataset.stored_columns)
    outcomes = []
    by_day = {d: shown.filter(pc.equal(shown["partition_date"], pa.scalar(d))) for d in dates} if len(dates) > 1 else {dates[0]: shown}
    for day in dates:
        version, rows = now.get(day, EMPTY), by_day[day]
        before = stored.get(day, EMPTY)
        outcomes.append(Outcome(
            day, rows.num_rows, version.hash, results[day], version != before, {p: v[day] for p, v in used.items()}, offsets.get(day, []),
            preview=rows.slice(0, 5),
        ))  # fmt: skip
    publish = [o.partition for o in outcomes if o.good and o.changed]
    if publish:
        if isinstance(dataset, FeatureView):
            _withdraw(dataset, publish, held, candidates, platform)
        store.publish(dataset.spec, publish, _of(candidates, publish))
    if store is platform.lake and (commit := platform.lake.last_commit(dataset.spec)):
        outcomes = [replace(o, snapshot_id=commit.snapshot_id) if o.good else o for o in outcomes]
    if isinstance(dataset, FeatureView):
        good = [o.partition for o in outcomes if o.good]
        platform.features.apply([dataset])
        platform.features.write_online(dataset, _of(candidates, good))
    _reject(dataset, outcomes, judged, platform, run_id)
    return outcomes


def _withdraw(view: FeatureView, dates: list[date], held: pa.Table, candidates: pa.Table, platform: Platform) -> None:
    """Rows that these dates are about to lose must not stay online."""
    place = [*view.entities, "event_time", "known_at"]
    gone = pl.DataFrame(_of(held, dates)).join(pl.DataFrame(candidates), on=place, how="anti")
    if not gone.height:
        return

    def remaining() -> pa.Table:
        rows = platform.lake.read(view.spec)
        others = rows.filter(pc.invert(pc.is_in(rows["partition_date"], pa.array(dates, pa.date32()))))
        return pa.concat_tables([others, _of(candidates, dates)])

    platform.features.apply([view])
    platform.features.withdraw(view, gone.to_arrow(), remaining)


def _read_inputs(
    dataset: Dataset, dates: list[date], platform: Platform
) -> tuple[list[pa.Table], dict[str, dict[date, Used]], dict[date, list[Offsets]]]:
    """Each input's rows as its readers see them (raw: decodable, in arrival order; curated: latest), what was used, raw offsets."""
    frames: list[pa.Table] = []
    versions, snapshots = Versions(dates), dict[str, int | None]()
    offsets: dict[date, list[Offsets]] = {}
    for read in dataset.reads:
        i = read.dataset
        store, snapshot_id = store_of(i, platform), None
        if store is platform.lake:
            commit = platform.lake.last_commit(i.spec)
            snapshot_id = commit.snapshot_id if commit else None
        whole = read.by_row or (isinstance(i, Table) and i.versions == "across")
        held = () if whole or read.bounded else store.counts(i.spec)
        days = None if whole else sorted({n for d in dates for n in read.days(d, held)})
        if store is platform.lake:
            columns = [c.name for c in i.stored_columns if c.name not in NOT_READ] if isinstance(i, Stream) else None
            stored = platform.lake.read(i.spec, days, columns, snapshot_id=snapshot_id)
        else:
            stored = store.read(i.spec, days)
        # of the very rows read: a landing between two reads would be recorded as built from, and never be
        found = {} if read.by_row else fingerprints(stored, COORDINATES if isinstance(i, Stream) else i.stored_columns)
        rows = seen(read, stored)
        decide = deciding(read, platform, stored, snapshot_id)
        versions.add(read, {d: f.hash for d, f in found.items()}, decide)
        snapshots[i.path] = snapshot_id
        if isinstance(i, Stream):
            for day, spans in offsets_of(stored).items():
                offsets.setdefault(day, []).extend(spans[place] for place in sorted(spans))
            if read.editions and decide is not None:
                stored = _with_their_files(i, stored, dates, decide, platform, snapshot_id)
            rows = _arrivals(i, stored, Logs.parse(platform.lake.properties(i.spec)))
        frames.append(rows)
    used = {path: {d: Used(versions.of[d][path], snapshot_id) for d in dates} for path, snapshot_id in snapshots.items()}
    return frames, used, offsets


def _with_their_files(
    stream: Stream, stored: pa.Table, dates: list[date], several: pa.Table, platform: Platform, snapshot_id: int | None
) -> pa.Table:
    """Raw rows of some dates, and of the files with several editions among them all rows of other dates."""
    names = pl.DataFrame(several).filter(pl.col("partition_date").is_in(dates))["source_name"].unique()
    if not len(names):
        return stored
    every = platform.lake.read(stream.spec, None, stored.column_names, snapshot_id=snapshot_id)
    others = pc.and_(pc.is_in(every["source_name"], names.to_arrow()), pc.invert(pc.is_in(every["partition_date"], pa.array(dates, pa.date32()))))
    return pa.concat_tables([stored, every.filter(others)])


def _arrivals(stream: Stream, stored: pa.Table, logs: Logs) -> pa.Table:
    """Decodable raw rows in the order in which they arrived; no dead letters, and tombstones only where they delete."""
    seen = pl.col("_schema_id").is_not_null() | (stream.tombstones == "delete")
    rows = pl.DataFrame(stored).filter(pl.col("_error_class").is_null() & seen)
    order = {log.id: i for i, log in enumerate(logs.logs)}
    if rows.height:
        place = pl.col("_log").replace_strict(order, default=len(order), return_dtype=pl.Int64)
        rows = rows.sort("_timestamp", place, "_partition", "_offset")
    return rows.to_arrow()


def _candidates(
    dataset: Dataset, dates: list[date], offered: list[pa.Table], store: PartitionStore, platform: Platform, without: pa.Table | None = None
) -> tuple[pa.Table, dict[date, str]]:
    """The rows of every date that could be built, and why the others could not."""
    if isinstance(dataset, Rollup):
        return platform.olap.transform(dataset.sql, {"input": offered[0]}, dataset.spec.arrow), {}
    if isinstance(dataset, EmbeddingIndex):
        return _embedded(dataset, offered[0], store.read(dataset.spec, dates), platform), {}
    assert isinstance(dataset, Built)
    rows, broken = compute_each(dataset, [pl.DataFrame(table) for table in offered], dates, without)
    return rows, {day: f"{type(error).__name__}: {error}" for day, error in broken.items()}


def _bad_history(dataset: Table, candidates: pa.Table, dates: list[date], platform: Platform) -> pa.Table | None:
    """Superseded versions that a blocking check of a row's own values rejects: mended since, they were never visible, and are not then."""
    history = candidates.filter(pc.is_valid(candidates["superseded_at"]))
    if not history.num_rows:
        return None
    of_a_row = {*OF_A_ROW, *(c.name for c in dataset.checks if isinstance(c, Checked))}
    bad: set[int] = set()
    for results in platform.quality.judge(dataset, history, dates).values():
        bad |= {row for r in results if r.blocking and not r.passed and r.check in of_a_row for row in r.failing}
    return history.take(sorted(bad)) if bad else None


def _embedded(dataset: EmbeddingIndex, rows: pa.Table, stored: pa.Table, platform: Platform) -> pa.Table:
    """Text and vector of each row; a text that the stored partition has already is not embedded again."""
    wanted = pl.DataFrame(rows).with_columns(text=pl.concat_str([pl.col(c) for c in dataset.text], separator="\n", ignore_nulls=True))
    known = pl.DataFrame(stored).select("text", "embedding").unique("text", maintain_order=True)
    new = wanted.select(pl.col("text").unique(maintain_order=True)).join(known, on="text", how="anti")
    vectors = pl.DataFrame({"text": new["text"], "embedding": pl.from_arrow(platform.vectors.embed(new["text"].to_list()))})
    vectors = vectors.with_columns(pl.col("embedding").cast(known.schema["embedding"]))
    whole = wanted.join(pl.concat([known, vectors]), on="text", how="left", maintain_order="left").select(c.name for c in dataset.columns)
    return whole.to_arrow().cast(pa.schema([f.with_nullable(True) for f in dataset.spec.arrow]))


def _equals(dataset: Rollup, rows: pa.Table, base: pa.Table, dates: Sequence[date]) -> dict[date, CheckResult]:
    """Whether the rollup's rows are its derived base's, column by column to the last digit, on each date."""
    assert dataset.equals is not None
    columns = [c for c in dataset.columns if c.name in {b.name for b in dataset.equals.columns}]
    ours, theirs = fingerprints(rows, columns), fingerprints(base, columns)
    results = {}
    for day in dates:
        a, b = ours.get(day, EMPTY), theirs.get(day, EMPTY)
        reason = "" if a == b else f"{a.rows} rows in ClickHouse, {b.rows} in {dataset.equals.path}, and their content differs"
        results[day] = CheckResult(EQUALS_DERIVED, a == b, True, reason, {"rollup": a.hash, "derived": b.hash})
    return results


def _unbuilt(dataset: Dataset, reason: str) -> list[CheckResult]:
    """Every declared check of a date that could not be built: only the first says why."""
    return [
        CheckResult(name, passed=name != SCHEMA and not blocking, blocking=blocking, reason=reason if name == SCHEMA else "not reached")
        for name, blocking in check_names(dataset)
    ]


def _of(rows: pa.Table, dates: Sequence[date]) -> pa.Table:
    return rows.filter(pc.is_in(rows["partition_date"], pa.array(dates, pa.date32())))


def _reject(dataset: Dataset, outcomes: Sequence[Outcome], judged: pa.Table, platform: Platform, run_id: str) -> None:
    """Keep all rows of the bad dates, and of the good ones those that a check kept back, with check and reason."""
    keeping = {c.name for c in dataset.checks if isinstance(c, Checked) and c.quarantine}
    reasons: dict[Any, str] = {o.partition: o.why for o in outcomes if not o.good}
    checks: list[str | None] = [None] * judged.num_rows
    for outcome in outcomes:
        for result in (r for r in outcome.results if not r.passed and (r.blocking or r.check in keeping)):
            for row in result.failing:
                checks[row] = result.check if checks[row] is None else f"{checks[row]}, {result.check}"
            if outcome.good and result.failing:
                reasons[outcome.partition] = f"{result.check}: {result.reason}"
    if not reasons:
        return
    bad = [o.partition for o in outcomes if not o.good]
    frame = pl.DataFrame(judged).with_columns(
        _run_id=pl.lit(run_id), _check=pl.Series(checks, dtype=pl.String), _rejected_at=pl.lit(datetime.now(UTC)).cast(pl.Datetime("us", "UTC"))
    )
    day = pl.col("partition_date")
    frame = frame.filter(day.is_in(bad) | (day.is_in(list(reasons)) & pl.col("_check").is_not_null())).with_columns(
        _reason=day.replace_strict(reasons, default=None, return_dtype=pl.String)
    )
    rows, spec = frame.to_arrow(), dataset.rejected_spec
    have = [rows[f.name].cast(f.type) if f.name in rows.column_names else pa.nulls(rows.num_rows, f.type) for f in spec.arrow]
    platform.lake.ensure(spec)
    with platform.lake.lock(spec):
        platform.lake.publish(
            spec, list(reasons), pa.Table.from_arrays(have, schema=pa.schema([f.with_nullable(True) for f in spec.arrow]))
        )
