"""Derived tables as known at a time T: which stored partitions answer as they are, and the rows of the others, computed again.

Here: the rule, over derived data and features. Not here: raw and curated, whose own rows carry the answer; SQL; lazy frames.

A stored partition serves where all of it was known by T (the greatest ``known_at`` and ``superseded_at`` of every curated
ancestor), it was committed no earlier than its inputs', and its inputs serve too. Elsewhere its function runs over the inputs as
known at T. Dates of which no ancestor knew anything have no rows. Rows known after T are dropped either way; a table without
``known_at`` says nothing of when its rows were known, so all rows stay that follow from what its inputs knew.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import polars as pl

from quantlake.contract import Built, Dataset, EmbeddingIndex, Input, QuantLakeError, Rollup, Stream, Table
from quantlake.contract.compute import compute_each, visible
from quantlake.contract.versions import across, known_then
from quantlake.ports import Lake

CHUNK_ROWS = 500_000  # curated rows held at once: 0.6 GB of trades
CHUNK_DATES = 60
DAY = pl.col("partition_date")


def moment(time: datetime | str) -> datetime:
    """A time to ask about, in UTC; ISO 8601 where it is text, UTC where it has no offset. Raises ``QuantLakeError``."""
    try:
        found = datetime.fromisoformat(time) if isinstance(time, str) else time
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise QuantLakeError(f"as known at {str(time)!r}: that is no time; write it as 2024-03-05T14:30:00Z") from None


def base_of(dataset: Dataset) -> Built:
    """The built dataset that answers for one as known at a time: itself; a rollup's derived base. Raises ``QuantLakeError``."""
    if isinstance(dataset, Rollup) and dataset.equals:
        return dataset.equals
    if isinstance(dataset, Built) and not isinstance(dataset, Table):
        return dataset
    reasons = {
        Rollup: "it names no derived base (`equals`) that could answer for it",
        EmbeddingIndex: f"past vectors are not kept; ask {dataset.inputs[0].path} for the texts" if dataset.inputs else "",
    }
    reason = reasons.get(type(dataset), "its own rows say when they were known")
    raise QuantLakeError(f"{dataset.path} cannot be answered as known at a time: {reason}")


@dataclass(frozen=True)
class Pinned:
    """A table as it stood when it was first looked at: its snapshot, and when each date was last committed."""

    snapshot_id: int | None
    committed: Mapping[date, datetime]


@dataclass(frozen=True)
class History:
    """By date of a curated table: rows, the dates of which something was known, and those that later versions or rows changed."""

    rows: Mapping[date, int]
    begun: frozenset[date]
    incomplete: frozenset[date]


