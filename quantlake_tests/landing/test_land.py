"""Landing: each record once over several landings, what is fenced, what a log's end means, and who is told which dates."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.broker.tansu import Tansu
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import QuantLakeError, Stream
from quantlake.contract.wire import wire_arrow
from quantlake.landing.audit import audit
from quantlake.landing.land import Landed, close, land
from quantlake.landing.logs import PROPERTY, Logs
from quantlake.landing.mend import accept_loss, record_ends
from quantlake.ports import LogBrokenError, LostRange, Message
from quantlake.sources.publish import send
from quantlake_tests.landing.ticks import START, numbers, produced, registered, tick

Land = Callable[..., Landed]


@pytest.fixture
def stream(broker: Kafka, registry: SqliteRegistry, topic: str) -> Stream:
    return registered(topic, broker, registry)


@contextmanager
def another_broker(home: Path) -> Iterator[Kafka]:
    server = Tansu.start(home / "broker.log")
    try:
        yield Kafka({"bootstrap.servers": server.address})
    finally:
        server.stop()


def test_every_record_lands_once_over_several_landings(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    for first, stop in ((0, 700), (700, 701), (701, 1500)):
        produced(stream, broker, registry, first, stop)
        assert land(stream, broker=broker, registry=registry, lake=lake).rows == stop - first
        assert numbers(stream, lake) == list(range(stop))
        before = lake.last_commit(stream.spec)
        assert land(stream, broker=broker, registry=registry, lake=lake) == Landed()
        assert lake.last_commit(stream.spec) == before, "nothing new is no commit"
    found = audit(stream, lake=lake, broker=broker)
    assert all(a.clean and a.status == "live" and a.pending == 0 for a in found)
    assert sum(a.rows for a in found) == sum(a.end for a in found) == 1500
    stored = sorted(lake.read(stream.spec).select(wire_arrow(stream).names).to_pylist(), key=lambda r: r["number"])
    assert stored == [tick(n) for n in range(1500)]


def test_a_landing_may_be_several_commits(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    produced(stream, broker, registry, 0, 1000)
    heard: list[frozenset[date]] = []
    progress: list[int] = []
    landed = land(
        stream, broker=broker, registry=registry, lake=lake, commit_rows=150, progress=progress.append,
        report=lambda s, done: heard.append(done.landed.dates) if s is stream else None,
    )  # fmt: skip
    assert (landed.rows, sum(progress), numbers(stream, lake)) == (1000, 1000, list(range(1000)))
    made = lake.commits(stream.spec)
    assert len(made) >= 6 and len(heard) >= 6
    assert heard == [c.dates for c in made if c.dates]
    assert frozenset().union(*heard) == landed.dates == {START + timedelta(days=n) for n in range(5)}
    assert all(a.clean for a in audit(stream, lake=lake, broker=broker))


def test_an_empty_topic_is_landed_and_audited(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    assert land(stream, broker=broker, registry=registry, lake=lake) == Landed()
    assert [(a.partition, a.end, a.clean) for a in audit(stream, lake=lake, broker=broker)] == [(0, 0, True), (1, 0, True), (2, 0, True)]


def test_what_cannot_be_decoded_is_landed_too(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    produced(stream, broker, registry, 0, 50)
    damaged = [Message(b"a", b"plain"), Message(b"b", b""), Message(b"c", b"\0\0\0\0\1cut"), Message(b"d", b"\0\0\0\3\1"), Message(b"e", None)]
    broker.produce(stream.topic, damaged)
    produced(stream, broker, registry, 50, 100)
    landed = land(stream, broker=broker, registry=registry, lake=lake)
    assert (landed.rows, landed.dead_letters) == (101, 4), "a tombstone is a row"
    rows = lake.read(stream.spec, columns=["_key", "_value", "_error_class", "_error", "partition_date", "number"]).to_pylist()
    dead = {r["_key"]: r for r in rows if r["_error_class"]}
    assert {key: (r["_value"], r["_error_class"]) for key, r in dead.items()} == {
        b"a": (b"plain", "framing"), b"b": (b"", "framing"), b"c": (b"\0\0\0\0\1cut", "undecodable"), b"d": (b"\0\0\0\3\1", "unknown_schema"),
    }  # fmt: skip
    today = datetime.now(UTC).date()
    assert all(r["_error"] and today - r["partition_date"] <= timedelta(days=1) for r in dead.values())
    assert numbers(stream, lake) == list(range(100))
    found = audit(stream, lake=lake, broker=broker)
    assert all(a.clean for a in found) and (sum(a.rows for a in found), sum(a.dead_letters for a in found)) == (101, 4)


def test_dates_no_partition_has_are_landed_and_told_apart(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    today = datetime.now(UTC).date()
    outside = [START - timedelta(days=1), today + timedelta(days=2), date(1, 1, 1), date(9999, 12, 31), date(1969, 12, 31)]
    dates = [START, *outside, today]
    rows = [{**tick(n), "partition_date": day, "at": datetime(day.year, day.month, day.day, tzinfo=UTC)} for n, day in enumerate(dates)]
    send(broker, registry, stream, pa.Table.from_pylist(rows, wire_arrow(stream)))
    heard: list[frozenset[date]] = []
    landed = land(stream, broker=broker, registry=registry, lake=lake, report=lambda _, done: heard.append(done.landed.dates))
    assert (landed.rows, landed.dates, landed.outside) == (7, {START, today}, set(outside))
    assert heard == [landed.dates]
    assert lake.counts(stream.spec) == dict.fromkeys(sorted(dates), 1) and numbers(stream, lake) == list(range(7))


def test_a_log_that_was_replaced_stops_landing_until_it_is_lost_on_record(
    stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path
) -> None:
    produced(stream, broker, registry, 0, 30)
    land(stream, broker=broker, registry=registry, lake=lake)
    first = broker.log_id(stream.topic)
    with another_broker(home) as second:
        registered(stream.topic, second, registry)
        produced(stream, second, registry, 30, 50)
        before = {a.log: a for a in audit(stream, lake=lake, broker=second)}
        assert not before[first].clean and "without a clean stop" in before[first].reason
        head = lake.last_commit(stream.spec)
        named = rf"the log {re.escape(first)} ended, committed partition 0 to \d+, .*; anything after is unknown\. .*--accept-loss.*--reset"
        with pytest.raises(LogBrokenError, match=named):
            land(stream, broker=second, registry=registry, lake=lake)
        assert lake.last_commit(stream.spec) == head and numbers(stream, lake) == list(range(30))
        assert [(s, log.id) for s, log in record_ends([stream], lake)] == [(stream, first)]  # what an embedded broker's start does
        head = lake.last_commit(stream.spec)
        assert [log.id for _, log in record_ends([stream], lake)] == [first], "it is told at every start until someone accepts it"
        assert lake.last_commit(stream.spec) == head
        assert land(stream, broker=second, registry=registry, lake=lake).rows == 20
        found = audit(stream, lake=lake, broker=second)
        assert numbers(stream, lake) == list(range(50))
        assert [(a.log == first, a.status, a.clean, a.gaps, a.duplicates) for a in found] == [
            *[(True, "unverified", False, 0, 0)] * 3, *[(False, "live", True, 0, 0)] * 3,
        ]  # fmt: skip
        assert all("committed to" in a.reason for a in found if a.log == first)
        (told,) = accept_loss(stream, broker=second, lake=lake)
        assert told.startswith(f"log {first} ended, committed to ") and accept_loss(stream, broker=second, lake=lake) == []
        assert land(stream, broker=second, registry=registry, lake=lake) == Landed()
        found = audit(stream, lake=lake, broker=second)
    assert numbers(stream, lake) == list(range(50))
    assert [(a.log == first, a.status, a.clean, [(v.first == a.end, v.end, v.why) for v in a.losses]) for a in found] == [
        *[(True, "given_up", True, [(True, None, "ended")])] * 3, *[(False, "live", True, [])] * 3,
    ]  # fmt: skip


def test_a_clean_stop_closes_the_log(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path) -> None:
    with another_broker(home) as ending:
        registered(stream.topic, ending, registry)
        produced(stream, ending, registry, 0, 40)
        assert close(stream, broker=ending, registry=registry, lake=lake).rows == 40
        assert close(stream, broker=ending, registry=registry, lake=lake) == Landed()
        closed = ending.log_id(stream.topic)
    for running in (None, broker):
        found = [a for a in audit(stream, lake=lake, broker=running) if a.log == closed]
        assert [(a.status, a.clean, a.pending) for a in found] == [("closed", True, 0)] * 3 and sum(a.rows for a in found) == 40
    produced(stream, broker, registry, 40, 60)
    assert land(stream, broker=broker, registry=registry, lake=lake).rows == 20
    assert {a.status for a in audit(stream, lake=lake, broker=broker) if a.clean} == {"closed", "live"}
    assert numbers(stream, lake) == list(range(60))


def test_a_log_written_to_after_its_close_is_open_again(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    produced(stream, broker, registry, 0, 10)
    close(stream, broker=broker, registry=registry, lake=lake)
    produced(stream, broker, registry, 10, 15)
    assert land(stream, broker=broker, registry=registry, lake=lake).rows == 5
    assert [log.status for log in Logs.parse(lake.properties(stream.spec)).logs] == ["open"]
    assert numbers(stream, lake) == list(range(15))


def test_a_writer_that_came_between_stops_the_landing(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path) -> None:
    """A machine that our file locks do not reach lands the same records: nothing of ours is committed after that."""
    produced(stream, broker, registry, 0, 600)
    elsewhere = Iceberg.embedded(home / "lake", home / "other-locks")
    told: list[frozenset[date]] = []

    def interfere(_: Stream, dates: frozenset[date]) -> None:
        if not told:
            land(stream, broker=broker, registry=registry, lake=elsewhere)
        told.append(dates)

    with pytest.raises(QuantLakeError, match=r"another writer .*nothing was committed"):
        land(stream, broker=broker, registry=registry, lake=lake, commit_rows=100, report=interfere)
    assert len(told) == 1 and numbers(stream, lake) == list(range(600))
    assert land(stream, broker=broker, registry=registry, lake=lake) == Landed()
    assert all(a.clean for a in audit(stream, lake=lake, broker=broker))


def test_a_log_shorter_than_what_was_landed_is_refused(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    produced(stream, broker, registry, 0, 10)
    land(stream, broker=broker, registry=registry, lake=lake)
    logs = Logs.parse(lake.properties(stream.spec))
    (log,) = logs.logs
    lake.set_properties(stream.spec, {PROPERTY: logs.moved(log.id, {p: o + 100 for p, o in log.offsets.items()}).text()})
    with pytest.raises(LogBrokenError, match=r"were read, and are no longer there.*--accept-loss.*--reset") as caught:
        land(stream, broker=broker, registry=registry, lake=lake)
    assert set(caught.value.lost) == {LostRange(p, end, end + 100, "truncated") for p, end in log.offsets.items()}
    assert all(f"partition {p}: offsets [{end}, {end + 100})" in str(caught.value) for p, end in log.offsets.items())
    assert numbers(stream, lake) == list(range(10))


def test_without_a_topic_nothing_is_landed(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path) -> None:
    with another_broker(home) as empty, pytest.raises(QuantLakeError, match=f"no topic {stream.topic}"):
        land(stream, broker=empty, registry=registry, lake=lake)
