"""Apache Kafka killed while a follower lands; and logs that expired, were cut, or were made again beneath what was committed."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.landing.audit import Audited, audit
from quantlake.landing.logs import Logs
from quantlake.landing.mend import accept_loss, reset
from quantlake.ports import Last, LogBrokenError
from quantlake_tests.e2e.commands import wait_for
from quantlake_tests.faults.landers import Lander, Work
from quantlake_tests.faults.tables import Raw, adapters_of, shown
from quantlake_tests.landing.ticks import PARTITIONS, registered
from quantlake_tests.servers.kafka import KafkaServer, add_partitions, configure, delete_records, delete_topic, truncate, why_not

pytestmark = pytest.mark.servers
PARTITION = 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    if reason := why_not():
        pytest.skip(reason)
    node = KafkaServer.start(tmp_path_factory.mktemp("kafka"))
    yield node
    node.stop()


@pytest.fixture
def raw(home: Path, server: KafkaServer, topic: str) -> Raw:
    return Raw.made(home, server.address, topic)


def ends(raw: Raw) -> dict[int, int]:
    """To where the newest log is committed."""
    return dict(Logs.parse(raw.lake.properties(raw.stream.spec)).logs[-1].offsets)


def audited(raw: Raw) -> list[Audited]:
    return audit(raw.stream, lake=raw.lake, broker=raw.broker)


def refused(raw: Raw) -> LogBrokenError:
    """Landing is, in one line that names both ways on, and nothing is committed."""
    before = raw.commits()
    with pytest.raises(LogBrokenError) as error:
        raw.land()
    said = str(error.value)
    assert "\n" not in said and f"--topic {raw.stream.topic} --accept-loss" in said and "--reset" in said
    assert raw.commits() == before
    return error.value


def held(raw: Raw) -> Counter[int]:
    return Counter(n for n in raw.lake.read(raw.stream.spec, columns=["number"])["number"].to_pylist() if n is not None)


@pytest.mark.parametrize("times", [2])
def test_a_broker_that_is_killed_and_comes_again_loses_and_doubles_nothing(raw: Raw, server: KafkaServer, times: int) -> None:
    resident = Lander(Work("follow", server.address, raw.home, raw.stream.topic, raw.home / "dagster"))
    assert resident.wait()
    log = raw.broker.log_id(raw.stream.topic)
    for _ in range(times):
        raw.send(120, 3)
        resident.wait(done=resident.journal.done + 1)
        server.kill()
        server.restart()
        raw.adapters.__dict__["broker"] = Kafka({"bootstrap.servers": server.address})
        raw.send(60, 2)
        wait_for(lambda: raw.look() or not raw.missing(), 90)
    assert raw.broker.log_id(raw.stream.topic) == log
    resident.stop()
    assert resident.ended() == 0
    raw.whole()


@pytest.mark.parametrize("way", [accept_loss, reset])
def test_records_that_expired_before_they_landed(raw: Raw, server: KafkaServer, way: Callable[..., list[str]]) -> None:
    raw.send(100, 3)
    raw.land()
    before = ends(raw)
    raw.send(100, 3)
    first, low = before[PARTITION], before[PARTITION] + 10
    delete_records(server.address, raw.stream.topic, {PARTITION: low})
    error = refused(raw)
    assert [(r.partition, r.first, r.end, r.why) for r in error.lost] == [(PARTITION, first, low, "expired")] and f"[{first}, {low})" in str(error)
    (unclean,) = [a for a in audited(raw) if a.lost]
    assert not unclean.clean and unclean.partition == PARTITION
    assert way(raw.stream, broker=raw.broker, lake=raw.lake)
    raw.land()
    found = audited(raw)
    assert all(a.clean and not a.pending for a in found), [a.reason for a in found]
    numbers = held(raw)
    if way is accept_loss:
        assert [(x.partition, x.first, x.end, x.why) for a in found for x in a.losses] == [(PARTITION, first, low, "expired")]
        assert sum(a.rows + a.dead_letters for a in found) == 206 - 10 and max(numbers.values()) == 1
    else:
        again = [a for a in found if a.log.endswith("#2")]
        assert {a.partition: (a.first, a.status) for a in again}[PARTITION] == (low, "live")
        assert {(x.partition, x.first, x.why) for a in found for x in a.losses} == {(p, o, "reset") for p, o in before.items()}
        assert all(a.status == "given_up" for a in found if a not in again)
        assert sum(a.rows + a.dead_letters for a in again) == 206 - low
    assert way(raw.stream, broker=raw.broker, lake=raw.lake) == [] or way is reset
    raw.send(30, 1)
    raw.land()
    assert all(a.clean and not a.pending for a in audited(raw)) and set(range(200, 230)) <= held(raw).keys()


@pytest.mark.parametrize("way", [accept_loss, reset])
def test_a_log_that_lost_its_tail(raw: Raw, server: KafkaServer, way: Callable[..., list[str]]) -> None:
    for _ in range(3):
        raw.send(60)
    raw.land()
    before = ends(raw)
    truncate(server, raw.stream.topic, PARTITION, keep_batches=1)
    raw.adapters.__dict__["broker"] = Kafka({"bootstrap.servers": server.address})
    error = refused(raw)
    (lost,) = error.lost
    assert (lost.partition, lost.end, lost.why) == (PARTITION, before[PARTITION], "truncated") and 0 < lost.first < lost.end
    assert not all(a.clean for a in audited(raw))
    assert way(raw.stream, broker=raw.broker, lake=raw.lake)
    raw.send(60, 2)  # offsets that were used before are used again
    raw.land()
    found = audited(raw)
    assert all(a.clean and not a.pending for a in found), [a.reason for a in found]
    assert set(range(raw.ticks)) == held(raw).keys(), "what had landed of the lost tail stays, and what is new is there"
    second = {a.partition: a for a in found if a.log.endswith("#2")}
    losses = [(x.partition, x.first, x.end, x.why) for a in found for x in a.losses]
    if way is accept_loss:
        assert (PARTITION, lost.first, lost.end, "truncated") in losses and max(held(raw).values()) == 1
        assert second[PARTITION].first == lost.first
    else:
        assert {(p, o, None, "reset") for p, o in before.items()} == set(losses) and second[PARTITION].first == 0


@pytest.mark.parametrize("resting", [True, False], ids=["nobody reads", "followed"])
def test_a_log_that_lost_its_tail_and_has_grown_beyond_it_again(raw: Raw, server: KafkaServer, resting: bool) -> None:
    """Where landing was, there is a record; what is now below it has never landed, and the audit knows without reading a row again."""
    for _ in range(3):
        raw.send(60)
    raw.land()
    before, sent = ends(raw), raw.ticks
    resident = None if resting else Lander(Work("follow", server.address, raw.home, raw.stream.topic, raw.home / "dagster", retry_seconds=0.5))
    if resident:
        assert resident.wait()
        resident.pause()  # so that it finds the log grown
    truncate(server, raw.stream.topic, PARTITION, keep_batches=1)
    raw.adapters.__dict__["broker"] = Kafka({"bootstrap.servers": server.address})
    raw.send(400)
    assert raw.broker.ends(raw.stream.topic, {})[PARTITION] > before[PARTITION]
    if resident:
        resident.go_on()
        assert resident.wait(60, troubles=1)
    (lost,) = refused(raw).lost
    assert (lost.partition, lost.end, lost.why) == (PARTITION, before[PARTITION], "truncated") and 0 < lost.first < lost.end
    (unclean, *_) = [a for a in audited(raw) if a.lost]
    assert unclean.partition == PARTITION and not unclean.clean
    accept_loss(raw.stream, broker=raw.broker, lake=raw.lake)
    if resident:
        wait_for(lambda: not sum(a.pending for a in audited(raw)), 60)
        resident.stop()
        assert resident.ended() == 0
    raw.land()
    found = raw.audited()
    assert all(a.clean and not a.pending for a in found), [a.reason for a in found]
    assert set(range(sent, raw.ticks)) <= held(raw).keys(), "all that came after the cut is there"
    assert (PARTITION, lost.first, lost.end, "truncated") in [(x.partition, x.first, x.end, x.why) for a in found for x in a.losses]


def test_what_expired_after_it_was_read_is_no_loss_when_a_leader_changes(raw: Raw, server: KafkaServer) -> None:
    """A reader that has records in hand looks whether the log is the one it read; a place that expired meanwhile says nothing of that."""
    raw.send(400)
    reached = raw.broker.ends(raw.stream.topic, {})
    delete_records(server.address, raw.stream.topic, {PARTITION: reached[PARTITION] - 1})
    with raw.adapters.broker._reading(raw.stream.topic, 100, 1 << 20) as (reading, _):  # type: ignore[attr-defined]
        reading._require_same({PARTITION: Last(0, 0)})
        with pytest.raises(LogBrokenError, match="were read, and are no longer there"):
            reading._require_same({PARTITION: Last(reached[PARTITION] - 1, 7)})


@pytest.mark.parametrize("way", [accept_loss, reset])
def test_a_topic_that_was_deleted_and_made_again(raw: Raw, server: KafkaServer, way: Callable[..., list[str]]) -> None:
    raw.send(90, 3)
    raw.land()
    before, log = ends(raw), raw.broker.log_id(raw.stream.topic)
    delete_topic(server.address, raw.stream.topic)
    registered(raw.stream.topic, raw.broker, raw.adapters.registry)
    wait_for(lambda: shown(raw.broker, raw.stream.topic), 30)
    raw.send(40, 1)
    error = refused(raw)
    assert log in str(error) and "anything after is unknown" in str(error)
    assert all(f"partition {p} to {o}" in str(error) for p, o in before.items())
    assert any(a.status == "unverified" for a in audited(raw))
    assert way(raw.stream, broker=raw.broker, lake=raw.lake)
    raw.land()
    found = audited(raw)
    assert all(a.clean and not a.pending for a in found), [a.reason for a in found]
    assert [(x.partition, x.first, x.end, x.why) for a in found if a.log == log for x in a.losses] == [(p, before[p], None, "ended") for p in range(PARTITIONS)]
    assert sum(a.rows for a in found if a.log != log) == 40 and held(raw) == Counter(range(130))


def test_a_resident_follower_waits_for_a_person_and_goes_on(raw: Raw, server: KafkaServer) -> None:
    """It says what is lost, commits nothing, and lands on by itself once the loss is accepted."""
    raw.send(60, 1)
    raw.land()
    raw.send(60, 1)
    low = ends(raw)[PARTITION] + 5
    delete_records(server.address, raw.stream.topic, {PARTITION: low})
    before = raw.commits()
    resident = Lander(Work("follow", server.address, raw.home, raw.stream.topic, raw.home / "dagster", retry_seconds=0.5))
    assert resident.wait()
    assert resident.wait(30, troubles=1) and raw.commits() == before
    accept_loss(raw.stream, broker=adapters_of(raw.home, server.address).broker, lake=raw.lake)
    wait_for(lambda: not sum(a.pending for a in audited(raw)), 60)
    resident.stop()
    assert resident.ended() == 0
    assert all(a.clean for a in audited(raw))


@pytest.fixture
def resident(raw: Raw, server: KafkaServer) -> Lander:
    """A follower in a process of its own, at work; it tries again soon."""
    found = Lander(Work("follow", server.address, raw.home, raw.stream.topic, raw.home / "dagster", retry_seconds=0.5))
    assert found.wait()
    return found


def test_partitions_that_are_added_are_followed(raw: Raw, server: KafkaServer, resident: Lander) -> None:
    raw.send(60, 2)
    add_partitions(server.address, raw.stream.topic, PARTITIONS + 3)
    wait_for(lambda: len(raw.broker.partitions(raw.stream.topic)) == PARTITIONS + 3, 30)
    raw.adapters.__dict__["broker"] = Kafka({"bootstrap.servers": server.address})  # whose producer knows of them at once
    raw.send(170, 3)
    wait_for(lambda: raw.look() or not raw.missing(), 60)
    resident.stop()
    assert resident.ended() == 0
    found = raw.whole()
    assert sorted(a.partition for a in found) == list(range(PARTITIONS + 3)) and sum(a.rows > 0 for a in found) > PARTITIONS


def test_what_was_landed_may_expire(raw: Raw, server: KafkaServer) -> None:
    """By the broker's own retention: it is no loss, landing goes on behind it, and the audit compares what is left."""
    raw.send(100, 2)
    raw.land()
    before = ends(raw)
    expiring(raw, server)
    assert raw.broker.ends(raw.stream.topic, before) == before
    raw.look()
    assert all(a.clean and not a.pending for a in audited(raw))
    configure(server.address, raw.stream.topic, {"retention.ms": "-1"})
    raw.send(50, 1)
    raw.land()
    raw.look()
    found = raw.audited()
    assert raw.missing() == 0 and all(a.clean and not a.pending for a in found), [a.reason for a in found]
    assert sum(a.content.compared for a in found if a.content) == 51, "the others are no longer on the broker"


