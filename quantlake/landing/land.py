"""Landing: from the committed offsets to the end of the log, rows and offsets in one Iceberg transaction.

Here: resuming, batching, committing, fencing; one landing to the ends. Not here: decoding (``decode``), what a log is (``logs``), what
is done about a broken one (``mend``), landing that goes on (``follow``), who is told.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from threading import Event

import numpy as np
import polars as pl
import pyarrow as pa

from quantlake.contract import QuantLakeError, Stream
from quantlake.landing.decode import decoded
from quantlake.landing.logs import PROPERTY, Logs
from quantlake.landing.ranges import EMPTY, size
from quantlake.landing.records import clustered, joined
from quantlake.landing.tombstones import dated
from quantlake.ports import Appender, Batch, Broker, Commit, Lake, Last, LogBrokenError, Records, Registry

GROUP_ROWS = 100_000  # decoded, sorted and written together: a row group, of which two are in memory
GROUP_BYTES = 16 << 20  # keys and headers too; on its way into a file a group is there several times over
COMMIT_ROWS = 1_000_000  # a landing of much commits so often: what a kill costs, and the size of files

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Landed:
    """What a landing added. ``dates`` are the touched partitions the contract can have, ``outside`` the others."""

    rows: int = 0
    dead_letters: int = 0
    dates: frozenset[date] = frozenset()
    outside: frozenset[date] = frozenset()

    def __add__(self, other: "Landed") -> "Landed":
        return Landed(
            self.rows + other.rows, self.dead_letters + other.dead_letters, self.dates | other.dates, self.outside | other.outside
        )


@dataclass(frozen=True)
class Committed:
    """One commit: what it added, and the coordinates and dates of its rows (the columns of ``TOLD``)."""

    landed: Landed
    commit: Commit
    rows: pa.Table


TOLD = ("_log", "_topic", "_partition", "_offset", "_error_class", "_schema_id", "partition_date")
Report = Callable[[Stream, Committed], None]


def land(
    stream: Stream, *, broker: Broker, registry: Registry, lake: Lake, report: Report | None = None, progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
) -> Landed:  # fmt: skip
    """Land everything pending of a stream; ``report`` is told of every commit, ``progress`` how many records were read.

    Raises ``LogBrokenError`` where the log does not hold what was landed of it or has to be, ``QuantLakeError`` where there is no
    broker, another writer, or no room.
    """
    lake.ensure(stream.spec)
    log = broker.log_id(stream.topic)
    with lake.lock(stream.spec):
        landing = resumed(stream, log, lake)
        rows = min(GROUP_ROWS, commit_rows)
        total = Landed()
        with pieces(landing, registry, lake) as writing:
            for batch in reading(landing, landing.read(broker, min(50_000, rows))):
                landing.take(batch)
                if progress and len(batch.records):
                    progress(len(batch.records))
                if landing.full(rows):
                    writing.add(landing)
                if writing.due(commit_rows):
                    total += writing.commit(landing, broker, report).landed
            writing.add(landing)
            if writing.rows or landing.moved().text() != landing.written:
                total += writing.commit(landing, broker, report).landed
    return total


def close(stream: Stream, *, broker: Broker, registry: Registry, lake: Lake, report: Report | None = None) -> Landed:
    """Land all and record that the log ends here: what a clean stop of the embedded broker does before it ends."""
    landed = Landed()
    log = broker.log_id(stream.topic)
    for _ in range(10):
        landed += land(stream, broker=broker, registry=registry, lake=lake, report=report)
        with lake.lock(stream.spec):
            written = lake.properties(stream.spec).get(PROPERTY, "")
            logs = Logs.parse({PROPERTY: written})
            current = logs.current(log)
            if broker.ends(stream.topic, logs[current].offsets, logs[current].last) == dict(logs[current].offsets):
                put(stream, lake, logs.closed(current), written)
                return landed
    raise QuantLakeError(f"topic {stream.topic} is still written to; end its producers first")


def put(stream: Stream, lake: Lake, logs: Logs, written: str) -> None:
    """Put on record what is known of the logs, if that still is what was ``written``: a commit without rows, so that no other lander's
    passes it by."""
    lake.append(stream.spec, stream.spec.arrow.empty_table(), properties={PROPERTY: logs.text()}, expected={PROPERTY: written})


@dataclass
class Landing:
    """Where a landing of one stream stands: the log read, what was committed (``written``, as read from the table), and what was read
    beyond it and not handed on yet."""

    stream: Stream
    broker_id: str
    log: str
    logs: Logs
    written: str
    batches: list[Records] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)
    last: dict[int, Last] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0

    @property
    def start(self) -> Mapping[int, int]:
        return self.logs[self.log].offsets

    def read(self, broker: Broker, rows: int) -> Iterator[Batch]:
        """On from there to the ends."""
        last = self.logs[self.log].last
        return broker.read(self.stream.topic, self.start, last=last, batch_rows=rows, batch_bytes=GROUP_BYTES // 2)

    def follow(self, broker: Broker, stop: Event, rows: int) -> Iterator[Batch]:
        """On from there until ``stop``."""
        last = self.logs[self.log].last
        return broker.follow(self.stream.topic, self.start, stop, last=last, batch_rows=rows, batch_bytes=GROUP_BYTES // 2)

    def take(self, batch: Batch) -> None:
        """Records that were read, and the ends met. Raises ``QuantLakeError`` for a record that was taken before, and for an offset
        that came neither as a record nor as one that was skipped."""
        if batch.begins:
            self.logs = self.logs.moved(self.log, batch.begins, batch.begins)
        records, before = batch.records, {**self.start, **self.offsets}
        for p in np.unique(records.partitions).tolist():
            own = records.offsets[records.partitions == p]
            reached = self.offsets.get(p, self.start.get(p, 0))
            if int(own.min()) < reached:  # it would land twice: whatever handed it over, nothing is committed
                raise QuantLakeError(f"{self.stream.topic} partition {p} gave offset {int(own.min())} again, after {reached - 1}; run it again")
            self.offsets[p] = int(own.max()) + 1
        for p, end in batch.ends.items():  # records may have come behind an end that was met: it takes none of them back
            self.offsets[p] = max(end, self.offsets.get(p, self.start.get(p, 0)))
        told = np.bincount(records.partitions, minlength=max(self.offsets, default=0) + 1)
        for p, reached in self.offsets.items():
            if (went := reached - before.get(p, 0)) != (said := int(told[p]) + size(batch.skipped.get(p, EMPTY))):
                raise QuantLakeError(f"{self.stream.topic} partition {p} went on by {went} offsets and said of {said} what they hold; run it again")
        if batch.skipped:
            self.logs = self.logs.past(self.log, batch.skipped)
        self.last |= batch.last
        if len(records):
            self.batches.append(records)
            self.rows += len(records)
            self.bytes += records.bytes

    def full(self, rows: int) -> bool:
        return self.rows >= rows or self.bytes >= GROUP_BYTES

    def handed(self) -> Records:
        """What was read, one behind the other; it is another's now."""
        records = joined(self.batches)
        self.batches, self.rows, self.bytes = [], 0, 0
        return records

    def moved(self) -> Logs:
        return self.logs.moved(self.log, self.offsets, last=self.last)


