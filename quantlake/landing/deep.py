"""The deep audit: do the rows say what their records say? What is still on the broker is decoded again and compared, column by column.

Both sides stream. First the sums of row hashes of every ``BUCKET`` offsets are compared, in one pass over each side; then, only in
the buckets that differ, the hash of each row; then, of the few rows that are listed, the columns. A record without a row is told
too, whatever landing knew of its offset.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from quantlake.contract import Stream
from quantlake.landing.audit import Audited, Content, Held, Mismatch, Progress
from quantlake.landing.decode import decode
from quantlake.landing.ranges import EMPTY, Ranges, contains, covering, difference, intersection, ranges
from quantlake.landing.records import taken
from quantlake.ports import Broker, Lake, Records, Registry

BUCKET = 4096
ROUND = 2048  # buckets whose rows' hashes are held at once: 140 MB
LISTED = 20
PIECE = 50_000
UNSAID = ("_log", "_error")  # what a record does not say, and the words in which a decoder says why it failed

Spans = Mapping[int, Ranges]


def deep(
    stream: Stream, found: Sequence[Audited], *, lake: Lake, broker: Broker | None, registry: Registry, progress: Progress | None = None
) -> list[Audited]:
    """What ``audit`` found, with the content of the log that the broker holds, at the offsets that both sides have.

    A dead letter that could be decoded by now is right if its bytes are the record's; a tombstone and a dead letter may lie on any
    date. ``progress`` is told the rows and records seen. Raises ``QuantLakeError`` (broker, registry).
    """
    live = {a.partition: a for a in found if a.status == "live"}
    spans = {p: ranges((a.first, a.end)) for p, a in live.items() if a.end > a.first}
    told: dict[int, Content] = {}
    if broker is not None and spans:
        log = next(iter(live.values())).log
        there, told = _Comparison(stream, log, lake, broker, registry, progress).contents(spans)
        told = {p: replace(content, unlanded=difference(there.get(p, EMPTY), live[p].ranges)) for p, content in told.items()}
    nothing = Content(0, 0, ())
    return [replace(a, content=told.get(a.partition, nothing) if a.status == "live" else nothing) for a in found]


@dataclass(frozen=True)
class _Comparison:
    """Of one log. A frame of either side has ``_partition``, ``_offset`` and content; ``_error_class`` says only whether it is dead."""

    stream: Stream
    log: str
    lake: Lake
    broker: Broker
    registry: Registry
    progress: Progress | None

    def contents(self, spans: Spans) -> tuple[dict[int, Ranges], dict[int, Content]]:
        """At which offsets the broker holds records, and what they say against the rows."""
        there: dict[int, Held] = {}

        def seen() -> Iterator[pl.DataFrame]:
            for frame, records in self._records(spans):
                for p in np.unique(records.partitions).tolist():
                    there.setdefault(p, Held()).add(records.offsets[records.partitions == p], 0)
                yield frame
            for held in there.values():
                held.fold()

        said, stored = _sums(seen()), _sums(self._rows(spans))
        both = said.join(stored, on=["_partition", "bucket"])  # what only one side has is a gap, or no longer on the broker
        equal = (pl.col("rows") == pl.col("rows_right")) & (pl.col("sum") == pl.col("sum_right"))
        compared = dict(both.filter(equal).group_by("_partition").agg(pl.col("rows").sum()).iter_rows())
        differing = both.filter(~equal).select("_partition", "bucket").sort("_partition", "bucket")
        parts = [part for at in range(0, differing.height, ROUND) for part in self._by_row(spans, differing[at : at + ROUND])]
        counted = {p: (n, wrong, listed) for p, n, wrong, listed in _together(parts).iter_rows()} if parts else {}
        columns = self._columns({p: covering(np.array(listed, np.int64))[0] for p, (_, _, listed) in counted.items() if listed})
        found = {}
        for p in spans:
            n, wrong, listed = counted.get(p, (0, 0, []))
            found[p] = Content(compared.get(p, 0) + n, wrong, tuple(Mismatch(o, columns.get((p, o), ())) for o in listed))
        return {p: held.covered for p, held in there.items()}, found

    def _by_row(self, spans: Spans, buckets: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The rows of some buckets, as ``_together`` takes them."""
        numbers = {p: own["bucket"].to_list() for (p,), own in buckets.partition_by("_partition", as_dict=True).items()}
        spans = {p: intersection(spans[p], ranges(*((n * BUCKET, (n + 1) * BUCKET) for n in own))) for p, own in numbers.items()}
        places = buckets.with_row_index("at")
        there = np.zeros(buckets.height * BUCKET, np.bool_)
        said, if_dead = np.zeros(len(there), np.uint64), np.zeros(len(there), np.uint64)
        for frame, records in self._records(spans):
            at = _at(frame, places)
            there[at], said[at], if_dead[at] = True, _hashes(frame), _hashes(self._as_dead(frame, records))
        for frame in self._rows(spans):
            at, hashes, dead = _at(frame, places), _hashes(frame), frame["_error_class"].to_numpy()
            wrong = there[at] & (hashes != said[at]) & ~(dead & (hashes == if_dead[at]))
            told = frame.select("_partition", compared=pl.Series(there[at]), wrong=pl.Series(wrong), listed=pl.col("_offset"))
            first = pl.col("listed").filter(pl.col("wrong")).unique().bottom_k(LISTED)
            yield told.group_by("_partition").agg(pl.col("compared", "wrong").sum().cast(pl.Int64), first)

    def _columns(self, spans: Spans) -> dict[tuple[int, int], tuple[str, ...]]:
        """Of a few rows: in which columns they are not as their records say."""
        said: dict[tuple[int, int], tuple[dict[str, Any], dict[str, Any]]] = {}
        for frame, records in self._records(spans):
            for row, if_dead in zip(frame.to_dicts(), self._as_dead(frame, records).to_dicts(), strict=True):
                said[row["_partition"], row["_offset"]] = row, if_dead
        found: dict[tuple[int, int], tuple[str, ...]] = {}
        for row in (row for frame in self._rows(spans) for row in frame.to_dicts()):
            place = row["_partition"], row["_offset"]
            wanted = said.get(place, (row, row))[row["_error_class"]]
            names = [n for n, v in row.items() if v != wanted[n] and (v == v or wanted[n] == wanted[n])]  # not-a-number is no other value
            found[place] = tuple(dict.fromkeys([*found.get(place, ()), *names]))  # of all copies, where there are several
        return found

    def _records(self, spans: Spans) -> Iterator[tuple[pl.DataFrame, Records]]:
        """What the broker holds within ``spans``, decoded now, and as it was read."""
        missing = set(spans)
        for batch in self.broker.read(self.stream.topic, {}) if missing else ():
            records = batch.records
            kept = taken(records, np.flatnonzero(_within(spans, records.partitions, records.offsets)))
            if len(kept):
                yield self._content(decode(self.stream, kept, self.log, self.registry)), kept
            if self.progress:
                self.progress(len(records))
            missing -= {p for p in missing if p in batch.ends or (records.offsets[records.partitions == p] >= spans[p][-1, 1] - 1).any()}
            if not missing:
                return

    def _rows(self, spans: Spans) -> Iterator[pl.DataFrame]:
        for rows in self.lake.batches(self.stream.spec, ["_log", *self._names], nulls={}) if spans else ():
            for part in rows.to_batches(PIECE):  # polars copies text
                frame = pl.DataFrame(part).filter(pl.col("_log") == self.log).drop_nulls(["_partition", "_offset"])
                frame = frame.filter(pl.Series(_within(spans, frame["_partition"].to_numpy(), frame["_offset"].to_numpy())))
                if frame.height:
                    yield self._content(frame)
                if self.progress:
                    self.progress(part.num_rows)

    @property
    def _names(self) -> list[str]:
        return [c.name for c in self.stream.stored_columns if c.name not in UNSAID]

    def _content(self, rows: pa.Table | pl.DataFrame) -> pl.DataFrame:
        """The columns that are compared, in one order and one type."""
        types = pl.DataFrame(self.stream.spec.arrow.empty_table()).schema
        dead = pl.col("_error_class").is_not_null()
        # an oversized letter has no schema id, and would have one if the contract took as much by now
        schema_id = pl.when(~dead).then(pl.col("_schema_id"))
        own_date = pl.when(schema_id.is_not_null()).then(pl.col("partition_date"))
        columns = pl.DataFrame(rows).select(pl.col(n).cast(types[n]) for n in self._names)
        return columns.with_columns(partition_date=own_date, _schema_id=schema_id, _error_class=dead)

    def _as_dead(self, frame: pl.DataFrame, records: Records) -> pl.DataFrame:
        """The rows that these records would be if none could be decoded; a tombstone always can."""
        value = pl.Series("_value", records.values, pl.Binary)
        kept = pl.col("_value").is_null()
        fields = [pl.when(kept).then(pl.col(name)).alias(name) for name in (*(c.name for c in self.stream.columns), "_schema_id")]
        return frame.with_columns(value).with_columns(*fields, _error_class=~kept)


