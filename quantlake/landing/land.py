"""Landing: from the committed offsets to the end of the log, rows and offsets in one Iceberg transaction.

Here: resuming, committing, fencing, closing a log. Not here: decoding (``decode``), what a log is (``logs``), who is told.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract import QuantLakeError, Stream
from quantlake.landing.decode import decode
from quantlake.landing.logs import PROPERTY, Logs
from quantlake.landing.tombstones import dated
from quantlake.ports import Broker, Lake, Registry

COMMIT_ROWS = 200_000  # 800 MB resident at a trade's width; twice as many gain 4 % of speed
BATCH_ROWS = 50_000

Report = Callable[[Stream, frozenset[date]], None]
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


def land(
    stream: Stream, *, broker: Broker, registry: Registry, lake: Lake, report: Report | None = None, progress: Progress | None = None,
    commit_rows: int = COMMIT_ROWS,
) -> Landed:  # fmt: skip
    """Land everything pending of a stream. Raises ``QuantLakeError`` (no broker, log shorter than what was landed, another writer)."""
    lake.ensure(stream.spec)
    log = broker.log_id(stream.topic)
    landed = Landed()
    with lake.lock(stream.spec):
        written = lake.properties(stream.spec).get(PROPERTY, "")
        logs = Logs.parse({PROPERTY: written} if written else {}).entered(log)
        pending: list[pa.Table] = []
        offsets: dict[int, int] = {}
        for batch in broker.read(stream.topic, logs[log].offsets, batch_rows=min(BATCH_ROWS, commit_rows)):
            if batch.records.num_rows:
                _require_forward(stream, batch.records, {**logs[log].offsets, **offsets})
                pending.append(decode(stream, batch.records, log, registry))
                offsets |= _next(batch.records)
                if progress:
                    progress(batch.records.num_rows)
            offsets |= batch.ends
            if sum(p.num_rows for p in pending) >= commit_rows:
                landed, logs, written = _commit(stream, lake, pending, logs.moved(log, offsets), written, landed, report)
                pending = []
        logs = logs.moved(log, offsets)
        if pending or logs.text() != written:
            landed, logs, written = _commit(stream, lake, pending, logs, written, landed, report)
    return landed


def close(stream: Stream, *, broker: Broker, registry: Registry, lake: Lake, report: Report | None = None) -> Landed:
    """Land all and record that the log ends here: what a clean stop of the embedded broker does before it ends."""
    landed = Landed()
    log = broker.log_id(stream.topic)
    for _ in range(10):
        landed += land(stream, broker=broker, registry=registry, lake=lake, report=report)
        with lake.lock(stream.spec):
            logs = Logs.parse(lake.properties(stream.spec))
            if broker.ends(stream.topic, logs[log].offsets) == dict(logs[log].offsets):
                lake.set_properties(stream.spec, {PROPERTY: logs.closed(log).text()})
                return landed
    raise QuantLakeError(f"topic {stream.topic} is still written to; end its producers first")


def _commit(
    stream: Stream, lake: Lake, pending: list[pa.Table], logs: Logs, written: str, landed: Landed, report: Report | None
) -> tuple[Landed, Logs, str]:
    rows = dated(stream, pa.concat_tables(pending), lake) if pending else stream.spec.arrow.empty_table()
    lake.append(stream.spec, rows, properties={PROPERTY: logs.text()}, expected={PROPERTY: written})
    legal, outside = partitions_of(stream, rows["partition_date"])
    dead = rows.num_rows - rows["_error_class"].null_count
    if report and legal:
        report(stream, legal)
    return landed + Landed(rows.num_rows - dead, dead, legal, outside), logs, logs.text()


def partitions_of(stream: Stream, dates: pa.ChunkedArray) -> tuple[frozenset[date], frozenset[date]]:
    """The dates among these that the contract's partitions can have (its start to today), and the others."""
    touched = frozenset(d for d in pc.unique(dates).to_pylist() if d is not None)
    today = datetime.now(UTC).date()
    legal = frozenset(d for d in touched if stream.start <= d <= today)
    return legal, touched - legal


def _require_forward(stream: Stream, records: pa.Table, reached: Mapping[int, int]) -> None:
    """A record below what was reached would land twice: whatever handed it over, nothing is committed."""
    first = records.group_by("_partition").aggregate([("_offset", "min")])
    for partition, offset in zip(first["_partition"].to_pylist(), first["_offset_min"].to_pylist(), strict=True):
        if offset < reached.get(partition, 0):
            raise QuantLakeError(f"{stream.topic} partition {partition} gave offset {offset} again, after {reached[partition] - 1}; run it again")


def _next(records: pa.Table) -> Mapping[int, int]:
    last = records.group_by("_partition").aggregate([("_offset", "max")])
    return {p: o + 1 for p, o in zip(last["_partition"].to_pylist(), last["_offset_max"].to_pylist(), strict=True)}
