"""Records -> rows of a raw table: Confluent framing, Avro or Protobuf by schema id, dead letters for what cannot be decoded.

Messages of one schema are decoded together (``avro``, ``protobuf``). Where that fails they are halved until the bad message stands alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from quantlake.contract import Column, Date, Price, QuantLakeError, Stream, Timestamp
from quantlake.contract.schemas import Schema
from quantlake.landing.avro import FRAME_BYTES, AvroReader
from quantlake.landing.protobuf import ProtobufReader, message_path
from quantlake.ports import Records, Registry, UnknownSchemaError

ALONE = 32  # at this size a failing block is decoded message by message, strictly
LAST_MILLISECOND = 253_402_300_799_999  # year 9999; what a producer stamps later than that is no time
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LIMITS: dict[pa.DataType, tuple[int, int]] = {  # Avro says more than stores can hold: year 290,000, 39 digits
    Date.arrow: ((date.min - EPOCH.date()).days, (date.max - EPOCH.date()).days),
    Timestamp.arrow: (-62_135_596_800_000_000, 253_402_300_799_999_999),
    Price.arrow: (1 - 10**38, 10**38 - 1),
}

Places = npt.NDArray[np.int64]
Letter = tuple[int, int | None, str, str]  # place, schema id where it names one, error class, error


class Reader(Protocol):
    """Reads messages of one schema; ``mismatch`` says why they cannot be kept in the stream's columns, "" if they can."""

    @property
    def mismatch(self) -> str: ...
    def rows(self, values: Sequence[bytes], size: int) -> pl.DataFrame | None: ...
    def fault(self, value: bytes) -> str: ...


def decode(stream: Stream, records: Records, log: str, registry: Registry) -> pa.Table:
    """Records -> the stream's stored columns (``stream.spec.arrow``), a row a record, in the same order."""
    return decoded(stream, records, log, registry).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(stream.spec.arrow)


def decoded(stream: Stream, records: Records, log: str, registry: Registry) -> pl.DataFrame:
    """``decode`` in polars, whose text Arrow takes without a copy."""
    n = len(records)
    parts = list(_decoded(stream, records, registry))
    if len(parts) == 1 and (np.diff(parts[0][0]) > 0).all():
        rows = parts[0][1]
    else:
        places = [pl.DataFrame({"_place": own}) for own, _ in parts]
        parts_ = [pl.concat([rows, place], how="horizontal") for (_, rows), place in zip(parts, places, strict=True)]
        rows = pl.concat(parts_).sort("_place").drop("_place") if parts_ else _assembled(stream, 0)
    stamps = records.timestamps
    arrived = pl.Series("_timestamp", stamps * 1000).cast(pl.Datetime("us", "UTC"))
    if n and (stamps.min() < 0 or stamps.max() > LAST_MILLISECOND):
        arrived = arrived.zip_with(pl.Series((stamps >= 0) & (stamps <= LAST_MILLISECOND)), pl.Series([None], dtype=arrived.dtype))
    dates = rows["partition_date"]
    undated = dates.is_null() | rows["_error_class"].is_not_null()
    if undated.any():  # neither a dead letter nor a tombstone has a date of its own
        dates = arrived.dt.date().fill_null(datetime.now(UTC).date()).zip_with(undated, dates).alias("partition_date")
    columns = {c.name: c for c in rows.get_columns()} | {
        "partition_date": dates,
        "_log": pl.repeat(log, n, eager=True),
        "_topic": pl.repeat(stream.topic, n, eager=True),
        "_partition": pl.Series(records.partitions).cast(pl.Int64),
        "_offset": pl.Series(records.offsets),
        "_timestamp": arrived,
        "_key": _repeating(records.keys),
        "_headers": pl.Series(records.headers, dtype=pl.String) if records.headers else pl.repeat(None, n, dtype=pl.String, eager=True),
    }
    return pl.DataFrame({name: columns[name] for name in stream.spec.arrow.names})


def _repeating(keys: Sequence[bytes | None]) -> pl.Series:
    """Keys as a column, each different one taken over once."""
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return pl.Series(list(places), dtype=pl.Binary).gather(np.fromiter(map(places.__getitem__, keys), np.uint32, len(keys)))


