"""Kafka transactions: what was committed lands once, what was aborted never, what is open not yet; markers and holes are no gaps.

Landing's own offsets never depend on them: they are in the Iceberg commit.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

import polars as pl
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import Stream
from quantlake.landing.audit import Audited, audit, pending
from quantlake.landing.deep import deep
from quantlake.landing.follow import Follower
from quantlake.landing.land import land
from quantlake.landing.logs import PROPERTY, Logs
from quantlake.landing.ranges import ranges
from quantlake.landing.skips import added
from quantlake.ports import Message
from quantlake.sources.encode import encode
from quantlake_tests.e2e.commands import wait_for
from quantlake_tests.landing.ticks import PARTITIONS, numbers, registered, rows
from quantlake_tests.servers.kafka import KafkaServer

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def broker(kafka_server: KafkaServer) -> Kafka:
    return Kafka({"bootstrap.servers": kafka_server.address})


class World:
    """A stream on Kafka, its transactional producers, and its table."""

    def __init__(self, stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
        self.stream, self.broker, self.registry, self.lake = stream, broker, registry, lake
        self.sent = 0

    def producer(self, name: str) -> Producer:
        client = {"bootstrap.servers": self.broker.address, "transactional.id": f"{self.stream.topic}.{name}", "linger.ms": 0, "log_level": 0}
        found = Producer({**client, "transaction.timeout.ms": 60_000})
        found.init_transactions(20)
        return found

    def messages(self, count: int) -> list[Message]:
        self.sent += count
        return encode(self.stream, rows(self.sent - count, self.sent), 1)

    def put(self, producer: Producer, count: int) -> range:
        """Further ticks, acknowledged; which."""
        for m in self.messages(count):
            producer.produce(self.stream.topic, m.value, m.key)
        assert producer.flush(20) == 0
        return range(self.sent - count, self.sent)

    def transaction(self, producer: Producer, count: int, *, commit: bool) -> range:
        producer.begin_transaction()
        put = self.put(producer, count)
        producer.commit_transaction(20) if commit else producer.abort_transaction(20)
        return put

    def land(self) -> int:
        done = land(self.stream, broker=self.broker, registry=self.registry, lake=self.lake)
        return done.rows + done.dead_letters

    def audited(self) -> list[Audited]:
        found = audit(self.stream, lake=self.lake, broker=self.broker)
        return deep(self.stream, found, lake=self.lake, broker=self.broker, registry=self.registry)

    def whole(self, expected: Sequence[int]) -> list[Audited]:
        """Asserts that these ticks are there, once each, and that both audits find each offset a row or skipped."""
        assert numbers(self.stream, self.lake) == sorted(expected)
        found = self.audited()
        assert all(a.clean and a.status == "live" and not a.gaps for a in found), [a.reason for a in found]
        assert sum(a.rows for a in found) == len(expected) == sum(a.content.compared for a in found if a.content)
        assert all(a.rows + a.dead_letters + a.skipped == a.end - a.first for a in found)
        return found

    def without(self, tick: int) -> tuple[int, int]:
        """Take a tick's row away behind landing's back; its partition and offset."""
        frame = pl.DataFrame(self.lake.read(self.stream.spec))
        lost = frame.filter(pl.col("number") == tick)
        self.lake.publish(self.stream.spec, sorted(set(frame["partition_date"])), frame.filter(pl.col("number") != tick).to_arrow())
        (place,) = lost.select("_partition", "_offset").iter_rows()
        return place

    def follower(self) -> Follower:
        return Follower([self.stream], broker=self.broker, registry=self.registry, lake=self.lake, commit_seconds=0.2)


@pytest.fixture
def world(broker: Kafka, registry: SqliteRegistry, lake: Iceberg, topic: str) -> World:
    return World(registered(topic, broker, registry), broker, registry, lake)


@contextmanager
def following(world: World) -> Iterator[Follower]:
    follower = world.follower()
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()


def test_committed_rows_land_once_and_aborted_ones_never(world: World) -> None:
    producer = world.producer("a")
    first = world.transaction(producer, 40, commit=True)
    world.transaction(producer, 30, commit=False)
    last = world.transaction(producer, 20, commit=True)
    assert world.land() == 60
    found = world.whole([*first, *last])
    # three markers a partition that the transaction wrote to, and thirty aborted records
    assert sum(a.skipped for a in found) == 30 + sum(3 for a in found if a.rows)
    assert world.land() == 0 and all(not a.pending for a in world.audited())


def test_only_aborted_rows_are_a_landing_of_nothing_that_goes_on(world: World) -> None:
    producer = world.producer("a")
    world.transaction(producer, 30, commit=False)
    assert world.land() == 0
    found = world.whole([])
    assert sum(a.skipped for a in found) == sum(a.end for a in found) >= 31 and not any(a.pending for a in found)
    kept = world.transaction(producer, 10, commit=True)
    assert world.land() == 10
    world.whole(kept)


def test_landing_stops_where_a_transaction_is_open(world: World) -> None:
    """At the last stable offset: what is behind an open transaction waits too, though it is committed, or outside any."""
    opened, other = world.producer("open"), world.producer("other")
    before = world.transaction(other, 17, commit=True)
    opened.begin_transaction()
    held = world.put(opened, 34)  # on every partition
    behind = world.transaction(other, 17, commit=True)
    world.broker.produce(world.stream.topic, world.messages(17))
    assert world.land() == 17 and numbers(world.stream, world.lake) == [*before]
    assert world.land() == 0 and pending(world.stream, lake=world.lake, broker=world.broker) == 0, "no consumer could read more"
    world.whole(before)
    opened.commit_transaction(20)
    assert world.land() == 34 + 34
    world.whole(range(world.sent))
    assert set(held) | set(behind) <= set(numbers(world.stream, world.lake))


@pytest.mark.parametrize("resident", [False, True], ids=["landed again and again", "followed"])
def test_interleaved_transactions_land_exactly_what_was_committed(world: World, resident: bool) -> None:
    chance = random.Random(11)
    producers = [world.producer(str(n)) for n in range(3)]
    open_ones: dict[int, list[int]] = {}
    committed: list[int] = []

    def step() -> None:
        n = chance.randrange(4)
        if n == 3:
            count = chance.randrange(1, 20)
            world.broker.produce(world.stream.topic, world.messages(count))
            committed.extend(range(world.sent - count, world.sent))
        elif n in open_ones:
            if chance.random() < 0.4:
                open_ones[n] += world.put(producers[n], chance.randrange(1, 20))
            elif chance.random() < 0.6:
                producers[n].commit_transaction(20)
                committed.extend(open_ones.pop(n))
            else:
                producers[n].abort_transaction(20)
                open_ones.pop(n)
        else:
            producers[n].begin_transaction()
            open_ones[n] = [*world.put(producers[n], chance.randrange(1, 20))]

    def close() -> None:
        for n in [*open_ones]:
            producers[n].commit_transaction(20)
            committed.extend(open_ones.pop(n))

    if resident:
        with following(world):
            for _ in range(80):
                step()
            close()
            wait_for(lambda: len(numbers(world.stream, world.lake)) >= len(committed), 30)
    else:
        for n in range(80):
            step()
            if n % 7 == 0:
                world.land()
                assert set(numbers(world.stream, world.lake)) <= set(committed)
                assert all(a.clean for a in audit(world.stream, lake=world.lake, broker=world.broker))
        close()
    world.land()
    found = world.whole(committed)
    assert sum(a.skipped for a in found) > 20 and world.sent > len(committed), "nothing was aborted"


@pytest.mark.parametrize("most", [64, 4], ids=["kept as they are", "folded"])
def test_a_row_lost_between_skipped_offsets_is_found(world: World, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Folded, the audit knows that one is missing and within which offsets; the deep one which."""
    monkeypatch.setattr("quantlake.landing.logs.MOST", most * PARTITIONS)
    producer = world.producer("a")
    kept = [n for i in range(30) for n in world.transaction(producer, 20, commit=i % 3 != 0) if i % 3]
    world.land()
    logs = Logs.parse(world.lake.properties(world.stream.spec))
    assert all(len(some) <= most for some in logs.logs[0].skipped.values())
    world.whole(kept)
    frame = pl.DataFrame(world.lake.read(world.stream.spec)).filter(pl.col("_partition") == 0)
    span = max(logs.logs[0].skipped[0], key=lambda s: s.end - s.first)
    lost = frame.filter(pl.col("_offset") >= span.first).sort("_offset")["number"][0] if most == 4 else kept[len(kept) // 2]
    partition, offset = world.without(lost)
    found = {a.partition: a for a in world.audited()}
    assert [p for p, a in found.items() if not a.clean] == [partition]
    part = found[partition]
    assert part.gaps == 1 and any(first <= offset < end for first, end in part.gap_ranges.tolist())
    assert part.content and part.content.unlanded.tolist() == [[offset, offset + 1]] and f"[{offset}, {offset + 1})" in part.reason
    if most == 64:
        assert part.gap_ranges.tolist() == [[offset, offset + 1]] and not part.doubtful
    else:
        assert part.doubtful == (span,) and f"not the {span.count} skipped of [{span.first}, {span.end})" in part.reason


def test_a_record_that_landing_took_for_skipped_is_found_by_the_deep_audit(world: World) -> None:
    """The worst case: a row is gone, and the table says that the broker had nothing there."""
    producer = world.producer("a")
    kept = world.transaction(producer, 40, commit=True)
    world.land()
    partition, offset = world.without(kept[5])
    logs = Logs.parse(world.lake.properties(world.stream.spec))
    said = added((), ranges((offset, offset + 1), *((s.first, s.end) for s in logs.logs[0].skipped[partition])))
    log = replace(logs.logs[0], skipped={**logs.logs[0].skipped, partition: said})
    world.lake.set_properties(world.stream.spec, {PROPERTY: Logs((log,)).text()})
    shallow = audit(world.stream, lake=world.lake, broker=world.broker)
    assert all(a.clean for a in shallow), "it is all the table knows"
    (found,) = [a for a in world.audited() if not a.clean]
    assert found.partition == partition and found.reason == f"records on the broker that have no row: [{offset}, {offset + 1})"


def test_a_row_at_a_marker_s_offset_is_found(world: World) -> None:
    producer = world.producer("a")
    world.transaction(producer, 20, commit=True)
    world.transaction(producer, 20, commit=True)
    world.land()
    (skip, *_) = Logs.parse(world.lake.properties(world.stream.spec)).logs[0].skipped[0]
    frame = pl.DataFrame(world.lake.read(world.stream.spec)).filter(pl.col("_partition") == 0).head(1)
    invented = frame.with_columns(_offset=pl.lit(skip.first, pl.Int64))
    world.lake.append(world.stream.spec, invented.to_arrow(), properties={}, expected={})
    (found,) = [a for a in audit(world.stream, lake=world.lake, broker=world.broker) if not a.clean]
    assert found.reason == f"rows where the broker had no record: [{skip.first}, {skip.first + 1})"


def test_compacted_records_leave_holes_and_no_gaps(world: World, kafka_server: KafkaServer) -> None:
    """Landed after the cleaner removed overtaken records: each key's newest is there, what is gone is skipped; landing resumes in a hole."""
    topic = world.stream.topic
    admin = AdminClient({"bootstrap.servers": kafka_server.address, "log_level": 0})
    compacted = f"{topic}.compacted"
    config = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.001", "segment.ms": "100", "delete.retention.ms": "100", "max.compaction.lag.ms": "100"}
    admin.create_topics([NewTopic(compacted, num_partitions=1, replication_factor=1, config=config)])[compacted].result()
    stream = registered(compacted, world.broker, world.registry)
    own = World(stream, world.broker, world.registry, world.lake)
    for _ in range(8):  # a segment each, of the same seventeen keys; the last is not compacted
        own.broker.produce(compacted, own.messages(34))
        Event().wait(0.15)

    def left() -> list[int]:
        return [o for b in own.broker.read(compacted, {}) for o in b.records.offsets.tolist()]

    wait_for(lambda: len(left()) < own.sent - 100, 60)
    wait_for(lambda: own.land() or not pending(stream, lake=own.lake, broker=own.broker), 20)
    landed = numbers(stream, own.lake)
    assert Counter(n % 17 for n in landed).keys() == set(range(17)) and max(landed) == own.sent - 1
    found = own.audited()
    assert all(a.clean for a in found), [a.reason for a in found]
    assert sum(a.skipped for a in found) == own.sent - len(landed) >= 100
    own.broker.produce(compacted, own.messages(34))
    Event().wait(0.3)
    own.broker.produce(compacted, own.messages(34))
    before = len(left())
    wait_for(lambda: len(left()) != before or len(left()) < 80, 60)  # what was landed is compacted too, beneath the committed offset
    own.land()
    found = own.audited()
    assert all(a.clean and not a.pending for a in found), [a.reason for a in found]
    assert sum(a.content.compared for a in found if a.content) <= sum(a.rows for a in found)


def test_the_end_is_beyond_the_last_marker(world: World, kafka_server: KafkaServer) -> None:
    """So that a landing to the ends leaves nothing pending, and the next one begins behind the marker."""
    producer = world.producer("a")
    world.transaction(producer, 34, commit=True)
    world.land()
    admin = AdminClient({"bootstrap.servers": kafka_server.address, "log_level": 0})
    ends = admin.list_offsets({TopicPartition(world.stream.topic, p): OffsetSpec.latest() for p in range(PARTITIONS)})
    expected = {tp.partition: done.result().offset for tp, done in ends.items()}
    assert dict(Logs.parse(world.lake.properties(world.stream.spec)).logs[0].offsets) == expected
