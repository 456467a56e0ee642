"""Raw partitions as they stand: rows, dead letters, data version and offsets of each date, read from the lake or kept up with a lander.

Here: what a materialization of a raw partition says. Not here: how rows land (landing), what is built from them (``build``).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import polars as pl
import pyarrow as pa

from quantlake.contract import Stream
from quantlake.contract.fingerprint import EMPTY, Fingerprint, fingerprints
from quantlake.contract.suites import DEAD_LETTERS
from quantlake.landing.audit import COORDINATES
from quantlake.landing.land import Committed
from quantlake.orchestration.build import Offsets, Outcome, bounded, offsets_of
from quantlake.ports import CheckResult, Platform

COORDINATE_ROWS = 3_000_000  # raw rows whose coordinates are held at once: 0.4 GB
FEW_DATES = 31


@dataclass(frozen=True)
class Tally:
    """One raw partition, or a part of it; parts add up."""

    fingerprint: Fingerprint = EMPTY
    rows: int = 0
    dead: int = 0
    offsets: Mapping[tuple[str, int], Offsets] = field(default_factory=dict)

    def __add__(self, other: "Tally") -> "Tally":
        offsets = dict(self.offsets)
        for place, more in other.offsets.items():
            have = offsets.get(place)
            offsets[place] = more if have is None else replace(
                have, first=min(have.first, more.first), last=max(have.last, more.last), records=have.records + more.records
            )  # fmt: skip
        return Tally(self.fingerprint + other.fingerprint, self.rows + other.rows, self.dead + other.dead, offsets)

    def outcome(self, day: date, snapshot_id: int | None) -> Outcome:
        reason = f"{self.dead} messages of this day could not be decoded; see the SQL view deadletters" if self.dead else ""
        check = CheckResult(DEAD_LETTERS, self.dead == 0, False, reason, {"dead_letters": self.dead})
        offsets = [self.offsets[place] for place in sorted(self.offsets)]
        return Outcome(day, self.rows, self.fingerprint.hash, [check], offsets=offsets, snapshot_id=snapshot_id)


def tallies(held: pa.Table) -> dict[date, Tally]:
    """The tally of each date among raw rows (their coordinates, ``_schema_id`` and ``partition_date``)."""
    versions = fingerprints(held, COORDINATES)
    rows = pl.DataFrame(held.select(["_error_class", "_schema_id", "partition_date"]))
    dead = pl.col("_error_class").is_not_null()
    counts = rows.group_by("partition_date").agg((~dead & pl.col("_schema_id").is_not_null()).sum().alias("rows"), dead.sum().alias("dead"))
    offsets = offsets_of(held)
    return {day: Tally(versions[day], good, bad, offsets[day]) for day, good, bad in counts.iter_rows()}


def landed_outcomes(stream: Stream, dates: Sequence[date] | None, platform: Platform) -> list[Outcome]:
    """Raw partitions as the lake has them now (None: all): rows without dead letters and tombstones, data version, dead-letter check."""
    commit = platform.lake.last_commit(stream.spec)
    snapshot_id = commit.snapshot_id if commit else None
    found = _read(stream, dates, platform, snapshot_id)
    return [found[day].outcome(day, snapshot_id) for day in sorted(found)]


_whole: dict[str, tuple[int, dict[date, Tally]]] = {}  # by stream, all dates of a snapshot: a refresh asks several times


def _read(stream: Stream, dates: Collection[date] | None, platform: Platform, snapshot_id: int | None) -> dict[date, Tally]:
    found = {day: Tally() for day in dates or ()}
    if snapshot_id is None:
        return found
    known = _whole.get(stream.path)
    if known is not None and known[0] == snapshot_id:  # a random number of 63 bits, so of no other table
        return dict(known[1]) if dates is None else found | {day: known[1][day] for day in found if day in known[1]}
    columns = [*(c.name for c in COORDINATES), "partition_date", "_schema_id"]
    for chunk in _chunks(stream, dates, platform):
        found |= {day: Tally() for day in chunk} | tallies(platform.lake.read(stream.spec, chunk, columns, snapshot_id=snapshot_id))
    if dates is None:
        _whole[stream.path] = (snapshot_id, dict(found))
    return found


def _chunks(stream: Stream, dates: Collection[date] | None, platform: Platform) -> Iterator[list[date]]:
    """Dates whose coordinates are held at once; a few dates are not worth counting first."""
    if dates is not None and len(dates) <= FEW_DATES:
        yield sorted(dates)
        return
    counts = platform.lake.counts(stream.spec)
    yield from bounded(sorted(counts if dates is None else dates), counts, COORDINATE_ROWS, None)


class Kept:
    """The partitions that a resident lander touches, kept up with its commits: reading a day again for each would cost its square."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._sequence: dict[str, int] = {}
        self._tallies: dict[str, dict[date, Tally]] = {}

    def outcomes(self, stream: Stream, done: Committed) -> list[Outcome]:
        """The partitions that a commit touched, as it left them."""
        kept = self._tallies.setdefault(stream.path, {})
        if self._sequence.get(stream.path) != done.commit.sequence - 1:  # another writer's commits lie between
            kept.clear()
        self._sequence[stream.path] = done.commit.sequence
        added = tallies(done.rows)
        known = {day: kept[day] + added[day] for day in done.landed.dates if day in kept}
        kept |= known | _read(stream, done.landed.dates - known.keys(), self._platform, done.commit.snapshot_id)
        return [kept[day].outcome(day, done.commit.snapshot_id) for day in sorted(done.landed.dates)]
