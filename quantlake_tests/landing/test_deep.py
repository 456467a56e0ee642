"""The deep audit finds every row that is not what its record says, names the columns, and takes nothing right for wrong."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import Stream
from quantlake.contract.schemas import avro
from quantlake.contract.wire import avro_record, subject
from quantlake.landing import deep as deepened
from quantlake.landing.audit import Audited, audit
from quantlake.landing.deep import deep
from quantlake.landing.land import land
from quantlake.landing.logs import PROPERTY, Logs
from quantlake.landing.records import taken
from quantlake.landing.redrive import redrive
from quantlake.ports import Batch, Message
from quantlake.sources.encode import encode
from quantlake_tests.landing.ticks import produced, registered, rows

LATER = 2  # the id that the next schema gets
DAMAGED = [Message(b"a", b"plain"), Message(b"b", b""), Message(b"c", b"\0\0\0\0\1cut"), Message(b"d", b"\0\0\0\3\1")]


@pytest.fixture
def stream(broker: Kafka, registry: SqliteRegistry, lake: Iceberg, topic: str) -> Stream:
    """A hundred ticks, four dead letters, a tombstone, and ticks with headers, landed."""
    stream = registered(topic, broker, registry)
    produced(stream, broker, registry, 0, 90)
    broker.produce(topic, [*DAMAGED, Message(b"e", None)])
    broker.produce(topic, [replace(m, headers=(("h", b"\xff"),)) for m in encode(stream, rows(90, 100), 1)])
    land(stream, broker=broker, registry=registry, lake=lake)
    return stream


@pytest.fixture
def look(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> "Look":
    return Look(stream, broker, registry, lake)


class Look:
    """The deep audit of the stream, and rows changed behind landing's back."""

    def __init__(self, stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
        self.stream, self.broker, self.registry, self.lake = stream, broker, registry, lake

    def __call__(self, **otherwise: Any) -> list[Audited]:
        named = {"lake": self.lake, "broker": self.broker} | otherwise
        return deep(self.stream, audit(self.stream, **named), registry=self.registry, **named)

    def wrong(self) -> dict[tuple[int, int], tuple[str, ...]]:
        found = self()
        assert all(a.content and a.clean == (a.content.mismatches == 0) for a in found), [a.reason for a in found]
        assert sum(a.content.compared for a in found if a.content) == sum(a.rows + a.dead_letters for a in found)
        listed = {(a.partition, m.offset): m.columns for a in found if a.content for m in a.content.mismatched}
        assert len(listed) == sum(a.content.mismatches for a in found if a.content)
        return listed

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame(self.lake.read(self.stream.spec))

    def publish(self, frame: pl.DataFrame) -> None:
        self.lake.publish(self.stream.spec, sorted({*self.frame()["partition_date"], *frame["partition_date"]}), frame.to_arrow())

    def change(self, where: pl.Expr, **values: Any) -> set[tuple[int, int]]:
        frame = self.frame()
        changed = frame.filter(where)
        assert changed.height
        self.publish(frame.with_columns(
            pl.when(where).then(v if isinstance(v, pl.Expr) else pl.lit(v, frame.schema[n])).otherwise(pl.col(n)).cast(frame.schema[n]).alias(n)
            for n, v in values.items()
        ))  # fmt: skip
        return set(changed.select("_partition", "_offset").iter_rows())


def number(*some: int) -> pl.Expr:
    return pl.col("number").is_in(some).fill_null(False)


def test_what_was_landed_is_what_was_sent(look: Look) -> None:
    assert look.wrong() == {}
    found = look()
    assert sum(a.content.compared for a in found if a.content) == 105 and all(a.figures()["not_compared"] == 0 for a in found)


ALTERED: list[tuple[int, str, Any]] = [
    (1, "symbol", "S6"), (2, "symbol", None), (4, "symbol", ""), (5, "number", 1000), (7, "number", None),
    (8, "price", Decimal("1.000000000000000001")), (10, "price", None), (3, "price", Decimal(0)), (11, "at", datetime(2024, 1, 1, tzinfo=UTC)),
    (13, "at", pl.col("at") + pl.duration(microseconds=1)), (14, "tags", ["é"]), (6, "tags", None), (9, "tags", [None]), (12, "tags", [""]),
    (16, "partition_date", date(2024, 1, 3)), (17, "_key", b"S6"), (19, "_key", None), (95, "_headers", '[["h", "/g=="]]'),
    (96, "_headers", None), (20, "_headers", "[]"), (22, "_timestamp", pl.col("_timestamp") + pl.duration(milliseconds=1)),
    (23, "_timestamp", None), (25, "_schema_id", 7), (26, "_topic", "another"), (28, "_value", b""),
]  # fmt: skip


def test_an_altered_value_of_any_column_is_found(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepened, "LISTED", 1000)
    expected = {}
    for n, column, value in ALTERED:
        (place,) = look.change(number(n), **{column: value})
        expected[place] = (column,)
    assert {column for column, in expected.values()} == {c.name for c in look.stream.stored_columns} - {
        "_log", "_partition", "_offset", "_error", "_error_class",  # where it is, a decoder's words; the last is below
    }  # fmt: skip
    assert look.wrong() == expected


def test_a_row_that_lost_its_schema_is_no_tombstone(look: Look) -> None:
    (place,) = look.change(number(5), _schema_id=None)
    assert "_schema_id" in look.wrong()[place]


def test_altered_bytes_of_a_dead_letter_are_found(look: Look) -> None:
    altered = {b"plain": b"plaim", b"\0\0\0\0\1cut": b"", b"": None}
    places = [look.change(pl.col("_value") == before, _value=after) for before, after in reversed(altered.items())]
    assert look.wrong() == dict.fromkeys(set().union(*places), ("_value",)) and len(look.wrong()) == 3


def test_other_faults_of_dead_letters_and_tombstones(look: Look) -> None:
    dead = pl.col("_error_class").is_not_null()
    alive = look.change(pl.col("_key") == b"a", _error_class=None)  # a row without a value, and no dead letter
    numbered = look.change(pl.col("_key") == b"b", number=5)
    buried = look.change(pl.col("_key") == b"e", _error_class="framing")
    found = look()
    assert sum(a.content.mismatches for a in found if a.content) == 3
    listed = {(a.partition, m.offset): m.columns for a in found if a.content for m in a.content.mismatched}
    assert set(listed) == alive | numbered | buried
    assert [listed[p] for (p,) in (alive, numbered, buried)] == [("_error_class",), ("number",), ("_error_class",)]
    assert look.frame().filter(dead).height == 4


def test_rows_that_changed_places_are_found(look: Look) -> None:
    """The sum of a bucket's content is the same; a row's hash is of its offset too."""
    frame = look.frame()
    offsets = dict(frame.filter(number(17, 34)).select("number", "_offset").iter_rows())
    assert len(offsets) == 2
    look.change(number(17, 34), _offset=pl.col("number").replace_strict({17: offsets[34], 34: offsets[17]}, default=None))
    found = look.wrong()
    assert sorted(o for _, o in found) == sorted(offsets.values()) and all("number" in columns for columns in found.values())


def test_what_may_differ(look: Look) -> None:
    dead = pl.col("_error_class").is_not_null()
    look.change(dead, _error_class="of old", _error="other words", partition_date=date(2024, 1, 2), _schema_id=None)
    look.change(pl.col("_key") == b"e", partition_date=date(2024, 1, 2))
    look.publish(look.frame().sort("number", descending=True))
    assert look.wrong() == {}


def test_a_dead_letter_that_waits_for_its_redrive_is_right(look: Look) -> None:
    look.broker.produce(look.stream.topic, encode(look.stream, rows(100, 130), LATER))
    small = replace(look.stream, max_message_bytes=20)
    land(small, broker=look.broker, registry=look.registry, lake=look.lake)
    assert look.frame()["_error_class"].value_counts().filter(pl.col("_error_class") == "oversized")["count"].sum() == 30
    assert look.wrong() == {}, "oversized then, unknown now"
    assert look.registry.register(subject(look.stream), avro({**avro_record(look.stream), "doc": "again"})) == LATER
    assert look.wrong() == {}
    waiting = look.change((pl.col("_error_class") == "oversized") & (pl.col("_offset") == pl.col("_offset").max()), _value=b"\0\0\0\0\2altered")
    assert look.wrong() == dict.fromkeys(waiting, ("_value",))


def test_a_redrive_and_a_landing_meanwhile_are_no_fault(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    look.broker.produce(look.stream.topic, encode(look.stream, rows(100, 130), LATER))
    land(look.stream, broker=look.broker, registry=look.registry, lake=look.lake)
    batches, times = look.lake.batches, 0

    def meanwhile(*arguments: Any, **named: Any) -> Iterator[pa.Table]:
        nonlocal times
        times += 1
        produced(look.stream, look.broker, look.registry, 200 + times * 50, 250 + times * 50)
        land(look.stream, broker=look.broker, registry=look.registry, lake=look.lake)
        if times == 2:  # after the coordinates were read, before the rows are
            look.registry.register(subject(look.stream), avro({**avro_record(look.stream), "doc": "again"}))
            with monkeypatch.context() as plain:
                plain.setattr(look.lake, "batches", batches)
                assert redrive(look.stream, registry=look.registry, lake=look.lake).rows == 30
        yield from batches(*arguments, **named)

    monkeypatch.setattr(look.lake, "batches", meanwhile)
    found = look()
    assert times >= 3 and all(a.clean for a in found), [a.reason for a in found]
    assert sum(a.content.compared for a in found if a.content) == sum(a.end for a in found) == 135


def test_a_range_that_is_doubled_or_gone_hides_no_mismatch(look: Look) -> None:
    look.change(number(40), price=Decimal(1))
    frame = look.frame()
    twice = frame.filter(number(40, 57, 74)).with_columns(pl.when(pl.col("number") == 57).then(pl.lit("x")).otherwise("symbol").alias("symbol"))
    look.lake.append(look.stream.spec, twice.to_arrow(), properties={}, expected={})
    look.publish(look.frame().filter(~number(6, 23, 91)))
    found = look()
    content = [a.content for a in found if a.content]
    assert sum(a.duplicates for a in found) == 3 and sum(a.gaps for a in found) == 3
    assert sum(c.mismatches for c in content) == 3, "either copy of 40, one of 57"
    assert sorted(m.columns for c in content for m in c.mismatched) == [("price",), ("symbol",)]
    assert sum(c.compared for c in content) == 105 and not any(a.figures()["not_compared"] for a in found)


def test_of_many_mismatches_all_are_counted_and_the_first_are_listed(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several rounds of buckets."""
    monkeypatch.setattr(deepened, "BUCKET", 8)
    monkeypatch.setattr(deepened, "ROUND", 2)
    places = look.change(number(*range(10, 80)), price=Decimal(9), tags=["x"])
    found = look()
    assert sum(a.content.mismatches for a in found if a.content) == len(places) == 70
    for a in found:
        listed = a.content.mismatched if a.content else ()
        assert [m.offset for m in listed] == sorted(o for p, o in places if p == a.partition)[:20]
        assert all(m.columns in (("price", "tags"), ("price",)) for m in listed)
    assert all("rows that are not what their records on the broker say" in a.reason for a in found)
    figures = max((a.figures() for a in found), key=lambda f: f["mismatches"])
    assert len(figures["mismatched"]) == 20 < figures["mismatches"] and set(figures["mismatched"][0]) == {"offset", "columns"}


def test_what_the_broker_no_longer_has_is_not_compared(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = look.change(number(0, 1, 2, 3, 99), price=Decimal(9))
    read = look.broker.read

    def expired(topic: str, start: dict[int, int], **otherwise: Any) -> Iterator[Batch]:
        for batch in read(topic, start, **otherwise):
            yield replace(batch, records=taken(batch.records, np.flatnonzero(batch.records.offsets >= 10)))

    monkeypatch.setattr(look.broker, "read", expired)
    found = look()
    gone = dict(look.frame().filter(pl.col("_offset") < 10).group_by("_partition").len().iter_rows())
    assert {a.partition: a.figures()["not_compared"] for a in found} == gone
    assert {(a.partition, m.offset) for a in found if a.content for m in a.content.mismatched} == {c for c in changed if c[1] >= 10}


def test_pending_records_and_rows_of_other_logs_are_not_compared(look: Look) -> None:
    produced(look.stream, look.broker, look.registry, 200, 230)
    assert look.wrong() == {}
    logs = Logs.parse(look.lake.properties(look.stream.spec))
    look.lake.set_properties(look.stream.spec, {PROPERTY: logs.restarted(logs.logs[0].id, "2024-03-05T00:00:00Z").text()})
    land(look.stream, broker=look.broker, registry=look.registry, lake=look.lake)
    found = look()
    assert all(a.clean for a in found), [a.reason for a in found]
    assert {a.status: (a.content.compared > 0, a.figures()["not_compared"] > 0) for a in found if a.content} == {
        "given_up": (False, True), "live": (True, False),
    }  # fmt: skip


def test_without_a_broker_nothing_is_compared(look: Look) -> None:
    found = look(broker=None)
    assert all(a.content and a.content.compared == 0 and not a.clean for a in found) and sum(a.figures()["not_compared"] for a in found) == 105
