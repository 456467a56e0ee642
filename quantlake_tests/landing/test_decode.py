"""Decoding: every record comes out once, in order; the intact ones as sent, the damaged ones with their bytes."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import (
    BROKER_COLUMNS,
    PARTITION_DATE,
    Boolean,
    Bytes,
    Column,
    Date,
    Float,
    Integer,
    Price,
    Stream,
    Text,
    TextList,
    Timestamp,
    Type,
    Vector,
)  # fmt: skip
from quantlake.contract.schemas import Reference, Schema, avro, resolved
from quantlake.contract.wire import avro_record, wire_arrow
from quantlake.landing.avro import AvroReader
from quantlake.landing.decode import decode
from quantlake.ports import Records, UnknownSchemaError
from quantlake.sources.encode import encode

OWN, UNKNOWN_FIELD, OTHER_TYPE, REORDERED, NO_RECORD, UNKNOWN = 7, 8, 9, 10, 11, 12
ARRIVED = datetime(2024, 5, 6, 7, tzinfo=UTC)
UNITS = 10**38 - 1
VALUES: list[tuple[Type, st.SearchStrategy[Any]]] = [
    (Text, st.text(max_size=12)),
    (Integer, st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)),
    (Boolean, st.booleans()),
    (Float, st.floats(allow_nan=False)),
    (Bytes, st.binary(max_size=8)),
    (Date, st.dates()),
    (Timestamp, st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))),
    (Price, st.integers(-UNITS, UNITS).map(lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -18)))),
    (TextList, st.lists(st.text(max_size=3), max_size=3)),
    (Vector, st.lists(st.floats(width=32, allow_nan=False), max_size=3)),
]


def stream_of(*columns: Column) -> Stream:
    return Stream("tests.landing.damaged", doc="One.", owner="tests", topic="damaged.v1", message_key="key", columns=columns)


every = stream_of(
    Column("key", Text, "The key."),
    PARTITION_DATE,
    *(Column(f"c{i}", kind, "There.") for i, (kind, _) in enumerate(VALUES)),
    *(Column(f"n{i}", kind, "Perhaps.", null=True) for i, (kind, _) in enumerate(VALUES)),
)
small = stream_of(Column("key", Text, "The key."), Column("a", Integer, "One."), Column("b", Integer, "Other.", null=True), PARTITION_DATE)
EVERY_ROW = st.fixed_dictionaries(
    {"key": st.text(max_size=5), "partition_date": st.dates()}
    | {f"c{i}": values for i, (_, values) in enumerate(VALUES)}
    | {f"n{i}": st.none() | values for i, (_, values) in enumerate(VALUES)}
)
SMALL_ROW = st.fixed_dictionaries({
    "key": st.sampled_from(["", "\0", "k"]), "a": st.integers(-2, 2), "b": st.none() | st.integers(-2, 2),
    "partition_date": st.sampled_from([date(1970, 1, 1), date(1970, 1, 2)]),
})  # fmt: skip


class Schemas:
    """A registry that knows these schemas."""

    def __init__(self, stream: Stream) -> None:
        own = avro_record(stream)
        first, *others = own["fields"]
        self._known = {
            OWN: own,
            UNKNOWN_FIELD: {**own, "fields": [*own["fields"], {"name": "more", "type": "string"}]},
            OTHER_TYPE: {**own, "fields": [{**first, "type": "long"}, *others]},
            REORDERED: {**own, "fields": [{**f, "type": f["type"][::-1]} if isinstance(f["type"], list) else f for f in reversed(own["fields"])]},
            NO_RECORD: {"type": "string"},
        }
        for field in self._known[REORDERED]["fields"]:
            field.pop("default", None)

    def register(self, subject: str, schema: Schema) -> int:
        raise NotImplementedError

    def schema(self, schema_id: int) -> Schema:
        if schema_id not in self._known:
            raise UnknownSchemaError(f"no schema {schema_id}")
        return avro(self._known[schema_id])

    def latest(self, subject: str) -> tuple[int, Schema]:
        raise NotImplementedError


def records(values: Sequence[bytes | None]) -> Records:
    n = len(values)
    sizes = np.array([len(v or b"") for v in values], np.int64)
    arrived = np.full(n, int(ARRIVED.timestamp() * 1000))
    return Records(np.zeros(n, np.int32), np.arange(n), arrived, [b"key"] * n, [None] * n, list(values), sizes)


def decoded(stream: Stream, values: Sequence[bytes | None]) -> list[dict[str, Any]]:
    table = decode(stream, records(values), "cluster/topic", Schemas(stream))
    assert table.schema == stream.spec.arrow
    found = table.to_pylist()
    assert [r["_offset"] for r in found] == list(range(len(values)))
    assert all((r["_log"], r["_topic"], r["_timestamp"]) == ("cluster/topic", stream.topic, ARRIVED) for r in found)
    return found


def encoded(stream: Stream, rows: list[dict[str, Any]], schema_id: int = OWN) -> list[bytes]:
    return [m.value or b"" for m in encode(stream, pa.Table.from_pylist(rows, wire_arrow(stream)), schema_id)]


def sent(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in {c.name for c in BROKER_COLUMNS}}


def require_dead(row: dict[str, Any], stream: Stream, value: bytes, error_class: str | None = None) -> None:
    assert row["_value"] == value and row["_error"] and row["_error_class"]
    assert error_class is None or row["_error_class"] == error_class, row["_error"]
    assert sent(row) == {c.name: None for c in stream.columns} | {"partition_date": ARRIVED.date()}


@settings(deadline=None, max_examples=60)
@given(st.lists(EVERY_ROW, max_size=6))
def test_what_was_encoded_is_decoded(rows: list[dict[str, Any]]) -> None:
    assert [sent(r) for r in decoded(every, encoded(every, rows))] == rows


def reframed(value: bytes, schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + value[5:]


DAMAGE = st.one_of(
    st.tuples(st.just("intact"), st.none()),
    st.tuples(st.just("cut"), st.integers(1, 40)),
    st.tuples(st.just("appended"), st.binary(min_size=1, max_size=12)),
    st.tuples(st.just("flipped"), st.tuples(st.integers(5, 10_000), st.integers(0, 7))),
    st.tuples(st.just("framing"), st.sampled_from([b"", b"\0", b"\0\0\0\0", b"\1\0\0\0\7rest", b"plain"])),
    st.tuples(st.just("unknown_schema"), st.none()),
    st.tuples(st.just("wrong_schema"), st.sampled_from([UNKNOWN_FIELD, OTHER_TYPE, NO_RECORD])),
    st.tuples(st.just("tombstone"), st.none()),
)


def damaged(value: bytes, how: str, detail: Any) -> bytes | None:
    match how:
        case "cut":
            return value[: max(5, len(value) - detail)]
        case "appended":
            return value + detail
        case "flipped":
            place = 5 + detail[0] % (len(value) - 5)
            return value[:place] + bytes([value[place] ^ (1 << detail[1])]) + value[place + 1 :]
        case "framing":
            return bytes(detail)
        case "unknown_schema":
            return reframed(value, UNKNOWN)
        case "wrong_schema":
            return reframed(value, detail)
        case "tombstone":
            return None
    return value


def require_each_accounted_for(stream: Stream, batch: list[tuple[dict[str, Any], tuple[str, Any]]]) -> None:
    whole = encoded(stream, [row for row, _ in batch])
    values = [damaged(value, *damage) for value, (_, damage) in zip(whole, batch, strict=True)]
    for found, (row, (how, _)), value in zip(decoded(stream, values), batch, values, strict=True):
        if how == "tombstone":
            assert sent(found) == {c.name: None for c in stream.columns} | {"partition_date": ARRIVED.date()}
            assert found["_error_class"] is found["_value"] is None
        elif how == "intact":
            assert sent(found) == row and found["_error_class"] is None and found["_schema_id"] == OWN
        elif how != "flipped" or found["_error_class"]:
            assert value is not None
            require_dead(found, stream, value, how if how in ("framing", "unknown_schema", "wrong_schema") else None)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(EVERY_ROW, DAMAGE), min_size=1, max_size=8))
def test_damage_touches_no_other_record(batch: list[tuple[dict[str, Any], tuple[str, Any]]]) -> None:
    require_each_accounted_for(every, batch)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(SMALL_ROW, DAMAGE), min_size=1, max_size=60))
def test_damage_touches_no_other_record_of_few_bytes(batch: list[tuple[dict[str, Any], tuple[str, Any]]]) -> None:
    """Messages of one-byte fields: almost any shift of them can be decoded too."""
    require_each_accounted_for(small, batch)


def test_a_shift_that_ends_where_it_should_is_found() -> None:
    """One byte less, then one byte more: what lies between must not be read shifted by one."""
    rows = [{"key": "", "a": n % 2, "b": None, "partition_date": date(1970, 1, 1)} for n in range(50)]
    values = encoded(small, rows)
    broken = [values[0], values[1][:-1], *values[2:40], values[40] + b"\0", *values[41:]]
    for n, (found, row) in enumerate(zip(decoded(small, broken), rows, strict=True)):
        if n in (1, 40):
            require_dead(found, small, broken[n], "undecodable")
        else:
            assert sent(found) == row


def test_what_no_store_can_hold_is_a_dead_letter() -> None:
    """Avro can say year 290,000 and a decimal of 39 digits; a lake that met one would never land anything again."""
    schema = avro_record(every)
    bare = json.loads(json.dumps(schema).replace('"logicalType"', '"ignored"'))
    good: dict[str, Any] = {
        "key": "k", "partition_date": 1, "c0": "x", "c1": 1, "c2": True, "c3": 1.0, "c4": b"", "c5": 1, "c6": 1, "c7": b"\1", "c8": [], "c9": [],
    }  # fmt: skip
    beyond = [
        {"c6": 2**62}, {"n6": -(2**62)}, {"c5": 2**30}, {"partition_date": 2**31 - 1}, {"partition_date": -(2**30)}, {"n5": -(2**31)},
        {"c7": b"\x7f" + b"\xff" * 15}, {"n7": b"\x80" + b"\0" * 15}, {"n7": b"\1" + b"\0" * 20},
    ]  # fmt: skip
    values = [b"\0\0\0\0\7" + _written(bare, row) for change in beyond for row in (good, {**good, **change})]
    for n, (found, value) in enumerate(zip(decoded(every, values), values, strict=True)):
        if n % 2:
            require_dead(found, every, value)
        else:
            assert found["_error_class"] is None and found["c7"] == Decimal("1E-18")


def test_text_that_is_no_utf8_and_impossible_lengths_are_dead_letters() -> None:
    row = {"key": "kk", "a": 1, "b": None, "partition_date": date(2024, 1, 1)}
    (value,) = encoded(small, [row])
    body = value[6:]
    lengths = [b"\x01", b"\x80\x80\x80\x80\x80\x40", b"\xfe" + b"\xff" * 8 + b"\x01", b"\xff" * 12]
    bad = [value[:5] + b"\4\xc3\x28" + body[2:], *(value[:5] + length + body for length in lengths)]
    for v in bad:
        first, dead, last = decoded(small, [value, v, value])
        require_dead(dead, small, v, "undecodable")
        assert sent(first) == sent(last) == row


@pytest.mark.parametrize("count", [2**20, 2**40, 2**62, -(2**40)])
def test_a_list_that_claims_more_than_there_is(count: int) -> None:
    listed = stream_of(Column("key", Text, "Key."), PARTITION_DATE, Column("texts", TextList, "Texts."), Column("vector", Vector, "Numbers."))
    row = {"key": "", "partition_date": date(1970, 1, 1), "texts": ["a"], "vector": []}
    (value,) = encoded(listed, [row])
    claim = value[:7] + _written("long", count) + value[8:]
    dead, alive = decoded(listed, [claim, value])
    require_dead(dead, listed, claim, "undecodable")
    assert sent(alive) == row


def test_writers_may_order_fields_and_unions_as_they_like_and_omit_what_they_lack() -> None:
    rows = [{"key": "k", "a": n, "b": None if n % 2 else n, "partition_date": date(2024, 1, 1)} for n in range(5)]
    schema = json.loads(Schemas(small).schema(REORDERED).text)
    values = [b"\0" + REORDERED.to_bytes(4, "big") + _written(schema, row) for row in rows]
    assert [sent(r) for r in decoded(small, [*values, *encoded(small, rows)])] == [*rows, *rows]


NARROW = stream_of(
    Column("key", Text, "Key."), Column("n", Integer, "Number.", null=True), Column("x", Float, "Float."), Column("at", Timestamp, "When."),
    Column("bid", Price, "Bid.", null=True), Column("ask", Price, "Ask."), PARTITION_DATE,
)  # fmt: skip
DATE = {"type": "int", "logicalType": "date"}
SIDE = {"type": "enum", "name": "Side", "namespace": "common", "symbols": ["buy", "sell"]}
FIXED = {"type": "fixed", "name": "Money", "namespace": "common", "size": 16, "logicalType": "decimal", "precision": 38, "scale": 2}
WRITER = {"type": "record", "name": "narrow", "namespace": "w", "fields": [
    {"name": "key", "type": "common.Side"}, {"name": "n", "type": ["int", "null"]}, {"name": "x", "type": "float"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}, {"name": "bid", "type": ["null", "common.Money"]},
    {"name": "ask", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 4}}, {"name": "partition_date", "type": DATE},
]}  # fmt: skip


def test_a_writers_narrower_types_and_what_it_refers_to_are_read() -> None:
    refers = tuple(Reference(f"common.{r['name']}", r["name"], 1, avro(r)) for r in (SIDE, FIXED))
    schema = avro(WRITER, refers)

    class Referring(Schemas):
        def schema(self, schema_id: int) -> Schema:
            return schema

    def message(**change: Any) -> bytes:
        at = datetime(2024, 1, 1, 0, 0, 0, 5000, tzinfo=UTC)
        good = {"key": "sell", "n": 3, "x": 0.5, "at": at, "bid": Decimal("-1.25"), "ask": Decimal("7.0001"), "partition_date": date(2024, 1, 1)}
        return b"\0\0\0\0\7" + _written(resolved(schema), {**good, **change})

    whole = message()
    beyond = message(bid=Decimal(10**30))
    values = [whole, message(bid=None, n=None), whole[:5] + b"\4" + whole[6:], beyond, whole]
    found = decode(NARROW, records(values), "cluster/topic", Referring(NARROW)).to_pylist()
    assert [r["_error_class"] for r in found] == [None, None, "undecodable", "out_of_range", None]
    assert sent(found[0]) == {
        "key": "sell", "n": 3, "x": 0.5, "at": datetime(2024, 1, 1, 0, 0, 0, 5000, tzinfo=UTC), "bid": Decimal("-1.25"), "ask": Decimal("7.0001"),
        "partition_date": date(2024, 1, 1),
    }  # fmt: skip
    assert (found[1]["bid"], found[1]["n"]) == (None, None) and found[4]["key"] == "sell"


@pytest.mark.parametrize(
    "kind", ["double", {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 19}, {"type": "bytes"}, ["null", "string", "long"], "w.Self"]
)
def test_wider_types_are_not_kept(kind: Any) -> None:
    fields = [{**f, "type": kind} if f["name"] == "ask" else f for f in avro_record(NARROW)["fields"]]
    schema = avro({"type": "record", "name": "Self", "namespace": "w", "fields": fields})
    assert "'ask' is" in AvroReader(NARROW, schema, 1).mismatch


def test_numbers_beyond_32_bits_are_never_cut_and_defaults_do_no_harm() -> None:
    """A writer's `int` is a varint of any length to who reads it; polars takes its lowest 32 bits."""
    side = {**SIDE, "name": "Other"}
    fields = [
        {"name": "key", "type": side, "default": "buy"}, {"name": "n", "type": "int", "default": 7, "doc": 5},
        {"name": "x", "type": "double", "default": 1.0}, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}, "default": 0},
        {"name": "ask", "type": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}, "default": ""},
        {"name": "partition_date", "type": DATE, "default": 0},
    ]  # fmt: skip
    wide = {"type": "record", "name": "wide", "fields": [{"name": f["name"], "type": "long"} for f in fields]}
    wide["fields"][2]["type"], wide["fields"][4]["type"] = "double", "bytes"  # type: ignore[index]
    good = {"key": 1, "n": 2**31 - 1, "x": 2.0, "at": 1, "ask": b"\1", "partition_date": -1}
    changes = [{}, {"n": 2**32 + 5}, {"n": 2**31}, {"partition_date": 2**32 + 5}, {"key": 2**32}, {"key": 2}, {"n": -(2**31)}]
    values = [b"\0\0\0\0\7" + _written(wide, {**good, **change}) for change in changes]

    class Theirs(Schemas):
        def schema(self, schema_id: int) -> Schema:
            return avro({"type": "record", "name": "narrow", "fields": fields})

    found = decode(NARROW, records(values), "cluster/topic", Theirs(NARROW)).to_pylist()
    assert [r["_error_class"] for r in found] == [None, *["undecodable"] * 5, None]
    assert [r["n"] for r in found] == [2**31 - 1, *[None] * 5, -(2**31)] and found[0]["key"] == "sell" and found[0]["partition_date"] == date(1969, 12, 31)


def _written(schema: Any, value: Any) -> bytes:
    import io

    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()
