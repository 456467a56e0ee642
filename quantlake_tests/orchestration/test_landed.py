"""What a resident lander keeps of raw partitions equals what is read from the lake, whoever committed between."""

from pathlib import Path

from quantlake.adapters.broker.kafka import Kafka
from quantlake.landing.land import Committed, land
from quantlake.orchestration.landed import Kept, landed_outcomes
from quantlake.ports import Message
from quantlake.settings import Settings
from quantlake.wiring import Adapters
from quantlake_tests.landing.ticks import produced, registered


def test_what_is_kept_is_what_is_there(broker: Kafka, home: Path, topic: str) -> None:
    a = Adapters(Settings(home=home))
    stream = registered(topic, broker, a.registry)
    kept, sent = Kept(a), 0
    for others in (False, False, True, False, False):
        produced(stream, broker, a.registry, sent, sent + 7)
        broker.produce(topic, [Message(b"S1", b"plain"), Message(b"S2", None)])
        sent += 7
        heard: list[Committed] = []
        land(stream, broker=broker, registry=a.registry, lake=a.lake, report=None if others else lambda _, done, heard=heard: heard.append(done))
        for done in heard:
            found = {o.partition: o for o in kept.outcomes(stream, done)}
            assert found.keys() == done.landed.dates
            for there in landed_outcomes(stream, sorted(found), a):
                mine = found[there.partition]
                assert (mine.rows, mine.version, list(mine.offsets)) == (there.rows, there.version, list(there.offsets))
                assert [r.details for r in mine.results] == [r.details for r in there.results]
    assert {o.partition: o.rows for o in landed_outcomes(stream, None, a)}