def _sums(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """By partition and bucket: how many rows, and the sum of their hashes (modulo 2**64), whatever their order."""
    total = pl.DataFrame(schema={"_partition": pl.Int64, "bucket": pl.Int64, "rows": pl.Int64, "sum": pl.UInt64})
    for frame in frames:
        hashed = frame.select("_partition", bucket=pl.col("_offset") // BUCKET, rows=pl.lit(1), sum=pl.Series(_hashes(frame)))
        part = hashed.group_by("_partition", "bucket").agg(pl.col("rows").sum().cast(pl.Int64), pl.col("sum").sum())
        total = pl.concat([total, part]).group_by("_partition", "bucket").agg(pl.col("rows", "sum").sum())
    return total


def _together(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """By partition: how many rows were compared, how many are wrong, and the offsets of the first of these."""
    first = pl.col("listed").explode().drop_nulls().unique().sort().head(LISTED)
    return pl.concat(parts).group_by("_partition").agg(pl.col("compared", "wrong").sum(), first)


def _hashes(frame: pl.DataFrame) -> npt.NDArray[np.uint64]:
    """Of each row with its offset, so that rows which changed places differ; polars tells null, empty and a null element apart."""
    return frame.drop("_partition").hash_rows().to_numpy()


def _at(frame: pl.DataFrame, places: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Where each row's offset stands in arrays of ``places`` buckets."""
    bucket = frame.select("_partition", bucket=pl.col("_offset") // BUCKET, within=pl.col("_offset") % BUCKET)
    at = bucket.join(places, on=["_partition", "bucket"], how="left", maintain_order="left")
    return at.select(pl.col("at").cast(pl.Int64) * BUCKET + pl.col("within")).to_series().to_numpy()


def _within(spans: Spans, partitions: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    inside = np.zeros(len(offsets), np.bool_)
    for p, span in spans.items():
        inside |= (partitions == p) & contains(span, offsets)
    return inside

