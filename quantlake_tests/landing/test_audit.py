"""The audit finds what is missing, what is there twice and what nobody committed, and says what it could not compare."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.broker.tansu import free_port
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import Stream
from quantlake.landing import audit as auditing
from quantlake.landing.audit import Audited, audit, pending
from quantlake.landing.land import close, land
from quantlake.landing.logs import PROPERTY, Log, Logs, Loss
from quantlake.ports import Message
from quantlake_tests.landing.ticks import produced, registered

AT = "2024-03-05T00:00:00Z"


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


def again(stream: Stream, lake: Iceberg, *some: int, **otherwise: Any) -> Counter[int]:
    """Append ticks that are there already, maybe with some other column; returns how many a partition gained."""
    rows = pl.DataFrame(lake.read(stream.spec)).filter(pl.col("number").is_in(some))
    rows = rows.with_columns(pl.lit(value, rows.schema[name]).alias(name) for name, value in otherwise.items())
    lake.append(stream.spec, rows.to_arrow(), properties={}, expected={})
    return Counter(rows["_partition"].to_list())


def offsets(stream: Stream, lake: Iceberg, partition: int) -> list[int]:
    rows = lake.read(stream.spec)
    return sorted(o for o, p in zip(rows["_offset"].to_pylist(), rows["_partition"].to_pylist(), strict=True) if p == partition)


def of_logs(stream: Stream, lake: Iceberg, change: Callable[[Logs], Logs]) -> None:
    logs = Logs.parse(lake.properties(stream.spec))
    lake.set_properties(stream.spec, {PROPERTY: change(logs).text()})


def of_log(stream: Stream, lake: Iceberg, change: Callable[[Log], Log]) -> None:
    of_logs(stream, lake, lambda logs: Logs(tuple(map(change, logs.logs))))


def test_what_was_landed_is_clean(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    found = audited(stream, lake, broker)
    assert sorted(found) == [0, 1, 2] and all(a.clean and a.status == "live" and a.topic == stream.topic for a in found.values())
    assert {p: a.end for p, a in found.items()} == broker.ends(stream.topic, {})
    assert all(a.first == 0 and a.ranges.tolist() == [[0, a.end]] and a.reason == "" for a in found.values())
    assert sum(a.rows for a in found.values()) == 100


def test_missing_rows_are_gaps(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    before = {p: offsets(stream, lake, p) for p in range(3)}
    lost = without(stream, lake, 0, 7, 50, 99)
    found = audited(stream, lake, broker)
    assert {p: a.gaps for p, a in found.items() if a.gaps} == lost and sum(lost.values()) == 4
    assert all(a.clean != (p in lost) and a.duplicates == 0 for p, a in found.items())
    for p, a in found.items():
        assert [o for first, end in a.gap_ranges.tolist() for o in range(first, end)] == sorted({*before[p]} - {*offsets(stream, lake, p)})
        assert all(f"[{first}, {end})" in a.reason for first, end in a.gap_ranges[:3].tolist())


def test_a_dropped_range_is_one_gap(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    rows = lake.read(stream.spec)
    inside = [p == 0 and 3 <= o < 9 for p, o in zip(rows["_partition"].to_pylist(), rows["_offset"].to_pylist(), strict=True)]
    lake.publish(stream.spec, sorted(set(rows["partition_date"].to_pylist())), rows.filter([not i for i in inside]))
    found = audited(stream, lake, broker)
    assert found[0].gap_ranges.tolist() == [[3, 9]] and found[0].ranges.tolist() == [[0, 3], [9, found[0].end]] and found[0].gaps == 6
    assert found[0].reason == "no row at [3, 9): 6 missing" and [a.clean for a in found.values()] == [False, True, True]


def test_rows_that_are_there_twice_are_duplicates(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    gained = again(stream, lake, 3, 4, 5) + again(stream, lake, 5)
    found = audited(stream, lake, broker)
    # the second time tick 5 was there twice already: it is there four times, which is three too many
    assert {p: a.duplicates for p, a in found.items() if a.duplicates} == gained and sum(gained.values()) == 5
    assert all(a.clean != (p in gained) and a.gaps == 0 for p, a in found.items())
    assert sum(end - first for a in found.values() for first, end in a.duplicate_ranges.tolist()) == 3, "each of the three is named once"


def test_a_row_that_is_there_three_times_is_two_too_many(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    rows = lake.read(stream.spec)
    one = rows.filter([n == 42 for n in rows["number"].to_pylist()])
    (partition,), (offset,) = one["_partition"].to_pylist(), one["_offset"].to_pylist()
    for _ in range(2):
        lake.append(stream.spec, one, properties={}, expected={})
    found = audited(stream, lake, broker)
    assert found[partition].duplicates == 2 and found[partition].duplicate_ranges.tolist() == [[offset, offset + 1]]
    assert found[partition].reason == f"more than one row at [{offset}, {offset + 1}): 2 too many"
    lake.append(stream.spec, pa.concat_tables([one, one]), properties={}, expected={})  # in one file
    assert audited(stream, lake, broker)[partition].duplicates == 4


def test_a_doubled_range_is_named(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    rows = lake.read(stream.spec)
    inside = [p == 2 and 5 <= o < 11 for p, o in zip(rows["_partition"].to_pylist(), rows["_offset"].to_pylist(), strict=True)]
    lake.append(stream.spec, rows.filter(inside), properties={}, expected={})
    found = audited(stream, lake, broker)
    assert (found[2].duplicates, found[2].duplicate_ranges.tolist(), found[2].clean) == (6, [[5, 11]], False)
    assert found[0].clean and found[1].clean


def test_a_gap_and_a_duplicate_do_not_cancel_out(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    lost, gained = without(stream, lake, 17), again(stream, lake, 34)  # of one symbol, so of one partition
    assert lost == gained
    (partition,) = lost
    assert (audited(stream, lake, broker)[partition].gaps, audited(stream, lake, broker)[partition].duplicates) == (1, 1)


def test_ranges_that_are_many_are_folded_on_the_way(stream: Stream, lake: Iceberg, broker: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "FOLDED", 0)
    gained = again(stream, lake, 3, 4, 5) + again(stream, lake, 5) + again(stream, lake, 90)
    lost = without(stream, lake, 0, 50)
    found = audited(stream, lake, broker)
    assert {p: a.duplicates for p, a in found.items() if a.duplicates} == gained
    assert {p: a.gaps for p, a in found.items() if a.gaps} == lost


def test_what_is_not_landed_yet_is_pending_and_no_fault(stream: Stream, lake: Iceberg, broker: Kafka, registry: SqliteRegistry) -> None:
    produced(stream, broker, registry, 100, 130)
    found = audited(stream, lake, broker)
    assert sum(a.pending for a in found.values()) == 30 and all(a.clean for a in found.values())
    assert pending(stream, lake=lake, broker=broker) == 30
    land(stream, broker=broker, registry=registry, lake=lake)
    assert all(a.pending == 0 and a.clean for a in audited(stream, lake, broker).values())
    assert pending(stream, lake=lake, broker=broker) == 0


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


def test_rows_of_a_log_that_the_table_does_not_know(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    again(stream, lake, 1, 2, 3, _log="nobody/knows")
    again(stream, lake, 4, _log=None)
    found = audit(stream, lake=lake, broker=broker)
    strange = [a for a in found if a.log in ("nobody/knows", "")]
    assert sum(a.rows for a in strange) == 4 and all(a.status == "unverified" and "never landed from it" in a.reason for a in strange)
    assert all(a.clean for a in found if a not in strange)


def test_rows_beyond_what_was_committed_and_below_what_was_begun(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    (partition,) = again(stream, lake, 9, _offset=5000)
    found = audited(stream, lake, broker)
    end = found[partition].end
    assert end < 100 and found[partition].reason == f"rows beyond {end}, to where it was committed: [5000, 5001)"
    assert [p for p, a in found.items() if not a.clean] == [partition] and found[partition].gaps == 0
    of_log(stream, lake, lambda log: replace(log, begins={partition: 4}))
    found = audited(stream, lake, broker)
    assert "rows below 4, the first offset landed: [0, 4)" in found[partition].reason and "rows beyond" in found[partition].reason
    assert (found[partition].first, found[partition].strays.tolist()) == (4, [[0, 4], [5000, 5001]])


def test_a_log_that_was_begun_later_has_no_gap_before(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    rows = lake.read(stream.spec)
    early = [p == 0 and o < 4 for p, o in zip(rows["_partition"].to_pylist(), rows["_offset"].to_pylist(), strict=True)]
    lake.publish(stream.spec, sorted(set(rows["partition_date"].to_pylist())), rows.filter([not e for e in early]))
    assert audited(stream, lake, broker)[0].gap_ranges.tolist() == [[0, 4]]
    of_log(stream, lake, lambda log: replace(log, begins={0: 4}))
    assert all(a.clean for a in audited(stream, lake, broker).values())


def test_an_accepted_loss_explains_exactly_its_gap(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    rows = lake.read(stream.spec)
    place = list(zip(rows["_partition"].to_pylist(), rows["_offset"].to_pylist(), strict=True))
    gone = {(0, 5), (0, 6), (0, 7), (0, 8), (0, 12), (1, 3), (1, 4)}
    lake.publish(stream.spec, sorted(set(rows["partition_date"].to_pylist())), rows.filter([p not in gone for p in place]))
    expired = Loss(0, 5, 8, "expired", AT)
    others = (Loss(1, 3, None, "ended", AT), Loss(0, 12, 20, "truncated", AT))
    of_log(stream, lake, lambda log: replace(log, losses=(expired, *others)))
    found = audited(stream, lake, broker)
    assert found[0].gap_ranges.tolist() == [[8, 9], [12, 13]] and found[1].gap_ranges.tolist() == [[3, 5]], "no other kind explains a gap"
    assert found[0].losses == (expired, others[1]) and found[1].losses == (others[0],) and found[2].losses == ()
    of_log(stream, lake, lambda log: replace(log, losses=(expired, Loss(0, 8, 13, "expired", AT), Loss(1, 3, 5, "expired", AT))))
    found = audited(stream, lake, broker)
    assert all(a.clean for a in found.values()) and [len(a.losses) for a in found.values()] == [2, 1, 0], "it stays on record"
    assert found[0].figures()["losses"][0] == {"partition": 0, "first": 5, "end": 8, "why": "expired", "accepted_at": AT}


def test_a_log_that_ended_is_clean_once_a_person_accepted_it(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    def elsewhere(logs: Logs) -> Logs:
        return Logs((Log("gone/1", "lost", {0: 0, 1: 0}), *logs.logs))

    of_logs(stream, lake, elsewhere)
    lost = [a for a in audit(stream, lake=lake, broker=broker) if a.log == "gone/1"]
    assert [(a.partition, a.status, a.clean) for a in lost] == [(0, "unverified", False), (1, "unverified", False)]
    assert all("committed to 0, anything after is unknown; accept it: `quantlake land --topic" in a.reason for a in lost)
    of_logs(stream, lake, lambda logs: logs.given_up("gone/1", "ended", AT))
    for running in (broker, None):
        given = [a for a in audit(stream, lake=lake, broker=running) if a.log == "gone/1"]
        assert [(a.status, a.clean, [v.why for v in a.losses]) for a in given] == [("given_up", True, ["ended"])] * 2


def test_a_log_broken_beneath_its_offsets_is_reported(stream: Stream, lake: Iceberg, broker: Kafka) -> None:
    end = audited(stream, lake, broker)[1].end
    of_log(stream, lake, lambda log: replace(log, offsets={**log.offsets, 1: end + 100}))
    found = audited(stream, lake, broker)
    assert all(a.status == "unverified" and not a.clean for a in found.values()), "no partition was read to its end"
    assert [(r.first, r.end, r.why) for r in found[1].lost] == [(end, end + 100, "truncated")]
    assert f"[{end}, {end + 100})" in found[1].reason and "--accept-loss" in found[1].reason and "another partition" in found[0].reason
    assert found[1].gap_ranges.tolist() == [[end, end + 100]]
    of_logs(stream, lake, lambda logs: logs.truncated(logs.logs[0].id, {1: end}, AT))
    found = {(a.log, a.partition): a for a in audit(stream, lake=lake, broker=broker)}
    first = broker.log_id(stream.topic)
    assert {k[0] for k in found} == {first, f"{first}#2"}
    assert all(a.status == ("given_up" if k[0] == first else "live") for k, a in found.items())
    assert not found[first, 1].clean and found[first, 1].losses[0].why == "truncated", "what was never there is no less missing"
    assert all(found[f"{first}#2", p].clean and found[f"{first}#2", p].first == found[first, p].end for p in (0, 2))
    assert (found[f"{first}#2", 1].first, found[f"{first}#2", 1].pending, found[f"{first}#2", 1].clean) == (end, 0, True)


def test_only_the_newest_generation_is_compared_with_the_broker(stream: Stream, lake: Iceberg, broker: Kafka, registry: SqliteRegistry) -> None:
    of_logs(stream, lake, lambda logs: logs.restarted(logs.logs[0].id, AT))
    first = broker.log_id(stream.topic)
    before = audit(stream, lake=lake, broker=broker)
    assert {a.status for a in before if a.log == first} == {"given_up"} and all(a.clean for a in before)
    assert sum(a.pending for a in before if a.log == f"{first}#2") == 100 and sum(a.pending for a in before if a.log == first) == 0
    land(stream, broker=broker, registry=registry, lake=lake)
    after = audit(stream, lake=lake, broker=broker)
    assert [(a.log, a.status, a.clean, a.pending) for a in after] == [(first, "given_up", True, 0)] * 3 + [(f"{first}#2", "live", True, 0)] * 3
    assert sum(a.rows for a in after) == 200


def test_a_landing_meanwhile_is_no_fault(
    stream: Stream, lake: Iceberg, broker: Kafka, registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the rows are looked at, and between two files."""
    broker.produce(stream.topic, [Message(b"dead", b"plain")])
    batches, sent = lake.batches, 100

    def more() -> None:
        nonlocal sent
        produced(stream, broker, registry, sent, sent + 50)
        land(stream, broker=broker, registry=registry, lake=lake)
        sent += 50

    def while_landing(*arguments: Any, **named: Any) -> Iterator[pa.Table]:
        more()
        for n, rows in enumerate(batches(*arguments, **named)):
            yield rows
            if n < 2:
                more()

    monkeypatch.setattr(lake, "batches", while_landing)
    found = audited(stream, lake, broker)
    assert sent > 150 and all(a.clean for a in found.values()), [a.reason for a in found.values()]
    assert sum(a.rows for a in found.values()) == sum(a.end for a in found.values()) == 100
    monkeypatch.undo()
    assert audited(stream, lake, None)[0].rows > found[0].rows
    again(stream, lake, 0, _offset=100_000)
    monkeypatch.setattr(lake, "batches", while_landing)
    assert sum("rows beyond" in a.reason for a in audited(stream, lake, broker).values()) == 1, "but what is beyond either commit"