def resumed(stream: Stream, broker_id: str, lake: Lake) -> Landing:
    """Where landing goes on. Raises ``LogBrokenError`` where the table was landed from another log that may have held more."""
    written = lake.properties(stream.spec).get(PROPERTY, "")
    logs = Logs.parse({PROPERTY: written})
    for other in logs.open_elsewhere(broker_id):
        reached = ", ".join(f"partition {p} to {o}" for p, o in sorted(other.offsets.items())) or "nothing of it"
        raise LogBrokenError(f"topic {stream.topic}: the log {other.id} ended, committed {reached}; anything after is unknown. {_ways(stream)}")
    log = logs.current(broker_id)
    return Landing(stream, broker_id, log, logs.entered(log), written)


def reading(landing: Landing, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; a broken log's error says what can be done."""
    try:
        yield from batches
    except LogBrokenError as error:
        raise LogBrokenError(f"{error}. {_ways(landing.stream)}", error.lost) from None


def _ways(stream: Stream) -> str:
    return (
        f"`quantlake land --topic {stream.topic} --accept-loss` goes on without, which the audit keeps on record; `--reset` begins again "
        "with what the broker holds, as a new log"
    )


@contextmanager
def pieces(landing: Landing, registry: Registry, lake: Lake) -> Iterator["Writing"]:
    """Decoding and writing beside the reading: its Python, and polars' and Arrow's threads, are a core each."""
    with lake.appender(landing.stream.spec) as appender, ThreadPoolExecutor(1, "landing") as worker:
        yield Writing(landing.stream, registry, lake, appender, worker)


class Writing:
    """Groups of rows on their way into files, one being written while the next is read; and their commit."""

    def __init__(self, stream: Stream, registry: Registry, lake: Lake, appender: Appender, worker: ThreadPoolExecutor) -> None:
        self._stream, self._registry, self._lake, self._appender, self._worker = stream, registry, lake, appender, worker
        self._going: Future[pa.Table] | None = None
        self._told: list[pa.Table] = []
        self.rows = 0  # handed over since the last commit

    def add(self, landing: Landing) -> None:
        """Hand over what was read."""
        if not landing.rows:
            return
        self._wait()
        self.rows += landing.rows
        records = landing.handed()
        self._going = self._worker.submit(self._write, records, landing.log)

    def due(self, commit_rows: int) -> bool:
        """Whether what was handed over has to be committed before more is: at so many rows, and each group of a stream whose
        tombstones take the date of their key's newest row, which has to be in the table by then."""
        return self.rows >= commit_rows or (self.rows > 0 and self._stream.tombstones == "delete")

    def commit(self, landing: Landing, broker: Broker, report: Report | None) -> Committed:
        """Commit what was handed over, if the log is still the one that was read."""
        self._wait()
        if broker.log_id(self._stream.topic) != landing.broker_id:
            raise QuantLakeError(f"topic {self._stream.topic} was replaced while it was read; nothing was committed, run it again")
        logs = landing.moved()
        commit = self._appender.commit(properties={PROPERTY: logs.text()}, expected={PROPERTY: landing.written})
        landing.logs, landing.written = logs, logs.text()
        rows = pa.concat_tables(self._told) if self._told else self._stream.spec.arrow.empty_table().select(TOLD)
        self._told, self.rows = [], 0
        dead = rows.num_rows - rows["_error_class"].null_count
        legal, outside = partitions_of(self._stream, rows["partition_date"])
        done = Committed(Landed(rows.num_rows - dead, dead, legal, outside), commit, rows)
        if report and legal:
            report(self._stream, done)
        return done

    def _write(self, records: Records, log: str) -> pa.Table:
        frame = decoded(self._stream, clustered(records), log, self._registry)
        rows = dated(self._stream, frame.to_arrow(compat_level=pl.CompatLevel.newest()), self._lake)
        self._appender.write(rows)
        return rows.select(TOLD)

    def _wait(self) -> None:
        if self._going is not None:
            going, self._going = self._going, None
            self._told.append(going.result())


def partitions_of(stream: Stream, dates: pa.ChunkedArray) -> tuple[frozenset[date], frozenset[date]]:
    """The dates among these that the contract's partitions can have (its start to today), and the others."""
    touched = frozenset(d for d in dates.unique().to_pylist() if d is not None)
    today = datetime.now(UTC).date()
    legal = frozenset(d for d in touched if stream.start <= d <= today)
    return legal, touched - legal
