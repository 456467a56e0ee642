"""Records that no well-behaved producer sends: made from a seed, written to the broker by hand, and held against what landed.

A client refuses some of them (times before 1970, header names that are no UTF-8), so the produce request is written here.
"""

import base64
import io
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import fastavro

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
    Vector,
)
from quantlake.contract.wire import avro_record
from quantlake.landing.decode import LAST_MILLISECOND

KINDS = (Text, Integer, Boolean, Float, Bytes, Date, Timestamp, Price, TextList, Vector)
fuzzed = Stream(
    "quantlake_tests.landing.fuzzed", doc="Every type.", owner="tests", topic="fuzzed.v1", message_key="c0", topic_partitions=2,
    storage_partition="year", columns=(
        PARTITION_DATE,
        *(Column(f"c{n}", kind, "There.") for n, kind in enumerate(KINDS)),
        *(Column(f"n{n}", kind, "Perhaps.", null=True) for n, kind in enumerate(KINDS)),
    ),
)  # fmt: skip
Header = tuple[bytes, bytes | None]


@dataclass(frozen=True)
class Sent:
    """A record, and what it may land as: ``row`` (None: as none), or a dead letter of one of these classes ("": as none)."""

    value: bytes | None
    key: bytes | None = b"k"
    headers: tuple[Header, ...] = ()
    at: int = 1_704_067_200_000
    row: Mapping[str, Any] | None = None
    dead: tuple[str, ...] = ()


