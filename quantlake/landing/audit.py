"""The audit: is every offset of every log in the raw table exactly once, as a row or as a dead letter, but for those skipped?

Here: coordinates, read a data file at a time and kept as ranges. Not here: whether rows say what their records said (``deep``).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from quantlake.contract import BROKER_COLUMNS, Column, QuantLakeError, Stream
from quantlake.landing.logs import Log, Logs, Loss
from quantlake.landing.ranges import EMPTY, HIGHEST, LOWEST, Ranges, covering, difference, intersection, ranges, size, union
from quantlake.landing.skips import Skip, told
from quantlake.ports import Broker, Lake, LogBrokenError, LostRange

COORDINATES: tuple[Column, ...] = tuple(c for c in BROKER_COLUMNS if c.name in ("_log", "_topic", "_partition", "_offset", "_error_class"))
FOLDED = 1 << 20  # ranges held before they are made one set: 16 MB
SHOWN = 3

Offsets = npt.NDArray[np.int64]
Status = Literal["live", "closed", "given_up", "unverified"]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Mismatch:
    """A row that is not what its record decodes to: where, and in which columns."""

    offset: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """Rows against what the broker still holds. ``mismatched`` are the first of so many ``mismatches``; at ``unlanded`` it has a record,
    and the table has no row."""

    compared: int
    mismatches: int
    mismatched: tuple[Mismatch, ...]
    unlanded: Ranges = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, eq=False)
class Audited:
    """One partition of one log: its offsets from ``first`` to ``end`` (exclusive) were committed, each of them should be one row, but
    for those that the broker skipped when it was read: it had no record to give there.

    status: ``live`` compared with the broker now; ``closed`` by a clean stop; ``given_up``: what came after was, by a person's word;
    ``unverified``: where it ended is not known. ``rows`` (without ``dead_letters``) lie in ``ranges``, those in ``strays`` where none
    was committed. ``gap_ranges`` have no row, and no accepted loss (``losses``) explains it; ``lost``: no longer on the broker.
    In ``doubtful`` spans offsets were skipped and others are missing, or have a row: the gap ranges are of both kinds there.
    """

    topic: str
    log: str
    partition: int
    status: Status
    first: int
    end: int
    ranges: Ranges
    rows: int
    dead_letters: int
    duplicate_ranges: Ranges
    gap_ranges: Ranges
    strays: Ranges
    losses: tuple[Loss, ...]
    lost: tuple[LostRange, ...]
    pending: int
    skipped: int = 0
    doubtful: tuple[Skip, ...] = ()
    gaps: int = 0
    unverified: str = ""
    content: Content | None = None

    @property
    def duplicates(self) -> int:
        """Rows too many: an offset that is there three times is two."""
        return self.rows + self.dead_letters - size(self.ranges)

    @property
    def clean(self) -> bool:
        return not self.reason

    @property
    def reason(self) -> str:
        """All that is amiss; "" where it is clean."""
        below, beyond = (intersection(self.strays, ranges(span)) for span in ((LOWEST, self.first), (self.end, HIGHEST)))
        wrong, unlanded = (self.content.mismatches, self.content.unlanded) if self.content else (0, EMPTY)
        within = intersection(self.strays, ranges((self.first, self.end)))
        doubtful = ", ".join(f"{s.count:,} skipped of [{s.first}, {s.end})" for s in self.doubtful[:SHOWN])
        found = [
            self.unverified,
            f"no row at {shown(self.gap_ranges)}: {self.gaps:,} missing" if self.gaps else "",
            f"the offsets without a row are not the {doubtful}" if doubtful else "",
            f"rows where the broker had no record: {shown(within)}" if len(within) else "",
            f"more than one row at {shown(self.duplicate_ranges)}: {self.duplicates:,} too many" if self.duplicates else "",
            f"rows below {self.first}, the first offset landed: {shown(below)}" if len(below) else "",
            f"rows beyond {self.end}, to where it was committed: {shown(beyond)}" if len(beyond) else "",
            f"rows that are not what their records on the broker say: {wrong:,}" if wrong else "",
            f"records on the broker that have no row: {shown(unlanded)}" if len(unlanded) else "",
        ]
        return "; ".join(filter(None, found))

    def figures(self) -> dict[str, Any]:
        """All of it as plain values."""
        shapes = {name: value.tolist() for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        counts = {"duplicates": self.duplicates, "clean": self.clean, "reason": self.reason}
        told = {name: [vars(each) for each in getattr(self, name)] for name in ("losses", "lost", "doubtful")}
        content = {} if self.content is None else vars(self.content) | {
            "mismatched": [vars(m) for m in self.content.mismatched], "not_compared": self.rows + self.dead_letters - self.content.compared,
            "unlanded": self.content.unlanded.tolist(),
        }  # fmt: skip
        return {n: v for n, v in vars(self).items() if n not in ("content", "unverified")} | shapes | counts | told | content


def audit(stream: Stream, *, lake: Lake, broker: Broker | None, progress: Progress | None = None) -> list[Audited]:
    """Every log of a stream against its rows, as committed when it begins, whatever lands meanwhile. ``broker`` None: none is running.

    ``progress`` is told the rows seen. Memory is that of a data file's coordinates and of the ranges found.
    """
    logs = Logs.parse(lake.properties(stream.spec))
    live = _live(stream, broker, logs)
    held = _held(stream, lake, logs, progress)
    if live.id and live.id not in {log.id for log in logs.logs}:
        logs = logs.entered(live.id)
    found = []
    for log in logs.logs:
        of_log = {p for name, p in held if name == log.id}
        partitions = {*log.offsets, *of_log, *(loss.partition for loss in log.losses), *(live.ends if log.id == live.id else ())}
        found += [_audited(stream, log, p, held.pop((log.id, p), Held()), live) for p in sorted(partitions)]
    for (name, partition), part in sorted(held.items()):
        strange = Log(name, "lost")
        found.append(_audited(stream, strange, partition, part, live, "the table has rows of this log and has never landed from it"))
    return found


def pending(stream: Stream, *, lake: Lake, broker: Broker) -> int:
    """How many messages on the broker have not landed; no row is read. Raises ``QuantLakeError`` where the broker cannot say."""
    logs = Logs.parse(lake.properties(stream.spec))
    log = logs[logs.current(broker.log_id(stream.topic))]
    return sum(max(end - log.offsets.get(p, 0), 0) for p, end in broker.ends(stream.topic, log.offsets, log.last).items())


def shown(some: Ranges, most: int = SHOWN) -> str:
    """Ranges as a person reads them, the first few."""
    listed = [f"[{first}, {end})" for first, end in some[:most].tolist()]
    return ", ".join(listed) + (f" and {len(some) - most} more" if len(some) > most else "")


@dataclass(frozen=True)
class _Live:
    """The log that the broker holds, and its ends; ``why`` they are not known. ``id`` None: no broker to ask."""

    id: str | None
    ends: dict[int, int] = field(default_factory=dict)
    why: str = ""
    lost: tuple[LostRange, ...] = ()


def _live(stream: Stream, broker: Broker | None, logs: Logs) -> _Live:
    if broker is None:
        return _Live(None, why="no broker is running, and the log was not closed by a clean stop")
    live = None
    try:
        live = logs.current(broker.log_id(stream.topic))
        return _Live(live, broker.ends(stream.topic, logs[live].offsets, logs[live].last))
    except LogBrokenError as error:
        return _Live(live, why=str(error), lost=error.lost)
    except QuantLakeError as error:
        return _Live(live, why=str(error))


@dataclass
class Held:
    """What the table, or the broker, holds of a partition of a log; ``covered`` is all of it after a ``fold``."""

    topic: str = ""
    rows: int = 0
    dead: int = 0
    covered: Ranges = field(default_factory=lambda: EMPTY)
    repeated: Ranges = field(default_factory=lambda: EMPTY)
    _parts: list[Ranges] = field(default_factory=list)

    def add(self, offsets: Offsets, dead: int) -> None:
        covered, repeated = covering(offsets)
        self.rows, self.dead = self.rows + len(offsets) - dead, self.dead + dead
        self.repeated = union(self.repeated, repeated)[0]
        self._parts.append(covered)
        if sum(map(len, self._parts)) > FOLDED + len(self.covered):
            self.fold()

    def fold(self) -> None:
        self.covered, again = union(self.covered, *self._parts)
        self.repeated = union(self.repeated, again)[0]
        self._parts = []


def _held(stream: Stream, lake: Lake, before: Logs, progress: Progress | None) -> dict[tuple[str, int], Held]:
    """The table's rows but for those that were landed since ``before`` was read."""
    found: dict[tuple[str, int], Held] = {}
    after: Logs | None = None
    for rows in lake.batches(stream.spec, [c.name for c in COORDINATES], nulls={}):
        after = after or Logs.parse(lake.properties(stream.spec))  # the rows are of a snapshot between the two
        for log, partition, topic, *both in _by_partition(rows):
            low, high = before[log].offsets.get(partition, 0), after[log].offsets.get(partition, 0)
            offsets, dead = ((some[(some < low) | (some >= high)] for some in both) if low < high else both)
            if len(offsets):
                found.setdefault((log, partition), Held(topic)).add(offsets, len(dead))
        if progress:
            progress(rows.num_rows)
    for held in found.values():
        held.fold()
    return found


