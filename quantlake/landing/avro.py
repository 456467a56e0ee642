"""Reading Avro messages together, as one container whose single block is the joined messages (polars: 2 M rows/s, where one decoder
call a message does 80 k).

The container's schema reads each message's frame as two more fields before the body, and a secret guard behind it as another: the
frame has to be the expected one, and the guard comes back only if the body before it was read to its last byte and no further.
"""

import io
import json
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from quantlake.contract import Column, Float, Integer, Price, Stream, Text, Timestamp
from quantlake.contract.schemas import Schema, expanded, resolved
from quantlake.landing.quiet import without_panics

FRAME_BYTES = 5  # magic 0, then the schema id, big endian
MAGIC, SCHEMA_ID, GUARD = "_magic", "_schema", "_guard"
SCALE, PRECISION = 18, 38


class AvroReader:
    """Messages of one writer's schema, as the columns of a stream; a writer's types may be narrower where nothing is lost."""

    def __init__(self, stream: Stream, schema: Schema, schema_id: int) -> None:
        self._schema, self._schema_id = schema, schema_id
        self._record = expanded(schema)
        self.mismatch = _mismatch(stream, self._record)

    def rows(self, values: Sequence[bytes], size: int) -> pl.DataFrame | None:
        """The messages (``size`` bytes in all) as rows, in one go; None if any is not exactly one record behind this schema's frame."""
        guard = os.urandom(8)
        n = len(values)
        start = b"".join([self._header, _varint(n), _varint(size + n * len(guard)), values[0]])
        container = guard.join([start, *values[1:], _SYNC])
        try:
            with without_panics():
                frame = pl.read_avro(io.BytesIO(container))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a polars panic is no Exception
            return None
        if frame.height != n:
            return None
        ids, guards = frame[SCHEMA_ID].to_numpy().view(np.uint32), frame[GUARD].to_numpy().view(np.uint64)
        same = not frame[MAGIC].any() and (ids.byteswap() == self._schema_id).all() and (guards == np.frombuffer(guard, np.uint64)[0]).all()
        return self._narrowed(frame.drop(MAGIC, SCHEMA_ID, GUARD)) if same else None

    def fault(self, value: bytes) -> str:
        """Why one message alone cannot be decoded; "" if it can."""
        import fastavro

        stream = io.BytesIO(value[FRAME_BYTES:])
        try:
            fastavro.schemaless_reader(stream, self._parsed)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # deep nesting recurses
            said = str(error).replace(f" from {stream}", "")  # the address of our buffer is no one's news
            return f"{type(error).__name__}: {said}" if said else type(error).__name__
        rest = len(value) - FRAME_BYTES - stream.tell()
        return f"{rest} bytes beyond the record" if rest else ""

    @cached_property
    def _header(self) -> bytes:
        return _header(_framed(self._record))

    @cached_property
    def _parsed(self) -> Any:
        import fastavro

        return fastavro.parse_schema(resolved(self._schema))

    @cached_property
    def _ints(self) -> dict[str, bool]:
        """The fields of 32 bits, and whether they are dates."""
        kinds = {f["name"]: k for f in self._record["fields"] for k in _kinds(f)}
        return {n: k != "int" for n, k in kinds.items() if k == "int" or (isinstance(k, dict) and k["type"] == "int")}

    @cached_property
    def _symbols(self) -> dict[str, list[str]]:
        """The words of fields that are enumerations."""
        kinds = {f["name"]: k for f in self._record["fields"] for k in _kinds(f)}
        return {name: k["symbols"] for name, k in kinds.items() if isinstance(k, dict) and k["type"] == "enum"}

    def _narrowed(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """What was read as longs as what it is: enumerations as their words, dates as dates. None: a number is beyond its type."""
        for name, is_date in self._ints.items():
            if not frame[name].is_between(-(1 << 31), (1 << 31) - 1).all():
                return None
            frame = frame.with_columns(frame[name].cast(pl.Int32).cast(pl.Date)) if is_date else frame
        for name, symbols in self._symbols.items():
            least, most = frame[name].min(), frame[name].max()
            if least is not None and (least < 0 or most >= len(symbols)):  # type: ignore[operator]
                return None
            frame = frame.with_columns(frame[name].replace_strict(list(range(len(symbols))), symbols, return_dtype=pl.String))
        return frame


def _mismatch(stream: Stream, record: Any) -> str:
    """Why a writer's schema cannot be kept in the stream's columns without loss; "" if it can."""
    if not isinstance(record, dict) or record.get("type") != "record":
        return "not a record"
    known = {c.name: c for c in stream.columns}
    for field in record.get("fields", []):
        kinds = _kinds(field)
        if field["name"] not in known:
            return f"the writer has a field {field['name']!r} that the contract does not know"
        if len(kinds) != 1 or not _fits(known[field["name"]], kinds[0]):
            return f"the writer's {field['name']!r} is {kinds}, the contract says {known[field['name']].type.avro}"
    return ""


def _fits(column: Column, kind: Any) -> bool:
    bare = {k: v for k, v in kind.items() if k in ("type", "logicalType", "items", "precision", "scale", "symbols")} if isinstance(kind, dict) else kind
    if isinstance(bare, dict) and bare.keys() == {"type"}:  # a primitive with attributes of no meaning
        bare = bare["type"]
    if bare == column.type.avro:
        return True
    if not isinstance(bare, dict):
        return (column.type, bare) in ((Integer, "int"), (Float, "float"))
    if column.type is Text:
        return bool(bare["type"] == "enum")
    if column.type is Timestamp:
        return bare == {"type": "long", "logicalType": "timestamp-millis"}
    if column.type is Price and bare.get("logicalType") == "decimal" and bare["type"] in ("bytes", "fixed") and kind.get("size", 0) <= 16:
        return bool(bare.get("scale", 0) <= SCALE and bare.get("precision", PRECISION + 1) <= PRECISION)
    return False


def _kinds(field: Any) -> list[Any]:
    return [k for k in (field["type"] if isinstance(field["type"], list) else [field["type"]]) if k != "null"]


def _framed(record: dict[str, Any]) -> dict[str, Any]:
    before = [{"name": MAGIC, "type": "boolean"}, {"name": SCHEMA_ID, "type": "float"}]
    kinds = {f["name"]: f["type"] for f in record["fields"]}  # and nothing else: polars takes no defaults
    fields = [{"name": n, "type": [_read(k) for k in kind] if isinstance(kind, list) else _read(kind)} for n, kind in kinds.items()]
    return {"type": "record", "name": "message", "fields": [*before, *fields, {"name": GUARD, "type": "double"}]}


def _read(kind: Any) -> Any:
    """As the long that it is on the wire, where polars would cut a number to 32 bits without a word, or reads none."""
    narrow = kind == "int" or (isinstance(kind, dict) and kind["type"] in ("enum", "int"))
    return "long" if narrow else kind


_SYNC = b"quantlake-landing"[:16]


def _header(schema: dict[str, Any]) -> bytes:
    text = json.dumps(schema).encode()
    return b"".join([
        b"Obj\x01", _varint(2), _varint(11), b"avro.schema", _varint(len(text)), text, _varint(10), b"avro.codec", _varint(4), b"null",
        b"\x00", _SYNC,
    ])  # fmt: skip


def _varint(number: int) -> bytes:
    zigzag, out = number << 1, bytearray()
    while zigzag > 0x7F:
        out.append((zigzag & 0x7F) | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)