def test_what_was_not_landed_and_expired_is_a_loss_on_record(raw: Raw, server: KafkaServer) -> None:
    raw.send(40)
    raw.land()
    before = ends(raw)
    raw.send(60)
    sent = raw.broker.ends(raw.stream.topic, before)
    expiring(raw, server)
    error = refused(raw)
    assert {r.partition: (r.first, r.end, r.why) for r in error.lost} == {p: (before[p], sent[p], "expired") for p in before if sent[p] > before[p]}
    assert accept_loss(raw.stream, broker=raw.broker, lake=raw.lake)
    raw.land()
    found = audited(raw)
    assert all(a.clean and not a.pending for a in found) and sum(a.rows for a in found) == 40
    assert sum((loss.end or 0) - loss.first for a in found for loss in a.losses) == 60


def expiring(raw: Raw, server: KafkaServer) -> None:
    """Let retention take all there is."""
    low = raw.broker.ends(raw.stream.topic, ends(raw))
    configure(server.address, raw.stream.topic, {"retention.ms": "1", "segment.ms": "1"})
    wait_for(lambda: begins(server, raw.stream.topic) == low, 60)


def begins(server: KafkaServer, topic: str) -> dict[int, int]:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient, OffsetSpec

    admin = AdminClient({"bootstrap.servers": server.address, "log_level": 0})
    found = admin.list_offsets({TopicPartition(topic, p): OffsetSpec.earliest() for p in range(PARTITIONS)})
    return {place.partition: done.result().offset for place, done in found.items()}


