"""A follower keeps its table small: old snapshots expire as it commits, and nothing of the rows, the offsets or the audit goes with them."""

import time

import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.landing import follow
from quantlake.landing.audit import audit
from quantlake_tests.landing.ticks import numbers, produced, registered


def test_a_followers_old_snapshots_expire(
    broker: Kafka, registry: SqliteRegistry, lake: Iceberg, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "SNAPSHOTS", 8)
    stream = registered(topic, broker, registry)
    follower = follow.Follower([stream], broker=broker, registry=registry, lake=lake, commit_seconds=0.05, commit_rows=1)
    follower.start()
    sent, deadline = 0, time.monotonic() + 60
    try:
        while lake.last_commit(stream.spec) is None or lake.last_commit(stream.spec).sequence < 40:
            assert time.monotonic() < deadline
            produced(stream, broker, registry, sent, sent + 3)
            sent += 3
            time.sleep(0.05)
    finally:
        follower.stop()
    kept = lake.commits(stream.spec)
    assert kept[0].sequence > 20 and len(kept) < 24, "the first ones are gone"
    assert numbers(stream, lake) == list(range(sent))
    assert all(a.clean and a.pending == 0 for a in audit(stream, lake=lake, broker=broker))