@dataclass(frozen=True)
class AsKnown:
    """``dataset`` as known at ``moment`` (aware), on the dates that ``only`` (a predicate over ``partition_date``; None: all) keeps.

    All of it is answered from one state of the lake, that of ``pins``. Raises ``QuantLakeError`` where the dataset is built from
    what is not kept as known (raw streams, rollups, vectors), or a function fails on what was known.
    """

    dataset: Built
    moment: datetime
    lake: Lake
    pins: Mapping[str, Pinned]
    only: pl.Expr | None = None

    @classmethod
    def of(cls, dataset: Built, moment: datetime, lake: Lake) -> "AsKnown":
        # before its inputs: one published in between is then newer than the stored partition, which does not serve
        pins = {d.path: _pinned(d, lake) for d in reversed(_lineage(dataset))}
        return cls(dataset, moment, lake, pins)

    def narrowed(self, only: pl.Expr | None) -> "AsKnown":
        return replace(self, only=only)

    @property
    def snapshot_id(self) -> int | None:
        """The dataset's own snapshot: the one that the served partitions are of."""
        return self.pins[self.dataset.path].snapshot_id

    @cached_property
    def served(self) -> list[date]:
        """The dates whose stored partition answers (but for rows known later), ascending."""
        return self._asked(self._begun(self.dataset) & self._serving[self.dataset.path])

    @cached_property
    def computed(self) -> list[date]:
        """The dates that ``frames`` computes, ascending."""
        return self._asked(self._begun(self.dataset) - self._serving[self.dataset.path])

    def _asked(self, days: set[date]) -> list[date]:
        """Those of ``days`` that were asked for, ascending."""
        found = pl.Series("partition_date", sorted(days), pl.Date).to_frame()
        return (found if self.only is None else found.filter(self.only))["partition_date"].to_list()

    @property
    def known(self) -> pl.Expr:
        """Whether a row of the dataset was known."""
        return _known(self.dataset, self.moment)

    def stored(self) -> pl.LazyFrame:
        """The rows of the ``served`` dates, scanned when collected."""
        return self._scan(self.dataset).filter(DAY.is_in(self.served), self.known)

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows of the ``computed`` dates (the dataset's columns), some dates at a time, so that memory stays bounded."""
        for dates in self._chunks():
            yield self._rows(self.dataset, dates)

    @cached_property
    def _histories(self) -> dict[str, History]:
        return {d.path: self._history(d) for d in _lineage(self.dataset) if isinstance(d, Table)}

    def _history(self, table: Table) -> History:
        known, superseded = pl.col("known_at"), pl.col("superseded_at")
        reaches = any((r.first, r.last) != (0, 0) or r.by_row for d in _lineage(self.dataset) if not isinstance(d, Table) for r in d.reads)
        rows = self._scan(table) if self.only is None or reaches else self._scan(table).filter(self.only)
        days = rows.group_by(DAY).agg(
            pl.len(), begun=known.min() <= self.moment, incomplete=pl.max_horizontal(known.max(), superseded.max()) > self.moment
        )
        found = days.filter(DAY.is_not_null()).collect(engine="streaming")
        counts = dict(zip(found["partition_date"], found["len"], strict=True))
        begun, incomplete = (frozenset(found.filter(flag)["partition_date"]) for flag in ("begun", "incomplete"))
        return History(counts, begun, incomplete)

    def _begun(self, dataset: Dataset) -> set[date]:
        """The dates of which something was known, and those that exist because of it."""
        return set(self._beginnings[dataset.path])

    @cached_property
    def _beginnings(self) -> dict[str, frozenset[date]]:
        found: dict[str, frozenset[date]] = {}
        for dataset in _lineage(self.dataset):
            if isinstance(dataset, Table):
                found[dataset.path] = self._histories[dataset.path].begun
            else:
                making = [r for r in dataset.reads if r.makes != "none"]
                found[dataset.path] = frozenset(d for r in making for d in self._made(r, found[r.dataset.path]))
        return found

    def _made(self, read: Input, held: Collection[date]) -> set[date]:
        """The dates that exist because of what was known of an input."""
        if not read.on or read.makes != "own":
            return {d for h in held for d in read.made(h)}
        named = self._scan(read.dataset).filter(pl.col("known_at") <= self.moment).select(pl.col(read.on).unique()).collect()
        return set(named[read.on].drop_nulls())

    @cached_property
    def _serving(self) -> dict[str, set[date]]:
        """By dataset of the lineage, inputs first: of the dates something was known of, those whose stored partition serves."""
        found: dict[str, set[date]] = {}
        for dataset in (d for d in _lineage(self.dataset) if not isinstance(d, Table)):
            days = self._current(dataset, self._begun(dataset))
            for read in dataset.reads:
                if read.dataset is dataset:
                    days = self._carried(read, days)
                    continue
                held = self._histories.get(read.dataset.path)
                # stored dates of which nothing was known yet have changed too: what looks ahead was built with them
                changed = held.incomplete if held else (self._begun(read.dataset) | self._stored(read.dataset)) - found[read.dataset.path]
                days -= _readers(read, changed, days)
            found[dataset.path] = days
        return found

    def _stored(self, dataset: Dataset) -> set[date]:
        return set(self._scan(dataset).select(DAY.unique()).collect()["partition_date"].drop_nulls())

    def _carried(self, read: Input, days: set[date]) -> set[date]:
        """Of ``days`` those whose own rows of the day before, if there was anything, serve too."""
        begun, served = self._begun(read.dataset), set()
        for day in sorted(days):
            if all(n in served for n in read.days(day) if n in begun):
                served.add(day)
        return served

    def _current(self, dataset: Dataset, days: set[date]) -> set[date]:
        """The dates of which the stored partition was committed no earlier than its inputs'."""
        mine = self.pins[dataset.path].committed
        current = set(days)
        for read in dataset.reads:
            for at in sorted(set(self.pins[read.dataset.path].committed.values())):
                later = {held for held, committed in self.pins[read.dataset.path].committed.items() if committed == at}
                current -= {d for d in _readers(read, later, current) if d not in mine or mine[d] < at}
        unrecorded = {d for d in current & self._begun(dataset) if d not in mine}  # expired, or never built
        if unrecorded:
            current -= unrecorded - self._stored(dataset)
        return current

    def _chunks(self) -> Iterator[list[date]]:
        histories = [self._histories[t.path].rows for t in _ancestors(self.dataset)]
        chunk: list[date] = []
        held = 0
        for day in self.computed:
            rows = sum(h.get(day, 0) for h in histories)
            if chunk and (held + rows > CHUNK_ROWS or len(chunk) >= CHUNK_DATES):
                yield chunk
                chunk, held = [], 0
            chunk.append(day)
            held += rows
        if chunk:
            yield chunk

    def _rows(self, dataset: Dataset, dates: Collection[date]) -> pl.DataFrame:
        """The rows of ``dates`` as known then: of a curated table the latest of then, else stored or computed."""
        if isinstance(dataset, Table):
            rows = across(self._scan(dataset), dataset).filter(DAY.is_in(dates), known_then(self.moment, dataset))
            return rows.drop("superseded_at").collect()
        assert isinstance(dataset, Built)
        served = [d for d in dates if d in self._serving[dataset.path]]
        begun = self._begun(dataset)
        rest = [d for d in dates if d in begun and d not in self._serving[dataset.path]]
        known = _known(dataset, self.moment)
        parts = [self._scan(dataset).filter(DAY.is_in(served), known).collect()]
        if any(r.dataset is dataset for r in dataset.reads):
            for day in sorted(rest):
                self._computed[dataset.path, day] = self._compute(dataset, [day]).filter(known)
                parts.append(self._computed[dataset.path, day])
        elif rest:
            parts.append(self._compute(dataset, rest).filter(known))
        return pl.concat(parts)

    def _compute(self, dataset: Built, dates: Collection[date]) -> pl.DataFrame:
        inputs = [self._read(dataset, read, dates) for read in dataset.reads]
        rows, broken = compute_each(dataset, inputs, sorted(dates))
        for day, error in broken.items():
            reason = str(error) if isinstance(error, QuantLakeError) else f"{type(error).__name__}: {error}"
            raise QuantLakeError(
                f"{dataset.path} of {day} cannot be computed from its inputs as known at {self.moment.isoformat()}: {' '.join(reason.split())}"
            ) from error
        return pl.DataFrame(visible(dataset, rows))

    def _read(self, dataset: Built, read: Input, dates: Collection[date]) -> pl.DataFrame:
        """What these dates read of an input, as known then."""
        if read.dataset is dataset:
            return pl.concat([self._day_before(dataset, n) for d in dates for n in read.days(d)])
        begun = self._begun(read.dataset)
        wanted = begun if read.by_row else {n for d in dates for n in read.days(d, begun)} & begun
        if read.versions:
            assert isinstance(read.dataset, Table)
            then = pl.when(pl.col("superseded_at") <= self.moment).then("superseded_at")
            rows = across(self._scan(read.dataset), read.dataset).filter(pl.col("known_at") <= self.moment)
            return rows.with_columns(superseded_at=then).collect()
        return self._rows(read.dataset, wanted)

    def _day_before(self, dataset: Dataset, day: date) -> pl.DataFrame:
        """A carried dataset's rows of the day before the one that is computed; each day of a chain is computed once, oldest first."""
        held, wanted, chain = self._computed, self._begun(dataset) - self._serving[dataset.path], []
        first = day
        while first in wanted and (dataset.path, first) not in held:
            chain.append(first)
            first -= timedelta(days=1)
        for missing in reversed(chain):
            self._rows(dataset, [missing])
        return held[dataset.path, day] if (dataset.path, day) in held else self._rows(dataset, [day])

    @cached_property
    def _computed(self) -> dict[tuple[str, date], pl.DataFrame]:
        return {}

    def _scan(self, dataset: Dataset) -> pl.LazyFrame:
        snapshot_id = self.pins[dataset.path].snapshot_id
        empty = pl.DataFrame(dataset.spec.arrow.empty_table()).lazy()
        return empty if snapshot_id is None else self.lake.scan(dataset.spec, snapshot_id=snapshot_id)


def _pinned(dataset: Dataset, lake: Lake) -> Pinned:
    commits = lake.commits(dataset.spec)
    committed = {day: c.committed_at for c in commits for day in c.dates}  # oldest first: the last one stands
    return Pinned(commits[-1].snapshot_id if commits else None, committed)


def _lineage(dataset: Dataset) -> list[Dataset]:
    """The dataset and all it is built from down to curated tables, inputs first."""
    found: dict[str, Dataset] = {}

    def visit(of: Dataset, by: Dataset) -> None:
        if isinstance(of, Stream) or not isinstance(of, Built):
            raise QuantLakeError(f"{by.path} cannot be answered as known at a time: it is built from {of.path}, which keeps no versions")
        for i in () if isinstance(of, Table) else of.inputs:
            visit(i, of)
        found.setdefault(of.path, of)

    visit(dataset, dataset)
    return list(found.values())


def _ancestors(dataset: Dataset) -> list[Table]:
    return [d for d in _lineage(dataset) if isinstance(d, Table)]


def _known(dataset: Dataset, moment: datetime) -> pl.Expr:
    has = any(c.name == "known_at" for c in dataset.columns)
    return pl.col("known_at") <= moment if has else pl.lit(True)


def _readers(read: Input, held: Collection[date], days: Collection[date]) -> set[date]:
    """Those of ``days`` that are built from any of the input's dates ``held``."""
    if not held:
        return set()
    if read.by_row:
        return set(days)
    if read.bounded:
        return {d for h in held for d in read.readers(h)} & set(days)
    # unbounded, it is enough to look at the outermost one
    return {d for d in days if (read.last is None and read.covers(d, max(held))) or (read.first is None and read.covers(d, min(held)))}
