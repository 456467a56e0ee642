"""Tombstones that delete: where they land, what ends, and that a rebuild from the same messages says the same."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.contract import PARTITION_DATE, Column, Integer, QuantLakeError, Stream, Table, Text, Timestamp
from quantlake.contract.catalog import Catalog
from quantlake.contract.fingerprint import fingerprints
from quantlake.contract.schemas import avro
from quantlake.contract.wire import avro_record, subject, wire_arrow, wire_schema
from quantlake.landing import land as landing
from quantlake.landing.audit import audit
from quantlake.landing.redrive import redrive
from quantlake.orchestration.refresh import refresh
from quantlake.ports import Message
from quantlake.serving.query import QueryService
from quantlake.settings import Settings
from quantlake.sources.encode import encode
from quantlake.sources.publish import send
from quantlake.wiring import Adapters

D, OTHER = date(2024, 3, 4), date(2024, 3, 5)
LISTED = datetime(2024, 3, 4, 9, tzinfo=UTC)
COLUMNS = (
    Column("number", Integer, "The key; its messages' keys are its text."),
    Column("name", Text, "Content."),
    Column("known_at", Timestamp, "When it could be known."),
    PARTITION_DATE,
)
raw = Stream("tests.things.listings", doc="x", owner="tests", topic="t", message_key="number", tombstones="delete", columns=COLUMNS)


@dataclass
class Home:
    """A graph of one raw and one curated table over a topic, refreshed by Dagster."""

    stream: Stream
    adapters: Adapters
    instance: dg.DagsterInstance

    @property
    def table(self) -> Table:
        return self.graph.datasets[1]  # type: ignore[return-value]

    def __post_init__(self) -> None:
        table = Table("tests.things.listings", of=self.stream, doc="x", owner="tests", key=("number",), columns=COLUMNS)

        @table.build
        def seen(rows: pl.LazyFrame) -> pl.LazyFrame:
            assert rows.select(pl.col("_schema_id").null_count()).collect().item() == 0, "a function sees no tombstones"
            return rows

        self.graph = Catalog((self.stream, table))

    def refresh(self) -> dict[str, list[date]]:
        done = refresh(self.graph, self.graph.datasets, self.adapters, self.instance)
        assert not done.errors and not done.rejected, (done.errors, done.rejected)
        return {path: sorted(o.partition for o in outcomes) for path, outcomes in done.outcomes.items()}

    def versions(self) -> list[tuple[int, str, datetime, datetime | None]]:
        rows = self.adapters.lake.read(self.table.spec).to_pylist()
        return sorted(((r["number"], r["name"], r["known_at"], r["superseded_at"]) for r in rows), key=lambda r: (r[0], r[2]))

    def latest(self, moment: datetime | None = None) -> list[tuple[int, str]]:
        sql = f"SELECT number, name FROM {self.table.spec.sql_name} ORDER BY ALL"
        return [(r["number"], r["name"]) for r in QueryService(self.graph, self.adapters).run(sql, moment).read_all().to_pylist()]

    def tombstones(self) -> dict[bytes, list[date]]:
        found: dict[bytes, list[date]] = {}
        for r in self.adapters.lake.read(self.stream.spec).to_pylist():
            if r["_schema_id"] is None and r["_error_class"] is None:
                found.setdefault(r["_key"], []).append(r["partition_date"])
        return found

    def fingerprints(self) -> Any:
        return fingerprints(self.adapters.lake.read(self.table.spec), self.table.stored_columns)


@pytest.fixture
def a(broker: Kafka, topic: str, home: Path) -> Iterator[Home]:
    with dg.instance_for_test() as instance:
        yield opened(replace(raw, topic=topic), broker, home / "a", instance)


def opened(stream: Stream, broker: Kafka, home: Path, instance: dg.DagsterInstance) -> Home:
    adapters = Adapters(Settings(home=home))
    adapters.__dict__["broker"] = broker
    broker.create_topic(stream.topic, stream.topic_partitions)
    adapters.registry.register(subject(stream), wire_schema(stream))
    return Home(stream, adapters, instance)


def row(number: int, name: str = "a", day: date = D, known_at: datetime = LISTED) -> dict[str, Any]:
    return {"number": number, "name": name, "known_at": known_at, "partition_date": day}


def sent(a: Home, *rows: dict[str, Any]) -> None:
    send(a.adapters.broker, a.adapters.registry, a.stream, pa.Table.from_pylist(list(rows), wire_arrow(a.stream)))


def deleted(a: Home, *numbers: int) -> None:
    a.adapters.broker.produce(a.stream.topic, [Message(str(n).encode(), None) for n in numbers])


def now() -> datetime:
    return datetime.now(UTC)


def test_a_deletion_ends_a_version_and_its_date_alone_is_built_again(a: Home) -> None:
    sent(a, row(1), row(2), row(3, day=OTHER))
    assert a.refresh()["curated/things/listings"] == [D, OTHER]
    before, began = a.versions(), now()
    deleted(a, 1, 99)
    built = a.refresh()
    today = sorted({began.date(), now().date()})
    assert built["curated/things/listings"] == [D] and set(built["raw/things/listings"]) <= {D, *today}
    assert a.tombstones()[b"1"] == [D] and a.tombstones()[b"99"][0] in today, "no one knows the date of an unknown key"
    (end,) = {v[3] for v in a.versions()} - {None}
    assert end and began - timedelta(seconds=1) <= end <= now()
    assert a.versions() == [(*before[0][:3], end), *before[1:]]
    assert a.latest() == [(2, "a"), (3, "a")] and a.latest(began - timedelta(seconds=1)) == [(1, "a"), (2, "a"), (3, "a")]
    assert a.latest(end) == [(2, "a"), (3, "a")]
    assert a.refresh().get("curated/things/listings") is None

    again = now() + timedelta(seconds=1)
    sent(a, row(1, known_at=again))
    a.refresh()
    assert a.latest() == [(1, "a"), (2, "a"), (3, "a")] and [v[3] for v in a.versions()][:2] == [end, None], "equal, and a version again"
    assert sum(r.rows for r in audit(a.stream, lake=a.adapters.lake, broker=a.adapters.broker)) == 6


def test_a_rebuild_from_the_same_messages_says_the_same(a: Home, broker: Kafka, home: Path) -> None:
    """Insert and delete in one batch, in several, twice, and of two keys; then a home that lands it all at once."""
    sent(a, row(1), row(2), row(3, day=OTHER))
    deleted(a, 1, 7)
    a.refresh()
    assert a.tombstones()[b"1"] == [D] and a.latest() == [(2, "a"), (3, "a")]
    sent(a, row(1, "b", known_at=now()), row(7, day=OTHER, known_at=now()))
    deleted(a, 3, 1, 3)
    a.refresh()
    deleted(a, 2)
    sent(a, row(2, "c", known_at=now() + timedelta(seconds=1)))
    a.refresh()
    assert a.tombstones()[b"3"] == [OTHER] * 2 and a.latest() == [(2, "c"), (7, "a")]
    with dg.instance_for_test() as instance:
        rebuilt = opened(a.stream, broker, home / "b", instance)
        rebuilt.refresh()
        assert (rebuilt.fingerprints(), rebuilt.tombstones()) == (a.fingerprints(), a.tombstones())


def test_a_tombstone_finds_its_row_in_an_earlier_group_of_the_same_landing(a: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "GROUP_ROWS", 1)
    sent(a, row(1), row(3, day=OTHER))
    deleted(a, 3, 1)
    landing.land(a.stream, broker=a.adapters.broker, registry=a.adapters.registry, lake=a.adapters.lake)
    assert a.tombstones() == {b"1": [D], b"3": [OTHER]}


def test_where_tombstones_are_ignored_they_stay_on_their_day(broker: Kafka, topic: str, home: Path) -> None:
    with dg.instance_for_test() as instance:
        a = opened(replace(raw, topic=topic, tombstones="ignore"), broker, home / "a", instance)
        sent(a, row(1))
        deleted(a, 1)
        began = now().date()
        assert a.refresh()["curated/things/listings"] == [D]
        assert a.latest() == [(1, "a")] and a.tombstones()[b"1"][0] in (began, now().date())


def test_a_tombstone_follows_the_row_that_was_a_dead_letter_before_it(broker: Kafka, topic: str, home: Path) -> None:
    stream = replace(raw, topic=topic)
    with dg.instance_for_test() as instance:
        a = opened(stream, broker, home / "a", instance)
        lake, registry = a.adapters.lake, a.adapters.registry
        early, late, other = (encode(stream, pa.Table.from_pylist([r], wire_arrow(stream)), 2)[0] for r in (row(1), row(2), row(3, day=OTHER)))
        broker.produce(topic, [Message(b"2", None), early, Message(b"1", None), late, Message(None, None), other])
        assert "curated/things/listings" not in a.refresh()
        assert registry.register(subject(stream), avro({**avro_record(stream), "doc": "again"})) == 2
        done = redrive(stream, registry=registry, lake=lake)
        assert (done.rows, done.still_dead) == (3, 0) and {D, OTHER} < done.dates
        places = {(r["_offset"], r["_key"]): r["partition_date"] for r in lake.read(stream.spec).to_pylist()}
        assert [places[p] for p in ((1, b"1"), (2, b"1"), (3, b"2"), (5, b"3"))] == [D, D, D, OTHER]
        assert not {places[0, b"2"], places[4, None]} & {D, OTHER}, "no row of these keys came before"
        assert all(x.clean for x in audit(stream, lake=lake, broker=broker))
        assert a.refresh()["curated/things/listings"] == [D, OTHER] and a.latest() == [(2, "a"), (3, "a")]
        head = lake.last_commit(stream.spec)
        redrive(stream, registry=registry, lake=lake)
        assert lake.last_commit(stream.spec) == head and "curated/things/listings" not in a.refresh()


def test_a_key_wider_than_the_messages_cannot_be_deleted_by_one_date() -> None:
    for key, fallback in ((("number", "name"), ()), (("name",), ()), (("number",), ("name",))):
        with pytest.raises(QuantLakeError, match="curated/things/listings: raw/things/listings says that a tombstone deletes"):
            Table("tests.things.listings", of=raw, doc="x", owner="tests", key=key, fallback_key=fallback, columns=COLUMNS)
