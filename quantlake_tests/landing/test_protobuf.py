"""Protobuf messages: what was encoded is decoded, what would be lost is a dead letter, any message type of a writer's file is read."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import PARTITION_DATE, Column, Date, Integer, Price, QuantLakeError, Stream, Text, TextList, Timestamp
from quantlake.contract.schemas import Reference, Schema, message
from quantlake.contract.wire import wire_arrow, wire_schema
from quantlake.landing.decode import decode
from quantlake.landing.protobuf import message_path
from quantlake.ports import Records, UnknownSchemaError
from quantlake.sources.encode import encode
from quantlake_tests.landing.test_decode import VALUES

DAY = date(2024, 5, 6)
NOT_NULL = ("list of text", "vector of float32")
every = Stream(
    "tests.landing.everything", doc="One.", owner="tests", topic="everything.v1", message_key="key", wire="protobuf",
    columns=(
        Column("key", Text, "The key."), PARTITION_DATE, *(Column(f"c{i}", kind, "There.") for i, (kind, _) in enumerate(VALUES)),
        *(Column(f"n{i}", kind, "Perhaps.", null=True) for i, (kind, _) in enumerate(VALUES) if kind.name not in NOT_NULL),
    ),
)  # fmt: skip
quote = Stream(
    "tests.landing.quote", doc="One.", owner="tests", topic="quote.v1", message_key="key", wire="protobuf",
    columns=(
        Column("key", Text, "The key."), Column("at", Timestamp, "When.", null=True), Column("bid", Price, "Bid.", null=True),
        Column("n", Integer, "Number.", null=True), Column("day", Date, "Day.", null=True), Column("tags", TextList, "Tags."), PARTITION_DATE,
    ),
)  # fmt: skip
ROW = st.fixed_dictionaries(
    {"key": st.text(max_size=5), "partition_date": st.dates()}
    | {f"c{i}": values for i, (_, values) in enumerate(VALUES)}
    | {f"n{i}": st.none() | values for i, (kind, values) in enumerate(VALUES) if kind.name not in NOT_NULL}
)
WRITERS = """
syntax = "proto3"; package writers;
import "google/protobuf/timestamp.proto"; import "common/side.proto";
message Other { optional int64 unrelated = 1; message Inner { optional int32 n = 9; optional common.Side key = 3; optional string partition_text = 4; } }
message Quote { optional string bid = 2; optional string key = 1; optional google.protobuf.Timestamp at = 15; optional sint32 day = 3; uint32 n = 4; }
message Deep { message A { message B { optional string key = 1; } } }
"""
SIDE = 'syntax = "proto3"; package common; enum Side { UNKNOWN = 0; BUY = 1; }'
OURS, THEIRS, BROKEN = 7, 8, 9


class Schemas:
    """A registry that knows the stream's own schema, another writer's and one that does not compile."""

    def __init__(self, stream: Stream) -> None:
        self._known = {
            OURS: wire_schema(stream),
            THEIRS: Schema("PROTOBUF", WRITERS, (Reference("common/side.proto", "side-value", 1, Schema("PROTOBUF", SIDE)),)),
            BROKEN: Schema("PROTOBUF", "message {"),
        }

    def schema(self, schema_id: int) -> Schema:
        if schema_id not in self._known:
            raise UnknownSchemaError(f"no schema {schema_id}")
        return self._known[schema_id]

    def register(self, subject: str, schema: Schema) -> int:
        raise NotImplementedError

    def latest(self, subject: str) -> tuple[int, Schema]:
        raise NotImplementedError


def decoded(stream: Stream, values: Sequence[bytes | None]) -> list[dict[str, Any]]:
    n = len(values)
    sizes = np.array([len(v or b"") for v in values], np.int64)
    arrived = np.full(n, int(datetime(2024, 5, 6, 7, tzinfo=UTC).timestamp() * 1000))
    records = Records(np.zeros(n, np.int32), np.arange(n), arrived, [b"key"] * n, [None] * n, list(values), sizes)
    found = decode(stream, records, "cluster/topic", Schemas(stream))
    assert found.schema == stream.spec.arrow
    return found.to_pylist()


def encoded(stream: Stream, rows: list[dict[str, Any]]) -> list[bytes]:
    return [m.value or b"" for m in encode(stream, pa.Table.from_pylist(rows, wire_arrow(stream)), OURS)]


def theirs(path: tuple[int, ...], frame: bytes, **fields: Any) -> bytes:
    """A message as another client writes it; ``frame`` are its message indexes."""
    from google.protobuf.message_factory import GetMessageClass

    found = GetMessageClass(message(Schemas(quote).schema(THEIRS), path))(**fields)
    return b"\0" + THEIRS.to_bytes(4, "big") + frame + found.SerializeToString()


def own(row: dict[str, Any], stream: Stream) -> dict[str, Any]:
    return {c.name: row[c.name] for c in stream.columns}


@settings(deadline=None, max_examples=60)
@given(st.lists(ROW, max_size=6))
def test_what_was_encoded_is_decoded(rows: list[dict[str, Any]]) -> None:
    assert [own(r, every) for r in decoded(every, encoded(every, rows))] == rows


def row(**values: Any) -> dict[str, Any]:
    return {"key": "k", "at": None, "bid": None, "n": None, "day": None, "tags": [], "partition_date": DAY, **values}


def test_decimals_are_their_digits_and_absent_is_null() -> None:
    rows = [row(bid=Decimal(text)) for text in ("0", "-0.000000000000000001", "100", "12345678901234567890.5")] + [row(), row(n=0)]
    values = encoded(quote, rows)
    assert [own(r, quote) for r in decoded(quote, values)] == rows
    assert all(digits in value for digits, value in zip((b"\x010", b"-0.000000000000000001", b"\x03100", b"890.5"), values, strict=False))
    assert values[0][:6] == b"\0\0\0\0\7\0"


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(["intact", "cut", "more", "flip"]), st.integers(0, 200), st.integers(0, 7)), min_size=1, max_size=50))
def test_damage_touches_no_other_record_and_never_goes_unseen(damage: list[tuple[str, int, int]]) -> None:
    """What is decoded says all that the message holds: it encodes to the same fields again."""
    rows = [row(bid=Decimal(n) / 8, n=n - 3, at=datetime(2024, 1, 1, 0, 0, n, tzinfo=UTC), tags=["é"] * (n % 3)) for n in range(len(damage))]
    values = []
    for whole, (how, at, bit) in zip(encoded(quote, rows), damage, strict=True):
        place = 6 + at % (len(whole) - 6)
        flipped = whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]
        values.append({"intact": whole, "cut": whole[:place], "more": whole + b"\xa0\x06\x01", "flip": flipped}[how])
    for found, sent, value, (how, _, _) in zip(decoded(quote, values), rows, values, damage, strict=True):
        if found["_error_class"]:
            assert how != "intact" and found["_value"] == value and found["_error"] and found["bid"] is None
        elif how == "intact":
            assert own(found, quote) == sent
        else:
            assert how != "more"
            clean = {c.name: found[c.name] for c in quote.columns}
            again = pa.Table.from_pylist([clean], pa.schema([f.with_nullable(True) for f in wire_arrow(quote)]))
            from google.protobuf.message_factory import GetMessageClass

            kind = GetMessageClass(message(wire_schema(quote)))
            there = kind.FromString(value[6:])
            assert sorted(there.tags) == sorted(again["tags"][0].as_py() or []) and there.HasField("n") == (found["n"] is not None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\x0a\x01k\xa0\x06\x01", "a field 100 that its schema does not know"), (b"\x1a\x031e5", "'1e5', no decimal"),
        (b"\x1a\x151.2345678901234567890", "no decimal of 20 digits and 18 places"), (b"\x12\x04\x08\x01\x10\x05", "finer than a microsecond"),
        (b"\x12\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "no time between the years 1 and 9999"), (b"\x0a\x02\xff\xfe", "DecodeError"),
        (b"\x0a\x7f", "DecodeError"), (b"\x1a\x00", "'', no decimal"),
        (b"\x1a\x021\n", "no decimal"),
    ],
)  # fmt: skip
def test_what_would_be_lost_is_a_dead_letter(body: bytes, said: str) -> None:
    good = encoded(quote, [row(n=1)])[0]
    bad = b"\0\0\0\0\7\0" + body
    first, dead, last = decoded(quote, [good, bad, good])
    assert (first["n"], last["n"], dead["n"], dead["_error_class"], dead["_value"], dead["_schema_id"]) == (1, 1, None, "undecodable", bad, OURS)
    assert said in dead["_error"]


def test_a_day_that_no_store_can_hold_is_a_dead_letter() -> None:
    (found,) = decoded(quote, [b"\0\0\0\0\7\0" + b"\x28\x80\x80\x80\x80\x04"])
    assert found["_error_class"] == "out_of_range" and "day is beyond" in found["_error"]


def test_other_writers_types_orders_and_message_types_are_read_side_by_side() -> None:
    """Confluent's message indexes: the second type of a file as [1], an inner one as [0, 0], the first in short or in full."""
    values = [
        theirs((1,), b"\x02\x02", bid="1.5", key="a", day=-3, n=4_000_000_000), encoded(quote, [row(n=1)])[0],
        theirs((0, 0), b"\x04\x00\x00", n=5, key=1), b"\0\0\0\0\7\x02\x00" + encoded(quote, [row(n=2)])[0][6:], theirs((1,), b"\x02\x02"),
    ]  # fmt: skip
    stream = Stream(
        "tests.landing.wide", doc="One.", owner="tests", topic="wide.v1", message_key="key", wire="protobuf",
        columns=(*quote.columns, Column("partition_text", Text, "More.", null=True)),
    )  # fmt: skip
    found = decoded(stream, values)
    assert [r["_error"] for r in found] == [None] * 5
    assert [(r["key"], r["n"], r["_schema_id"]) for r in found] == [
        ("a", 4_000_000_000, THEIRS), ("k", 1, OURS), ("BUY", 5, THEIRS), ("k", 2, OURS), (None, 0, THEIRS),
    ]  # fmt: skip
    assert (found[0]["bid"], found[0]["day"], found[0]["tags"]) == (Decimal("1.5"), date(1969, 12, 29), None)


