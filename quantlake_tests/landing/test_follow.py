"""Landing that goes on: when it commits, beside whom, what it does when something is away, and what it says then."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.broker.tansu import Tansu, free_port
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import Stream
from quantlake.landing import follow
from quantlake.landing.audit import audit
from quantlake.landing.follow import Follower
from quantlake.landing.land import Committed, land
from quantlake.landing.mend import accept_loss
from quantlake.ports import Message
from quantlake_tests.e2e.commands import wait_for
from quantlake_tests.landing.ticks import numbers, produced, registered

NEVER = 3600.0


class World:
    """A stream, and followers of it. ``read`` and ``polls``: how many records they were handed, in how many batches; ``told``: what they said."""

    def __init__(self, topic: str, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
        self.broker, self.registry, self.lake = broker, registry, lake
        self.stream = registered(topic, broker, registry)
        self.sent = self.read = self.polls = 0
        self.told: list[str] = []
        self.reported: list[Committed] = []
        self.current = broker

    def send(self, count: int) -> None:
        produced(self.stream, self.current, self.registry, self.sent, self.sent + count)
        self.sent += count

    def land(self, lake: Iceberg | None = None) -> int:
        return land(self.stream, broker=self.current, registry=self.registry, lake=lake or self.lake).rows

    @contextmanager
    def following(self, seconds: float = NEVER, rows: int = 1_000_000, **otherwise: Any) -> Iterator[Follower]:
        hands_out = self.broker.follow

        def counted(*arguments: Any, **named: Any) -> Iterator[Any]:
            for batch in hands_out(*arguments, **named):
                yield batch
                self.read += len(batch.records)  # it was taken, and the next one is asked for
                self.polls += 1

        self.broker.follow = counted  # type: ignore[method-assign]
        follower = Follower(
            [self.stream], broker=self.broker, registry=self.registry, lake=self.lake, commit_seconds=seconds, commit_rows=rows,
            tell=lambda _, what: self.told.append(what), report=lambda _, done: self.reported.append(done), **otherwise,
        )  # fmt: skip
        follower.start()
        try:
            yield follower
        finally:
            follower.stop()
            self.broker.follow = hands_out  # type: ignore[method-assign]

    def require_all(self) -> None:
        assert numbers(self.stream, self.lake) == list(range(self.sent))
        assert all(a.clean and a.pending == 0 for a in audit(self.stream, lake=self.lake, broker=self.current) if a.status == "live")

    @property
    def landed(self) -> int:
        return len(numbers(self.stream, self.lake)) if self.lake.exists(self.stream.spec) else 0


@pytest.fixture
def world(topic: str, tansu: Tansu, registry: SqliteRegistry, lake: Iceberg) -> World:
    return World(topic, Kafka({"bootstrap.servers": tansu.address}), registry, lake)


def test_it_commits_so_long_after_what_came_first(world: World) -> None:
    with world.following(seconds=0.5):
        while len(world.reported) < 3:
            world.send(5)
        wait_for(lambda: world.read == world.sent, 20)  # what it has not read at its stop is the next one's
    made = [c.committed_at for c in world.lake.commits(world.stream.spec) if c.dates]
    assert all((later - earlier).total_seconds() > 0.4 for earlier, later in pairwise(made[:-1])), "but for the one at its stop"
    assert [done.commit.sequence for done in world.reported] == [c.sequence for c in world.lake.commits(world.stream.spec) if c.dates]
    assert sum(done.landed.rows for done in world.reported) == world.sent
    world.require_all()


def test_it_commits_at_so_many_rows_and_at_its_stop(world: World) -> None:
    with world.following(rows=100) as follower:
        seen = follower.seen[world.stream.topic]
        world.send(110)
        wait_for(lambda: seen.landed.rows >= 100, 20)
        wait_for(lambda: world.read == 110, 20)
        world.send(30)
        wait_for(lambda: world.read == 140, 20)
        assert world.landed == seen.landed.rows < 140 and seen.committed_at is not None and seen.trouble == ""
    assert seen.landed.rows == world.landed == 140
    assert not world.told
    world.require_all()


def test_what_was_read_is_committed_at_its_stop(world: World) -> None:
    with world.following():
        world.send(40)
        wait_for(lambda: world.read == 40, 20)
        assert world.landed == 0
    world.require_all()
    assert len(world.reported) == 1


def test_nothing_came_and_nothing_is_committed(world: World) -> None:
    world.send(3)
    world.land()
    head = world.lake.last_commit(world.stream.spec)
    with world.following(seconds=0.01):
        wait_for(lambda: world.polls >= 3, 20)
    assert world.lake.last_commit(world.stream.spec) == head and not world.reported and not world.told


@pytest.mark.parametrize("machine", ["locks", "other-locks"], ids=["one machine", "two machines"])
def test_another_landers_commit_makes_it_read_on(world: World, home: Path, machine: str) -> None:
    with world.following(rows=60) as follower:
        world.send(40)
        wait_for(lambda: world.read == 40, 20)
        assert world.land(Iceberg.embedded(home / "lake", home / machine)) == 40
        world.send(30)  # with these its next commit is due, which is that of a stale writer
        world.send(60)
        wait_for(lambda: follower.seen[world.stream.topic].landed.rows >= 60, 30)
    assert follower.seen[world.stream.topic].landed.rows == 90 and not world.told
    world.require_all()


def test_beside_landings_and_another_follower(world: World, home: Path) -> None:
    over = threading.Event()

    def keep_landing() -> None:
        while not over.is_set():
            world.land()

    landing = threading.Thread(target=keep_landing)
    with world.following(seconds=0.05) as first, world.following(seconds=0.05) as second:
        landing.start()
        for _ in range(15):
            world.send(40)
        wait_for(lambda: world.landed == world.sent, 60)
        over.set()
        landing.join()
    assert not world.told and all(f.seen[world.stream.topic].trouble == "" for f in (first, second))
    world.require_all()


def test_a_topic_that_is_written_to_without_pause(world: World) -> None:
    over = threading.Event()

    def keep_sending() -> None:
        while not over.is_set():
            world.send(200)

    producer = threading.Thread(target=keep_sending)
    with world.following(seconds=0.3):
        producer.start()
        try:
            wait_for(lambda: len(world.reported) >= 4, 30)
        finally:
            over.set()
            producer.join()
    assert not world.told and world.land() + sum(done.landed.rows for done in world.reported) == world.sent
    world.require_all()


class Panic(BaseException):
    """As polars raises it."""


@pytest.mark.parametrize("error", [OSError("No space left on device"), Panic("index out of range")])
def test_what_fails_is_said_once_and_tried_again(world: World, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LONGEST_WAIT_SECONDS", 0.05)
    failed: list[int] = []
    known = world.registry.schema

    def schema(schema_id: int) -> Any:
        if len(failed) < 4:
            failed.append(schema_id)
            raise error
        return known(schema_id)

    monkeypatch.setattr(world.registry, "schema", schema)
    with world.following(seconds=0.05) as follower:
        world.send(10)
        wait_for(lambda: follower.seen[world.stream.topic].landed.rows == 10, 30)
        assert follower.seen[world.stream.topic].trouble == ""
    assert world.told == [f"{type(error).__name__}: {error}"] and len(failed) == 4
    world.require_all()


def test_a_broker_that_goes_away_and_comes_back_empty(topic: str, registry: SqliteRegistry, lake: Iceberg, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for the broker; the log that comes is another one, for which it waits for a person's word."""
    monkeypatch.setattr(follow, "LONGEST_WAIT_SECONDS", 0.2)
    port = free_port()
    server = Tansu.start(home / "broker.log", port)
    try:
        world = World(topic, Kafka({"bootstrap.servers": server.address}), registry, lake)
        with world.following(seconds=0.05) as follower:
            seen = follower.seen[topic]
            world.send(20)
            wait_for(lambda: world.landed == 20, 20)
            server.stop()
            wait_for(lambda: world.told, 30)
            server = Tansu.start(home / "broker.log", port)
            world.current = Kafka({"bootstrap.servers": server.address})
            registered(topic, world.current, registry)
            wait_for(lambda: "ended, committed" in seen.trouble, 60)
            world.send(15)
            told = list(world.told)
            wait_for(lambda: world.told[-1] == seen.trouble, 10)
            assert world.landed == 20 and "--accept-loss" in told[-1] and len([t for t in told if "ended, committed" in t]) == 1
            (accepted,) = accept_loss(world.stream, broker=world.current, lake=lake)
            assert "anything after is given up" in accepted
            wait_for(lambda: world.landed == 35 and seen.trouble == "", 60)
        assert world.told == told and len(told) <= 3, told
        world.require_all()
    finally:
        server.stop()


def test_streams_of_which_one_is_broken(world: World, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one lands on."""
    missing: Stream = registered(f"{topic}.other", world.broker, world.registry)
    told: list[tuple[str, str]] = []
    gone = Kafka({"bootstrap.servers": world.broker.address})
    monkeypatch.setattr(gone, "log_id", lambda name: (_ for _ in ()).throw(RuntimeError("broken")) if name == missing.topic else world.broker.log_id(name))
    other = replace(missing, module="quantlake_tests.landing.other")
    follower = Follower(
        [other, world.stream], broker=gone, registry=world.registry, lake=world.lake, commit_seconds=0.05, tell=lambda s, what: told.append((s.topic, what)),
    )  # fmt: skip
    follower.start()
    try:
        world.broker.produce(world.stream.topic, [Message(b"dead", b"plain")])
        world.send(10)
        wait_for(lambda: follower.seen[world.stream.topic].landed.rows == 10, 20)
    finally:
        follower.stop()
    assert told == [(other.topic, "RuntimeError: broken")] and follower.seen[other.topic].trouble and not follower.seen[world.stream.topic].trouble
    world.require_all()