def _by_partition(rows: pa.Table) -> Iterator[tuple[str, int, str, Offsets, Offsets]]:
    """Log, partition, topic, the offsets of all rows, and those of dead letters."""
    # a row without coordinates is a stray of no log, and no reason to end
    frame = pl.DataFrame(rows).with_columns(pl.col("_log", "_topic").fill_null(""), pl.col("_partition", "_offset").fill_null(-1))
    # a frame a group would copy the text too: 0.6 to 0.2 CPU-s in 5 M rows
    groups = frame.group_by("_log", "_partition").agg(
        pl.col("_topic").first(), pl.col("_offset"), dead=pl.col("_offset").filter(pl.col("_error_class").is_not_null())
    )
    for n, (log, partition, topic) in enumerate(groups.select("_log", "_partition", "_topic").iter_rows()):
        yield log, partition, topic, groups["_offset"][n].to_numpy(), groups["dead"][n].to_numpy()


def _audited(stream: Stream, log: Log, partition: int, held: Held, live: _Live, why: str = "") -> Audited:
    first, end = log.begins.get(partition, 0), log.offsets.get(partition, 0)
    losses = tuple(loss for loss in log.losses if loss.partition == partition)
    expired = ranges(*((loss.first, loss.end) for loss in losses if loss.why == "expired" and loss.end is not None))
    committed = ranges((first, end))
    skips = log.skipped.get(partition, ())
    found = told(skips, difference(difference(committed, held.covered), expired), held.covered)
    at_broker = log.id == live.id
    why = why or _unverified(stream, log, partition, end, live)
    known: Status = "closed" if log.status == "closed" else "given_up"
    return Audited(
        held.topic or stream.topic, log.id, partition, "unverified" if why else "live" if at_broker else known, first, end,
        held.covered, held.rows, held.dead, held.repeated, found.gaps, union(difference(held.covered, committed), found.filled)[0], losses,
        tuple(r for r in live.lost if at_broker and r.partition == partition), max(live.ends.get(partition, end) - end, 0) if at_broker else 0,
        sum(s.count for s in skips), found.doubtful, size(found.gaps) - found.skipped, why,
    )  # fmt: skip


def _unverified(stream: Stream, log: Log, partition: int, end: int, live: _Live) -> str:
    """Why nobody knows where a log ended; "" where that is known."""
    accept = f"accept it: `quantlake land --topic {stream.topic} --accept-loss`"
    if log.id == live.id:
        lost = "; ".join(str(r) for r in live.lost if r.partition == partition)
        others = "another partition of this log lost offsets, so that none was read to its end" if live.lost else live.why
        return f"{lost}; {accept}" if lost else others
    if log.status in ("closed", "given_up"):
        return ""
    if log.status == "open" and live.id is None:
        return live.why
    return f"log {log.id} ended without a clean stop, committed to {end}, anything after is unknown; {accept}"
