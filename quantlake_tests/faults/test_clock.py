"""Clocks that jump: landing neither waits for them nor trusts them."""

import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from quantlake.ports import Message
from quantlake_tests.e2e.commands import wait_for
from quantlake_tests.faults.landers import Lander, Work
from quantlake_tests.faults.steps import Kill
from quantlake_tests.faults.tables import Raw

LONG_AGO, FAR_OFF = datetime(1971, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)


def lander(raw: Raw, mode: str, kill: Kill | None = None) -> Lander:
    return Lander(Work(mode, raw.broker.address, raw.home, raw.stream.topic, raw.home / "dagster", kill, jumps=True))


@pytest.mark.faults
@pytest.mark.parametrize("mode", ["batch", "follow", "dagster"])
def test_a_lander_whose_clocks_jump_by_hours_lands_all(raw: Raw, mode: str) -> None:
    raw.send(200, 4)
    killed = lander(raw, mode, Kill(mode, "catalog commit", True, 3))
    assert killed.ended() == -9
    raw.look()
    raw.send(50, 1)
    last = lander(raw, mode)
    if mode == "follow":
        wait_for(lambda: raw.look() or not raw.missing(), 60)
        last.stop()
    assert last.ended() == 0
    raw.whole()
    table: Any = raw.lake.catalog.load_table((raw.stream.layer, f"{raw.stream.family}_{raw.stream.name}"))
    times = [snapshot.timestamp_ms for snapshot in table.metadata.snapshots]
    assert any(after < before for before, after in pairwise(times)), "the commits are as far apart as the clock says"


def test_records_whose_time_is_long_ago_or_far_off_are_read_to_their_end(raw: Raw) -> None:
    """A read ends where a partition gives records younger than the read, a little later: these always are, or never."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": raw.broker.address, "log_level": 0})
    for n, at in enumerate((LONG_AGO, FAR_OFF, LONG_AGO, FAR_OFF)):
        raw.dead.append(b"timed %d" % n)
        producer.produce(raw.stream.topic, raw.dead[-1], b"k", partition=1, timestamp=int(at.timestamp() * 1000))
    producer.flush(30)
    raw.send(60, 2)
    began = time.monotonic()
    raw.land()
    assert time.monotonic() - began < 30
    raw.whole()
    held = raw.lake.read(raw.stream.spec, columns=["_timestamp", "_value"])
    told = {v: t for v, t in zip(held["_value"].to_pylist(), held["_timestamp"].to_pylist(), strict=True) if v and v.startswith(b"timed")}
    assert set(told.values()) <= {LONG_AGO, FAR_OFF}, told
    raw.broker.produce(raw.stream.topic, [Message(b"k", b"last")])
    raw.dead.append(b"last")
    raw.land()
    raw.whole()
