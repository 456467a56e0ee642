"""What a person does about a log: accept what was lost, or begin again; no row goes, and the audit tells it for ever."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import QuantLakeError, Stream
from quantlake.landing.audit import Audited, audit
from quantlake.landing.deep import deep
from quantlake.landing.follow import Follower
from quantlake.landing.land import Landed, close, land
from quantlake.landing.logs import PROPERTY, Logs
from quantlake.landing.mend import accept_loss, record_ends, reset
from quantlake.ports import LogBrokenError, LostRange, Message, StaleWriterError
from quantlake_tests.e2e.commands import wait_for
from quantlake_tests.landing.ticks import numbers, produced, registered


@pytest.fixture
def stream(broker: Kafka, registry: SqliteRegistry, lake: Iceberg, topic: str) -> Stream:
    """Thirty ticks and a dead letter, landed."""
    stream = registered(topic, broker, registry)
    produced(stream, broker, registry, 0, 30)
    broker.produce(topic, [Message(b"dead", b"plain")])
    land(stream, broker=broker, registry=registry, lake=lake)
    return stream


def logs_of(stream: Stream, lake: Iceberg) -> Logs:
    return Logs.parse(lake.properties(stream.spec))


def audited(stream: Stream, lake: Iceberg, broker: Kafka, registry: SqliteRegistry) -> list[Audited]:
    return deep(stream, audit(stream, lake=lake, broker=broker), lake=lake, broker=broker, registry=registry)


def of_logs(stream: Stream, lake: Iceberg) -> dict[str, int]:
    return dict(Counter(lake.read(stream.spec, columns=["_log"])["_log"].to_pylist()))


def test_a_reset_lands_all_that_the_broker_holds_again(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    first, before = broker.log_id(stream.topic), lake.read(stream.spec)
    for generation in (2, 3):
        (told,) = reset(stream, broker=broker, lake=lake)
        assert told.endswith(f"; {first}#{generation} begins with what the broker holds") and " is over, committed to " in told
        assert reset(stream, broker=broker, lake=lake) == [], "nothing of it is landed yet"
        landed = land(stream, broker=broker, registry=registry, lake=lake)
        assert (landed.rows, landed.dead_letters) == (30, 1) and land(stream, broker=broker, registry=registry, lake=lake) == Landed()
        assert numbers(stream, lake) == sorted(list(range(30)) * generation)
    generations = [first, f"{first}#2", f"{first}#3"]
    assert of_logs(stream, lake) == dict.fromkeys(generations, 31)
    columns = [name for name in before.column_names if name != "_log"]
    rows = lake.read(stream.spec)
    for generation in generations:
        own = rows.filter([name == generation for name in rows["_log"].to_pylist()]).select(columns)
        assert sorted(map(repr, own.to_pylist())) == sorted(map(repr, before.select(columns).to_pylist()))
    found = audited(stream, lake, broker, registry)
    assert [(a.log, a.status, a.clean) for a in found] == [
        *[(generation, "given_up", True) for generation in generations[:2] for _ in range(3)], *[(generations[2], "live", True)] * 3,
    ]  # fmt: skip
    assert all([loss.why for loss in a.losses] == ([] if a.status == "live" else ["reset"]) for a in found)
    produced(stream, broker, registry, 30, 40)
    assert land(stream, broker=broker, registry=registry, lake=lake).rows == 10
    assert of_logs(stream, lake) == {**dict.fromkeys(generations, 31), generations[2]: 41}


def test_where_nothing_was_lost_nothing_is_accepted(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    before, head = logs_of(stream, lake), lake.last_commit(stream.spec)
    assert accept_loss(stream, broker=broker, lake=lake) == []
    produced(stream, broker, registry, 30, 40)
    assert accept_loss(stream, broker=broker, lake=lake) == [], "what is pending is not lost"
    assert (logs_of(stream, lake), lake.last_commit(stream.spec)) == (before, head)
    assert land(stream, broker=broker, registry=registry, lake=lake).rows == 10
    assert all(a.clean for a in audited(stream, lake, broker, registry))


def test_a_stream_never_landed_has_nothing_to_mend(broker: Kafka, registry: SqliteRegistry, lake: Iceberg, topic: str) -> None:
    fresh = registered(topic, broker, registry)
    assert accept_loss(fresh, broker=broker, lake=lake) == reset(fresh, broker=broker, lake=lake) == record_ends([fresh], lake) == []
    produced(fresh, broker, registry, 0, 5)
    assert land(fresh, broker=broker, registry=registry, lake=lake).rows == 5
    missing = replace(fresh, topic=f"{topic}.none")
    for way in (accept_loss, reset):
        with pytest.raises(QuantLakeError, match=f"no topic {missing.topic}"):
            way(missing, broker=broker, lake=lake)


def test_a_cut_log_goes_on_from_where_it_ends(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    """As far as a broker that never loses its tail can play one that did: the table says that more was landed than there is."""
    logs, first = logs_of(stream, lake), broker.log_id(stream.topic)
    ends = dict(logs[first].offsets)
    cut = max(ends, key=lambda p: ends[p])
    lake.set_properties(stream.spec, {PROPERTY: logs.moved(first, {cut: ends[cut] + 5}).text()})
    with pytest.raises(LogBrokenError, match=rf"partition {cut}: offsets \[{ends[cut]}, {ends[cut] + 5}\) were read"):
        land(stream, broker=broker, registry=registry, lake=lake)
    (told,) = accept_loss(stream, broker=broker, lake=lake)
    assert told == f"partition {cut}: offsets [{ends[cut]}, {ends[cut] + 5}) were read, and are no longer there"
    assert accept_loss(stream, broker=broker, lake=lake) == []
    produced(stream, broker, registry, 30, 60)
    assert land(stream, broker=broker, registry=registry, lake=lake).rows == 30
    assert numbers(stream, lake) == list(range(60)) and of_logs(stream, lake) == {first: 31, f"{first}#2": 30}
    found = audited(stream, lake, broker, registry)
    assert {(a.log, a.partition): a.first for a in found if a.log != first} == {(f"{first}#2", p): end for p, end in ends.items()}
    assert all(a.clean == ((a.log, a.partition) != (first, cut)) for a in found), "five rows that are not there are missing"


def test_ends_are_recorded_of_open_logs_alone(
    stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, topic: str
) -> None:
    close(stream, broker=broker, registry=registry, lake=lake)
    assert record_ends([stream], lake) == [] and logs_of(stream, lake).logs[0].status == "closed"
    produced(stream, broker, registry, 30, 31)
    land(stream, broker=broker, registry=registry, lake=lake)
    ((told, log),) = record_ends([stream], lake)
    assert told is stream and logs_of(stream, lake)[log.id].status == "lost"
    assert {a.status for a in audit(stream, lake=lake, broker=None)} == {"unverified"}
    assert land(stream, broker=broker, registry=registry, lake=lake) == Landed(), "the broker still has it"
    assert [log.status for log in logs_of(stream, lake).logs] == ["open"] and all(a.clean for a in audit(stream, lake=lake, broker=broker))


def test_a_reset_beneath_a_follower_and_a_landing(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    """What was read before, under the old name, is not committed; what follows lands under the new one, from the beginning."""
    told: list[str] = []
    follower = Follower([stream], broker=broker, registry=registry, lake=lake, tell=lambda _, what: told.append(what), commit_seconds=0.2)
    follower.start()
    try:
        produced(stream, broker, registry, 30, 40)
        wait_for(lambda: len(numbers(stream, lake)) == 40, 20)
        reset(stream, broker=broker, lake=lake)
        produced(stream, broker, registry, 40, 45)  # its next commit is that of a stale writer
        wait_for(lambda: len(numbers(stream, lake)) == 40 + 45, 20)
    finally:
        follower.stop()
    first = broker.log_id(stream.topic)
    assert not told and of_logs(stream, lake) == {first: 41, f"{first}#2": 46}
    assert all(a.clean and a.pending == 0 for a in audited(stream, lake, broker, registry))


def test_what_is_known_of_logs_is_put_with_a_fence(
    stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A landing on another machine, which our locks do not reach, while a loss is accepted: who comes second changes nothing."""
    produced(stream, broker, registry, 30, 40)
    read = broker.read

    def meanwhile(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(broker, "read", read)
        land(stream, broker=broker, registry=registry, lake=Iceberg.embedded(home / "lake", home / "other-locks"))
        raise LogBrokenError("broken", [LostRange(0, 1, 5, "truncated")])

    monkeypatch.setattr(broker, "read", meanwhile)
    with pytest.raises(StaleWriterError, match="another writer"):
        accept_loss(stream, broker=broker, lake=lake)
    assert numbers(stream, lake) == list(range(40)) and [log.status for log in logs_of(stream, lake).logs] == ["open"]
    assert all(a.clean and a.pending == 0 for a in audited(stream, lake, broker, registry))
