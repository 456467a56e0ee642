"""Redriving: dead letters are decoded again, and those that can be become rows in one Iceberg transaction.

What brings one to life: its schema was registered since, the contract gained the writer's field, a decoder was mended. The
transaction removes the dead letter and adds the row in its own date, so each offset stays in the table exactly once wherever this
ends. Offsets are those of landing and stay as they are.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantlake.contract import Stream
from quantlake.landing.decode import decode
from quantlake.landing.land import partitions_of
from quantlake.landing.tombstones import overtaken
from quantlake.ports import Lake, Records, Registry

Report = Callable[[Stream, frozenset[date]], None]
CHUNK_ROWS = 100_000  # a transaction's; its filter may have to name every offset
CHUNK_BYTES = 128 << 20
PLACE = ["_log", "_partition", "_offset", "partition_date"]


@dataclass(frozen=True)
class Redriven:
    """What a redrive did. ``dates`` are the touched partitions the contract can have, ``outside`` the others."""

    rows: int = 0
    still_dead: int = 0
    dates: frozenset[date] = frozenset()
    outside: frozenset[date] = frozenset()

    def __add__(self, other: "Redriven") -> "Redriven":
        return Redriven(self.rows + other.rows, self.still_dead + other.still_dead, self.dates | other.dates, self.outside | other.outside)


def redrive(
    stream: Stream, *, registry: Registry, lake: Lake, dates: Collection[date] | None = None, report: Report | None = None
) -> Redriven:
    """Decode a stream's dead letters again (``dates``: those of some partitions); ``report`` is told the dates of each commit.

    One that fails for another reason than before is kept as a dead letter with that reason. A second redrive changes nothing.
    Raises ``QuantLakeError`` (registry out of reach, another writer); what was committed before stays.
    """
    done = Redriven()
    if not lake.exists(stream.spec):
        return done
    lake.ensure(stream.spec)  # a column the contract gained may be what they waited for
    with lake.lock(stream.spec):
        for letters in _chunks(lake.batches(stream.spec, nulls={"_error_class": False}, dates=dates)):
            done += _redriven(stream, letters, registry, lake, report)
    return done


def _chunks(files: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    rows = size = 0
    for letters in files:
        held.append(letters)
        rows, size = rows + letters.num_rows, size + letters.nbytes
        if rows >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield pa.concat_tables(held)
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)


def _redriven(stream: Stream, letters: pa.Table, registry: Registry, lake: Lake, report: Report | None) -> Redriven:
    logs = [letters.filter(pc.equal(letters["_log"], log)) for log in pc.unique(letters["_log"])]
    letters, again = pa.concat_tables(logs), pa.concat_tables([_again(stream, part, registry) for part in logs])
    alive = pc.is_null(again["_error_class"])
    changed = pc.or_(alive, pc.fill_null(pc.not_equal(again["_error_class"], letters["_error_class"]), False))
    came = pc.sum(alive).as_py()
    if not pc.any(changed).as_py():
        return Redriven(still_dead=letters.num_rows)
    before, moved = overtaken(stream, again.filter(alive), lake)
    removed = pa.concat_tables([letters.filter(changed).select(PLACE), before.select(PLACE)])
    rows = pa.concat_tables([again.filter(changed), moved.cast(again.schema)])
    lake.replace(stream.spec, removed, rows)
    legal, outside = partitions_of(stream, pa.chunked_array([*removed["partition_date"].chunks, *rows["partition_date"].chunks]))
    if report and legal:
        report(stream, legal)
    return Redriven(came, letters.num_rows - came, legal, outside)


def _again(stream: Stream, letters: pa.Table, registry: Registry) -> pa.Table:
    """The rows of one log's dead letters, decoded from their records as the broker gave them."""
    stamps = letters["_timestamp"].cast(pa.int64()).fill_null(-1000)
    records = Records(
        letters["_partition"].to_numpy().astype(np.int32), letters["_offset"].to_numpy(), stamps.to_numpy() // 1000,
        letters["_key"].to_pylist(), letters["_headers"].to_pylist(), letters["_value"].to_pylist(),
        pc.binary_length(letters["_value"]).to_numpy().astype(np.int64),
    )  # fmt: skip
    rows = decode(stream, records, letters["_log"][0].as_py(), registry)
    topic = rows.schema.get_field_index("_topic")
    return rows.set_column(topic, rows.schema.field(topic), letters["_topic"])