def test_a_tail_that_is_lost_beneath_a_follower(raw: Raw, server: KafkaServer, resident: Lander) -> None:
    """It commits nothing of what takes the lost offsets' place before a person says so, and lands on then, by itself."""
    for _ in range(3):
        raw.send(60)
    wait_for(lambda: raw.look() or not raw.missing(), 60)
    before, commits = ends(raw), raw.commits()
    truncate(server, raw.stream.topic, PARTITION, keep_batches=1)
    assert resident.wait(60, troubles=1)
    raw.adapters.__dict__["broker"] = Kafka({"bootstrap.servers": server.address})
    assert [(r.partition, r.end, r.why) for r in refused(raw).lost] == [(PARTITION, before[PARTITION], "truncated")]
    assert raw.commits() == commits
    accept_loss(raw.stream, broker=raw.broker, lake=raw.lake)
    raw.send(60, 2)
    wait_for(lambda: not sum(a.pending for a in audited(raw)), 60)
    resident.stop()
    assert resident.ended() == 0
    assert all(a.clean for a in audited(raw)) and set(range(raw.ticks)) == held(raw).keys()


def test_a_topic_that_is_made_again_beneath_a_follower(raw: Raw, server: KafkaServer, resident: Lander) -> None:
    """The new topic's offsets are not taken for the old one's."""
    raw.send(90, 3)
    wait_for(lambda: raw.look() or not raw.missing(), 60)
    log, commits = raw.broker.log_id(raw.stream.topic), raw.commits()
    delete_topic(server.address, raw.stream.topic)
    registered(raw.stream.topic, raw.broker, raw.adapters.registry)
    raw.adapters.__dict__["broker"] = Kafka({"bootstrap.servers": server.address})
    raw.send(300, 1)  # beyond where the old one ended
    assert resident.wait(60, troubles=1)
    assert log in str(refused(raw)) and raw.commits() == commits
    accept_loss(raw.stream, broker=raw.broker, lake=raw.lake)
    wait_for(lambda: not sum(a.pending for a in audited(raw)), 60)
    resident.stop()
    assert resident.ended() == 0
    found = audited(raw)
    assert all(a.clean for a in found) and held(raw) == Counter(range(390))
    assert sum(a.rows for a in found if a.log == log) == 90