class Hostile:
    """Records of one contract from one seed. ``own`` is its schema's id, ``same`` others of it, ``wrong`` of another, ``unknown`` of none."""

    def __init__(self, seed: int, stream: Stream, own: int, same: Sequence[int], wrong: Sequence[int], unknown: Sequence[int]) -> None:
        self.chance, self.stream = random.Random(seed), stream
        self.own, self.same, self.wrong, self.unknown = own, same, wrong, unknown
        self.types = {f["name"]: f["type"] for f in json.loads(json.dumps(avro_record(stream)).replace('"logicalType"', '"ignored"'))["fields"]}

    def records(self, count: int) -> Iterator[Sent]:
        ways = (self.noise, self.cut, self.longer, self.twice, self.holding, self.reframed, self.beyond, self.claim, self.branch,
                self.flipped, self.nothing)
        for _ in range(count):
            sent = self.intact() if self.chance.random() < 0.4 else self.chance.choice(ways)()
            yield replace(sent, key=self.key(), headers=self.headers(), at=self.at())

    def intact(self, schema_id: int | None = None, **values: Any) -> Sent:
        row = {c.name: self.content(c) for c in self.stream.columns} | values
        return Sent(self.framed(b"".join(self.parts(row).values()), schema_id), row=row)

    def noise(self) -> Sent:
        some = self.chance.randbytes(self.chance.choice([0, 1, 4, 5, 6, 40, 3000]))
        if self.chance.random() < 0.5:
            return Sent(self.framed(some), dead=("undecodable", "out_of_range", ""))
        return Sent(b"\1" + some, dead=("framing",))

    def cut(self) -> Sent:
        value = self.intact().value or b""
        length = self.chance.randrange(len(value))
        return Sent(value[:length], dead=("undecodable" if length >= 5 else "framing",))

    def longer(self) -> Sent:
        return Sent((self.intact().value or b"") + self.chance.randbytes(self.chance.randint(1, 20)), dead=("undecodable",))

    def twice(self) -> Sent:
        one, other = self.intact().value or b"", self.intact().value or b""
        return Sent(one + other[self.chance.choice([0, 5]) :], dead=("undecodable",))

    def holding(self) -> Sent:
        return self.intact(c4=self.intact().value, n4=self.twice().value)

    def reframed(self) -> Sent:
        ids, dead = self.chance.choice([(self.same, ()), (self.wrong, ("wrong_schema",)), (self.unknown, ("unknown_schema",))])
        sent = self.intact(self.chance.choice(ids))
        return replace(sent, dead=dead)

    def beyond(self) -> Sent:
        """A value that Avro can say and no store can hold."""
        name, value = self.chance.choice([
            ("c6", 2**62), ("n6", -(2**62)), ("c5", 2**30), ("n5", -(2**31)), ("partition_date", 2**31 - 1), ("partition_date", -(2**30)),
            ("c7", b"\x7f" + b"\xff" * 15), ("n7", b"\x80" + b"\0" * 15), ("n7", b"\1" + b"\0" * 20), ("c7", b"\1" + b"\0" * 300),
        ])  # fmt: skip
        parts = self.parts(self.intact().row or {})
        parts[name] = self.written(name, value)
        return Sent(self.framed(b"".join(parts.values())), dead=("out_of_range", "undecodable"))

    def claim(self) -> Sent:
        """A length or a count far beyond what follows."""
        parts = self.parts(self.intact().row or {})
        claimed = self.chance.choice([2**20, 2**31 - 1, 2**40, 2**62, 2**63 - 1, -(2**40), -(2**63)])
        parts[self.chance.choice(["c0", "c4", "c7", "c8", "c9"])] = _written("long", claimed) + self.chance.randbytes(3)
        nothing = ("",) if claimed == -(2**63) else ()  # which as a count is none to polars
        return Sent(self.framed(b"".join(parts.values())), dead=("undecodable", *nothing))

    def branch(self) -> Sent:
        """A branch that the union does not have, which polars takes for the one that is not null."""
        parts = self.parts(self.intact().row or {})
        parts["n1"] = _written("long", self.chance.choice([2, 7, -1, -2, 2**40])) + b"\2"
        return Sent(self.framed(b"".join(parts.values())), dead=("undecodable", ""))

    def flipped(self) -> Sent:
        value = bytearray(self.intact().value or b"")
        for _ in range(self.chance.randint(1, 3)):
            value[self.chance.randrange(5, len(value))] ^= 1 << self.chance.randrange(8)
        return Sent(bytes(value), dead=("undecodable", "out_of_range", ""))

    def nothing(self) -> Sent:
        return Sent(None)

    def framed(self, body: bytes, schema_id: int | None = None) -> bytes:
        return b"\0" + (self.own if schema_id is None else schema_id).to_bytes(4, "big") + body

    def parts(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        """Each field as Avro, in order: a record is no more than these."""
        return {c.name: self.written(c.name, plain(row[c.name])) for c in self.stream.columns}

    def written(self, name: str, value: Any) -> bytes:
        return _written(self.types[name], value)

    def content(self, column: Column) -> Any:
        chance = self.chance
        if column.null and chance.random() < 0.3:
            return None
        if column == PARTITION_DATE:
            return chance.choice([date(2024, 1, 1), date(2023, 12, 31), date(1970, 1, 1), date.min, date.max])
        text = ["", "é\0\n\"", "\U0010ffff" * 20, "\ud7ff" * 17, "x" * 5000, "-" * chance.randrange(40), "null"]
        values: dict[str, Sequence[Any]] = {
            Text.name: text, TextList.name: [[], [""], text, ["a"] * 300], Bytes.name: [b"", b"\xff" * 20, b"\0" * 17, chance.randbytes(5000)],
            Boolean.name: [True, False], Integer.name: [0, -1, 2**63 - 1, -(2**63), chance.randrange(1000)], Date.name: [date.min, date.max, date(1970, 1, 1)],
            Float.name: [0.0, -0.0, float("inf"), float("-inf"), float("nan"), 5e-324, 1.5], Vector.name: [[], [float("nan")], [1.5] * 400],
            Timestamp.name: [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime(1969, 12, 31, 23, 59, tzinfo=UTC)],
            Price.name: [Decimal("0E-18"), Decimal((1, (9,) * 38, -18)), Decimal((0, (9,) * 38, -18)), Decimal("0.000000000000000001")],
        }  # fmt: skip
        return chance.choice(values[column.type.name])

    def key(self) -> bytes | None:
        return self.chance.choice([None, b"", b"k", b"\xff" * 20, b"\0", self.chance.randbytes(8), b"long" * 2000])

    def headers(self) -> tuple[Header, ...]:
        names = ["é☃".encode(), b"", b"a", b"\x01\n\"\\\x7f", b"\xff\xfe", b"\xed\xa0\x80", "\u2028\U0001f680".encode(), b"n" * 3000]
        values = [None, b"", b"\0\xff", b"v" * 2000]
        many = self.chance.choice([0, 0, 0, 1, 2, 3, 40])
        return tuple((self.chance.choice(names), self.chance.choice(values)) for _ in range(many))

    def at(self) -> int:
        usual = Sent(None).at
        return self.chance.choice([usual] * 10 + [-1, -5, 0, 1, -(2**62), 2**62, LAST_MILLISECOND, LAST_MILLISECOND + 1, 10**15, -(10**15)])


def _written(kind: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, kind, value)
    return out.getvalue()


def plain(value: Any) -> Any:
    """A value as an Avro type without its logical type."""
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days
    if isinstance(value, Decimal):
        sign, digits, _ = value.as_tuple()  # all here have 18 places, and more digits than Decimal calculates with
        return ((-1) ** sign * int("".join(map(str, digits)))).to_bytes(16, "big", signed=True)
    return value


def require_landed(stream: Stream, found: Sequence[Mapping[str, Any]], sent: Mapping[tuple[int, int], Sent]) -> None:
    """Each record is one row: an intact one as it was sent, a damaged one with its bytes, each with its key, headers and time."""
    rows = {(r["_partition"], r["_offset"]): r for r in found}
    assert len(found) == len(rows)
    assert rows.keys() == sent.keys()
    own = [c.name for c in stream.stored_columns if c not in BROKER_COLUMNS]
    for place, record in sent.items():
        row = rows[place]
        stamp = record.at if 0 <= record.at <= LAST_MILLISECOND else None
        assert (row["_key"], row["_headers"]) == (record.key, headers_as_json(record.headers)), place
        assert row["_timestamp"] == (None if stamp is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=stamp)), place
        assert row["_value"] == (record.value if row["_error_class"] else None), place
        assert (row["_error_class"] or "") in (record.dead or ("",)), (place, record, row["_error_class"], row["_error"])
        if row["_error_class"] or record.value is None:
            assert [row[n] for n in own if n != "partition_date"] == [None] * (len(own) - 1), place
        elif record.row is not None:
            assert list(map(_exactly, (row[n] for n in own))) == list(map(_exactly, (record.row[n] for n in own))), place


def _exactly(value: Any) -> Any:
    """What tells not-a-number and the two zeros apart."""
    return repr(value) if isinstance(value, float | list) else value


def headers_as_json(headers: Sequence[Header]) -> str | None:
    def name(raw: bytes) -> str | None:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return None

    pairs = [[name(n), None if v is None else base64.b64encode(v).decode()] for n, v in headers]
    return json.dumps(pairs) if pairs else None