@pytest.mark.parametrize(
    ("value", "error_class", "said"),
    [
        (theirs((0,), b"\0"), "wrong_schema", "a field 'unrelated' that the contract does not know"),
        (theirs((0,), b"\x02\x08"), "wrong_schema", r"no message \[4\]"), (theirs((0,), b"\x04\x00\x09"), "framing", "no Protobuf message indexes"),
        (b"\0\0\0\0\x08", "framing", "no Protobuf message indexes"), (b"\0\0\0\0\x08\xff\xff\xff\xff\xff\xff", "framing", "no Protobuf message"),
        (b"\0\0\0\0\x09\0", "wrong_schema", "no Protobuf schema"), (b"\0\0\0\0\x0a\0", "unknown_schema", "no schema 10"),
    ],
)  # fmt: skip
def test_what_is_no_message_of_the_stream(value: bytes, error_class: str, said: str) -> None:
    import re

    good = encoded(quote, [row(n=1)])[0]
    dead, alive = decoded(quote, [value, good])
    assert (dead["_error_class"], dead["_value"], alive["n"]) == (error_class, value, 1)
    assert re.search(said, dead["_error"]), dead["_error"]


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=16), st.binary(max_size=5))
def test_message_indexes_are_read_to_their_end(path: list[int], body: bytes) -> None:
    def varint(number: int) -> bytes:
        number <<= 1
        return bytes([*((number >> 7 * n & 0x7F) | 0x80 for n in range(max(0, (number.bit_length() - 1) // 7))), number >> 7 * max(0, (number.bit_length() - 1) // 7)])

    frame = b"".join(map(varint, [len(path), *path]))
    assert message_path(b"12345" + frame + body, 5) == (5 + len(frame), tuple(path))
    assert message_path(b"12345" + frame[:-1], 5) is None
    assert message_path(b"12345\0" + body, 5) == (6, (0,))


def test_a_nullable_list_has_no_place_in_protobuf() -> None:
    with pytest.raises(QuantLakeError, match=r"raw/landing/listed: Protobuf does not tell an empty list from none; make \['tags'\]"):
        Stream("tests.landing.listed", doc="One.", owner="t", topic="l.v1", message_key="tags", wire="protobuf",
               columns=(Column("tags", TextList, "Tags.", null=True), PARTITION_DATE))  # fmt: skip


class Only:
    """A registry of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def schema(self, schema_id: int) -> Schema:
        return self._schema

    def register(self, subject: str, schema: Schema) -> int:
        raise NotImplementedError

    def latest(self, subject: str) -> tuple[int, Schema]:
        raise NotImplementedError


def of(schema: Schema, *values: bytes) -> list[dict[str, Any]]:
    n = len(values)
    records = Records(np.zeros(n, np.int32), np.arange(n), np.zeros(n, np.int64), [b"key"] * n, None, list(values), np.array([len(v) for v in values]))
    return decode(quote, records, "cluster/topic", Only(schema)).to_pylist()


@pytest.mark.parametrize(
    "schema",
    [
        Schema("PROTOBUF", 'edition = "2023"; package x; message M { string key = 1; }'),  # which ptars panics at
        Schema("PROTOBUF", WRITERS, (Reference("common/" + "s" * 300, "s", 1, Schema("PROTOBUF", SIDE)),)),
        Schema("PROTOBUF", WRITERS, (Reference("common/\0", "s", 1, Schema("PROTOBUF", SIDE)),)), Schema("PROTOBUF", "message \ud800 {"),
        Schema("AVRO", '{"type": "record", "name": "M", "fields": [{"name": ["key"], "type": "string"}]}'), Schema("AVRO", "[" * 5000),
    ],
    ids=["editions", "long name", "nul", "surrogate", "list", "deep"],
)  # fmt: skip
def test_no_schema_stops_landing(schema: Schema, capfd: pytest.CaptureFixture[str]) -> None:
    for found in of(schema, b"\0\0\0\0\7\0\x0a\x01k", b"\0\0\0\0\7\0"):
        assert found["_error_class"] in ("wrong_schema", "undecodable") and found["_value"] and "\n" not in found["_error"]
    assert "panicked" not in capfd.readouterr().err


def test_what_a_reader_would_cut_to_its_type_or_merge_is_a_dead_letter() -> None:
    """Numbers beyond 32 bits in fields of 32, a field that came twice, a word that an enumeration lacks: Protobuf's readers take them all."""
    schema = Schema("PROTOBUF", 'syntax = "proto3"; enum E { A = 0; } message M { optional int32 n = 1; optional E key = 2; repeated string tags = 3; }')
    huge = b"\x08\x87\x80\x80\x80\x20"  # n = 2**33 + 7
    values = [b"\0\0\0\0\7\0" + body for body in (b"\x08\x07", huge, b"\x08\x07\x08\x08", b"\x10\x05", b"\x1a\x01t\x08\x07")]
    found = of(schema, *values)
    assert [r["n"] for r in found] == [7, None, None, None, 7] and found[4]["tags"] == ["t"]
    assert [r["_error_class"] for r in found] == [None, "undecodable", "undecodable", "undecodable", None]
    assert "of its 6 bytes" in found[1]["_error"] and "key is 5, for which its enumeration has no word" in found[3]["_error"]


def test_descriptors_in_base64_are_read_with_all_that_they_import() -> None:
    """As clients register them that have compiled code alone; beside .proto texts, over two levels."""
    import base64

    from google.protobuf import descriptor_pb2

    def packed(schema: Schema, name: str, **renamed: str) -> str:
        file = descriptor_pb2.FileDescriptorProto()
        message(schema).file.CopyToProto(file)
        file.name = name
        return base64.b64encode(file.SerializeToString()).decode()

    base = Schema("PROTOBUF", 'syntax = "proto3"; package z; message Base { optional string key = 1; }')
    middle_text = 'syntax = "proto3"; package z; import "base.proto"; message Middle { optional Base base = 1; optional int64 n = 2; }'
    top_text = 'syntax = "proto3"; package z; import "middle.proto"; import "google/protobuf/timestamp.proto"; message Top { optional int64 n = 7; optional google.protobuf.Timestamp at = 8; }'
    for base_in, middle_in, top_in in ((True, True, True), (True, False, False), (False, True, False), (False, False, True)):
        one = Schema("PROTOBUF", packed(base, "base.proto")) if base_in else base
        to_base = (Reference("base.proto", "base", 1, one),)
        two = Schema("PROTOBUF", middle_text, to_base)
        two = Schema("PROTOBUF", packed(two, "middle.proto"), to_base) if middle_in else two
        to_both = (Reference("middle.proto", "middle", 1, two),)
        three = Schema("PROTOBUF", top_text, to_both)
        three = Schema("PROTOBUF", packed(three, "top.proto"), to_both) if top_in else three
        (found,) = of(three, b"\0\0\0\0\7\0\x38\x05")
        assert (found["_error"], found["n"]) == (None, 5)