def _decoded(stream: Stream, records: Records, registry: Registry) -> Iterator[tuple[Places, pl.DataFrame]]:
    """Rows and the places of their records: all at once where they are of one schema and whole, else by kind."""
    values = records.values
    letters: list[Letter] = []
    whole = _at_once(stream, records, registry)
    if whole is not None:
        yield _kept(stream, [_within_limits(stream, np.arange(len(values)), *whole, letters)], whole[1])
    else:
        kinds: dict[bytes, list[int]] = {}
        tombstones: list[int] = []
        for place, (value, size) in enumerate(zip(values, records.sizes.tolist(), strict=True)):
            if value is None:
                tombstones.append(place)
            elif size > stream.max_message_bytes:
                letters.append((place, None, "oversized", f"{size:,} bytes, the contract takes {stream.max_message_bytes:,}"))
            elif size < FRAME_BYTES or value[0] != 0:
                letters.append((place, None, "framing", f"no Confluent frame: starts with {value[:FRAME_BYTES].hex() or 'nothing'}"))
            else:
                kinds.setdefault(value[:FRAME_BYTES], []).append(place)
        if tombstones:
            yield np.array(tombstones), _assembled(stream, len(tombstones))
        for frame, places in kinds.items():
            yield from _of_frame(stream, values, int.from_bytes(frame[1:], "big"), places, registry, letters)
    if letters:
        yield _dead(stream, values, letters)


def _at_once(stream: Stream, records: Records, registry: Registry) -> tuple[pl.DataFrame, int] | None:
    """The rows and schema id of messages that are all whole, of the first one's schema and not oversized; None: they are not."""
    values = records.values
    if not values or values[0] is None or len(values[0]) < FRAME_BYTES or values[0][0] != 0 or None in values:
        return None
    schema_id = int.from_bytes(values[0][1:FRAME_BYTES], "big")
    try:
        schema = registry.schema(schema_id)
    except UnknownSchemaError:
        return None
    found = _prefix(schema, values[0])
    reader = _reader(stream, schema, schema_id, *found) if found else None
    if reader is None or reader.mismatch or records.sizes.max() > stream.max_message_bytes:
        return None
    frame = reader.rows(values, int(records.sizes.sum()))  # type: ignore[arg-type]
    return None if frame is None else (frame, schema_id)


def _of_frame(
    stream: Stream, values: Sequence[bytes | None], schema_id: int, places: list[int], registry: Registry, letters: list[Letter]
) -> Iterator[tuple[Places, pl.DataFrame]]:
    """The messages of one writer's schema, by what else stands before their bodies."""
    try:
        schema = registry.schema(schema_id)
    except UnknownSchemaError as error:
        letters += [(p, schema_id, "unknown_schema", str(error)) for p in places]
        return
    kinds: dict[tuple[bytes, tuple[int, ...]], list[int]] = {}
    for place in places:
        if found := _prefix(schema, values[place] or b""):
            kinds.setdefault(found, []).append(place)
        else:
            letters.append((place, schema_id, "framing", "no Protobuf message indexes behind the schema id"))
    for prefix, own in kinds.items():
        reader = _reader(stream, schema, schema_id, *prefix)
        if reader.mismatch:
            letters += [(p, schema_id, "wrong_schema", reader.mismatch) for p in own]
            continue
        whole = [_within_limits(stream, np.array(some), frame, schema_id, letters) for some, frame in _by_halves(values, own, reader, schema_id, letters)]
        if whole:
            yield _kept(stream, whole, schema_id)


def _prefix(schema: Schema, value: bytes) -> tuple[bytes, tuple[int, ...]] | None:
    """What stands before a message's body, and the message type that it says; None: it is damaged."""
    if schema.kind == "AVRO":
        return value[:FRAME_BYTES], ()
    found = message_path(value, FRAME_BYTES)
    return (value[: found[0]], found[1]) if found else None


@dataclass(frozen=True)
class _Unusable:
    mismatch: str

    def rows(self, values: Sequence[bytes], size: int) -> pl.DataFrame | None:
        return None

    def fault(self, value: bytes) -> str:
        return self.mismatch


@lru_cache(maxsize=64)
def _reader(stream: Stream, schema: Schema, schema_id: int, prefix: bytes, path: tuple[int, ...]) -> Reader:
    """Whatever is wrong with a schema, its messages are dead letters, and no reason to stop landing."""
    try:
        return AvroReader(stream, schema, schema_id) if schema.kind == "AVRO" else ProtobufReader(stream, schema, prefix, path)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic is no Exception
        said = str(error) if isinstance(error, QuantLakeError) else f"a schema that cannot be used: {type(error).__name__}: {error}"
        return _Unusable(" ".join(said.split()))


