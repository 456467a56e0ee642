"""Landing while a producer keeps sending: records that arrive behind the end of a partition belong to the next landing."""

import threading
import time
from pathlib import Path

from confluent_kafka import Producer

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.broker.tansu import Tansu
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.datasets.alt.news import raw
from quantlake.landing.audit import audit
from quantlake.landing.land import land

MESSAGES = 4000


def test_nothing_is_landed_twice_or_missed_beside_a_producer(tmp_path: Path) -> None:
    server = Tansu.start(tmp_path / "broker.log")
    try:
        broker = Kafka({"bootstrap.servers": server.address})
        lake, registry = Iceberg.embedded(tmp_path / "lake", tmp_path / "locks"), SqliteRegistry(tmp_path / "registry.db")
        broker.create_topic(raw.topic, raw.topic_partitions)

        def send() -> None:
            client = Producer({"bootstrap.servers": server.address, "linger.ms": 0})
            for i in range(MESSAGES):  # no frame: each is a dead letter, which is a row all the same
                client.produce(raw.topic, str(i).encode())
                client.flush()
                time.sleep(0.002)

        producer = threading.Thread(target=send)
        producer.start()
        landings = 0
        while producer.is_alive():
            landings += bool(land(raw, broker=broker, registry=registry, lake=lake).dead_letters)
        producer.join()
        land(raw, broker=broker, registry=registry, lake=lake)
        found = audit(raw, lake=lake, broker=broker)
        assert landings >= 1
        assert [(row.clean, row.end, row.dead_letters) for row in found] == [(True, MESSAGES, MESSAGES)]
    finally:
        server.stop()
