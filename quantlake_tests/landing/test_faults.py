"""Kill -9 of landing processes at random moments: nothing is lost, nothing is there twice, and the next landing goes on at once."""

import random
import time
from pathlib import Path

import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.landing.audit import audit
from quantlake.landing.land import land
from quantlake.ports import Message
from quantlake_tests.landing.ticks import numbers, produced, registered
from quantlake_tests.ports.children import child, ended, said

KILLS = 12
EACH = 600  # ticks sent before each kill
LANDER = """
import sys; from dataclasses import replace; from pathlib import Path
from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.landing.land import land
from quantlake_tests.landing.ticks import ticks
address, home, topic = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
stream, lake = replace(ticks, topic=topic), Iceberg.embedded(home / "lake", home / "locks")
print("ready", flush=True)
while True:
    land(stream, broker=Kafka({"bootstrap.servers": address}), registry=SqliteRegistry(home / "registry.db"), lake=lake, commit_rows=25)
"""


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(3))
def test_landers_that_are_killed_lose_nothing_and_repeat_nothing(
    broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path, topic: str, seed: int
) -> None:
    stream = registered(topic, broker, registry)
    chance = random.Random(seed)
    sent = landed_by_killed = 0
    for _ in range(KILLS):
        produced(stream, broker, registry, sent, sent + EACH)
        broker.produce(topic, [Message(b"dead", b"plain")])
        sent += EACH
        before = len(numbers(stream, lake))
        lander = child(LANDER, broker.address, home, topic)
        assert said(lander) == "ready"
        time.sleep(chance.uniform(0.1, 3.0))
        lander.kill()
        assert ended(lander) == -9
        found = numbers(stream, lake)
        assert len(set(found)) == len(found), "something is there twice"
        landed_by_killed += len(found) - before
        assert not any(a.gaps or a.duplicates for a in audit(stream, lake=lake, broker=broker))
    began = time.monotonic()
    land(stream, broker=broker, registry=registry, lake=lake)
    assert time.monotonic() - began < 20
    assert numbers(stream, lake) == list(range(sent))
    assert 0 < landed_by_killed < sent, "the kills met landers at work"
    found_logs = audit(stream, lake=lake, broker=broker)
    assert all(a.clean and a.pending == 0 for a in found_logs)
    assert (sum(a.rows for a in found_logs), sum(a.dead_letters for a in found_logs)) == (sent, KILLS)