def _by_halves(
    values: Sequence[bytes | None], places: list[int], reader: Reader, schema_id: int, letters: list[Letter]
) -> Iterator[tuple[list[int], pl.DataFrame]]:
    """What can be read, by halves. A few are judged one by one, and those that look whole are still read together: a block for each
    would be 1 ms, where in a topic with one bad message in a hundred every second one comes here."""
    pending = [places]
    while pending:
        some = pending.pop()
        own = [values[p] or b"" for p in some]
        frame = reader.rows(own, sum(map(len, own)))
        if frame is not None:
            yield some, frame
        elif len(some) > ALONE:
            pending += [some[len(some) // 2 :], some[: len(some) // 2]]
        elif len(some) > 1:
            errors = [reader.fault(value) for value in own]
            bad = [p for p, error in zip(some, errors, strict=True) if error]
            good = [p for p, error in zip(some, errors, strict=True) if not error]
            pending += [[p] for p in bad or good] + [good] * bool(bad and good)
        else:
            letters.append((some[0], schema_id, "undecodable", reader.fault(own[0]) or "a value beyond its type, or a shape that its reader does not take"))


def _within_limits(
    stream: Stream, places: Places, frame: pl.DataFrame, schema_id: int, letters: list[Letter]
) -> tuple[Places, pl.DataFrame]:
    """A row with a value that no store can hold is a dead letter: met by the lake, it would stop every landing after it."""
    for column in stream.columns:
        if column.type.arrow not in LIMITS or column.name not in frame.columns:
            continue
        low, high = _limits(column, frame[column.name].dtype)
        units = frame[column.name].to_physical()
        least, most = units.min(), units.max()
        if least is None or (least >= low and most <= high):  # type: ignore[operator]
            continue
        held = units.is_between(low, high).fill_null(value=True)
        error = f"{column.name} is beyond what its type {column.type.name} can hold"
        letters += [(p, schema_id, "out_of_range", error) for p in places[(~held).to_numpy()].tolist()]
        places, frame = places[held.to_numpy()], frame.filter(held)
    return places, frame


def _limits(column: Column, stored: pl.DataType) -> tuple[int, int]:
    """The least and the greatest physical value that a column takes, in the units of what the writer stored."""
    low, high = LIMITS[column.type.arrow]
    if isinstance(stored, pl.Decimal):
        finer = 10 ** (18 - stored.scale)
        return -(high // finer), high // finer
    return (low // 1000, high // 1000) if isinstance(stored, pl.Datetime) and stored.time_unit == "ms" else (low, high)


def _kept(stream: Stream, parts: Sequence[tuple[Places, pl.DataFrame]], schema_id: int) -> tuple[Places, pl.DataFrame]:
    """Blocks of one schema, whose values are within their limits by now: polars does not even join others."""
    places = np.concatenate([own for own, _ in parts])
    return places, _assembled(stream, len(places), pl.concat([frame for _, frame in parts]), schema_id)


def _dead(stream: Stream, values: Sequence[bytes | None], letters: list[Letter]) -> tuple[Places, pl.DataFrame]:
    places, ids, classes, errors = zip(*letters, strict=True)
    rows = _assembled(stream, len(places)).with_columns(
        pl.Series("_schema_id", ids, pl.Int64), pl.Series("_error_class", classes, pl.String), pl.Series("_error", errors, pl.String),
        pl.Series("_value", [values[p] for p in places], pl.Binary),
    )  # fmt: skip
    return np.array(places), rows


def _assembled(stream: Stream, n: int, frame: pl.DataFrame | None = None, schema_id: int | None = None) -> pl.DataFrame:
    """Message columns, schema id and error columns; null where there is nothing."""
    types = pl.DataFrame(stream.spec.arrow.empty_table()).schema
    columns = []
    for name in [c.name for c in stream.columns]:
        if frame is not None and name in frame.columns:
            columns.append(frame[name].cast(types[name]))
        else:
            columns.append(pl.repeat(None, n, dtype=types[name], eager=True).alias(name))
    columns.append(pl.repeat(schema_id, n, dtype=pl.Int64, eager=True).alias("_schema_id"))
    columns += [pl.repeat(None, n, dtype=types[name], eager=True).alias(name) for name in ("_error_class", "_error", "_value")]
    return pl.DataFrame(columns)
