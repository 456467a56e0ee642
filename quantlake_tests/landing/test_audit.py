"""The audit finds what is missing and what is there twice, and says what it could not compare."""

from collections import Counter

import pyarrow.compute as pc
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.broker.tansu import free_port
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import Stream
from quantlake.landing.audit import Audited, audit, raw_versions
from quantlake.landing.land import close, land
from quantlake.ports import Message
from quantlake_tests.landing.ticks import START, produced, registered


@pytest.fixture
def stream(broker: Kafka, registry: SqliteRegistry, lake: Iceberg, topic: str) -> Stream:
    """A hundred ticks, landed."""
    stream = registered(topic, broker, registry)
    produced(stream, broker, registry, 0, 100)
    land(stream, broker=broker, registry=registry, lake=lake)
    return stream


def audited(stream: Stream, lake: Iceberg, broker: Kafka | None) -> dict[int, Audited]:
    return {a.partition: a for a in audit(stream, lake=lake, broker=broker)}


def without(stream: Stream, lake: Iceberg, *some: int) -> Counter[int]:
    """Take ticks away, behind landing's back; returns how many a partition lost."""
    rows = lake.read(stream.spec)
    mask = [n in some for n in rows["number"].to_pylist()]
    lost = Counter(p for p, m in zip(rows["_partition"].to_pylist(), mask, strict=True) if m)
    lake.publish(stream.spec, sorted(set(rows["partition_date"].to_pylist())), rows.filter([not m for m in mask]))
    return lost


def again(stream: Stream, lake: Iceberg, *some: int) -> Counter[int]:
    """Append ticks that are there already; returns how many a partition gained."""
    rows = lake.read(stream.spec)
    rows = rows.filter([n in some for n in rows["number"].to_pylist()])
    lake.append(stream.spec, rows, properties={}, expected={})
    return Counter(rows["_partition"].to_pylist())


def test_what_was_landed_is_clean(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    found = audited(stream, lake, broker)
    assert sorted(found) == [0, 1, 2] and all(a.clean and a.status == "live" and a.topic == stream.topic for a in found.values())
    assert {p: a.end for p, a in found.items()} == broker.ends(stream.topic, {})
    assert sum(a.rows for a in found.values()) == 100


def test_missing_rows_are_gaps(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    lost = without(stream, lake, 0, 7, 50, 99)
    found = audited(stream, lake, broker)
    assert {p: a.gaps for p, a in found.items() if a.gaps} == lost and sum(lost.values()) == 4
    assert all(a.clean != (p in lost) and a.duplicates == 0 for p, a in found.items())


def test_rows_that_are_there_twice_are_duplicates(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    gained = again(stream, lake, 3, 4, 5) + again(stream, lake, 5)
    found = audited(stream, lake, broker)
    assert {p: a.duplicates for p, a in found.items() if a.duplicates} == gained and sum(gained.values()) == 5
    assert all(a.clean != (p in gained) and a.gaps == 0 for p, a in found.items())


def test_a_gap_and_a_duplicate_do_not_cancel_out(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    lost, gained = without(stream, lake, 17), again(stream, lake, 34)  # of one symbol, so of one partition
    assert lost == gained
    (partition,) = lost
    assert (audited(stream, lake, broker)[partition].gaps, audited(stream, lake, broker)[partition].duplicates) == (1, 1)


def test_what_is_not_landed_yet_is_pending_and_no_fault(stream: Stream, lake: Iceberg, broker: Kafka, registry: SqliteRegistry) -> None:
    produced(stream, broker, registry, 100, 130)
    found = audited(stream, lake, broker)
    assert sum(a.pending for a in found.values()) == 30 and all(a.clean for a in found.values())
    land(stream, broker=broker, registry=registry, lake=lake)
    assert all(a.pending == 0 and a.clean for a in audited(stream, lake, broker).values())


def test_without_a_broker_nothing_is_verified_but_a_closed_log(stream: Stream, lake: Iceberg, broker: Kafka, registry: SqliteRegistry) -> None:
    for absent, reason in ((None, "no broker is running"), (Kafka({"bootstrap.servers": f"127.0.0.1:{free_port()}"}), "no broker answers at")):
        found = audited(stream, lake, absent)
        assert all(a.status == "unverified" and not a.clean and reason in a.reason for a in found.values())
        assert sum(a.rows for a in found.values()) == 100
    close(stream, broker=broker, registry=registry, lake=lake)
    assert all(a.status == "closed" and a.clean for a in audited(stream, lake, None).values())
    without(stream, lake, 0)
    assert [a.clean for a in audited(stream, lake, None).values()].count(False) == 1


def test_a_log_never_landed_is_pending(lake: Iceberg, broker: Kafka, registry: SqliteRegistry, topic: str) -> None:
    fresh = registered(topic, broker, registry)
    produced(fresh, broker, registry, 0, 10)
    found = audited(fresh, lake, broker)
    assert sum(a.pending for a in found.values()) == 10 and all(a.clean and a.end == 0 for a in found.values())


def test_a_raw_version_is_of_the_coordinates_and_of_what_is_dead(stream: Stream, lake: Iceberg, broker: Kafka, registry: SqliteRegistry) -> None:
    before = raw_versions(stream, lake)
    assert {d: v.rows for d, v in before.items()} == lake.counts(stream.spec)
    assert raw_versions(stream, lake, [START]) == {START: before[START]}
    lake.publish(stream.spec, list(before), lake.read(stream.spec).sort_by([("number", "descending")]))
    assert raw_versions(stream, lake) == before, "the order of rows is none of it"
    again(stream, lake, 0)
    broker.produce(stream.topic, [Message(b"k", b"plain")])
    land(stream, broker=broker, registry=registry, lake=lake)
    after = raw_versions(stream, lake)
    (dead_date,) = set(after) - set(before)
    assert after[START] != before[START] and all(after[d] == before[d] for d in before if d != START)
    rows = lake.read(stream.spec, [dead_date])
    index = rows.schema.get_field_index("_error_class")
    lake.publish(stream.spec, [dead_date], rows.set_column(index, rows.schema.field(index), pc.if_else(True, None, rows["_error_class"])))
    assert raw_versions(stream, lake, [dead_date]) != {dead_date: after[dead_date]}
