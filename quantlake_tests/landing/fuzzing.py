"""A topic of every column type that hostile records are sent to, and the table that it lands in."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import Stream
from quantlake.contract.wire import avro_record, subject, wire_schema
from quantlake.landing.audit import audit
from quantlake.landing.deep import deep
from quantlake.landing.land import land
from quantlake_tests.landing.hostile import Hostile, Sent, fuzzed, require_landed
from quantlake_tests.landing.produce_request import produce
from quantlake_tests.landing.ticks import ticks

# read as the float field that a frame's id is read as: not-a-number of either kind and sign, infinite, denormal
SAME = (0x0000807F, 0x007FFF80, 0x000080FF, 0x8080FF7F, 0x0100807F, 0xFFFFFFFF, 0x7FFFFFFF, 0x00000100)
WRONG, UNKNOWN = (500, 501), (502, 0xFFFF807F, 0xFFFFFFFE)


def hostile(seed: int) -> Hostile:
    return Hostile(seed, fuzzed, 1, (1, *SAME), WRONG, UNKNOWN)


@dataclass
class Fuzzed:
    """``sent``: each record by partition and offset."""

    stream: Stream
    broker: Kafka
    registry: SqliteRegistry
    lake: Iceberg
    database: Path
    sent: dict[tuple[int, int], Sent] = field(default_factory=dict)

    @classmethod
    def opened(cls, topic: str, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path) -> "Fuzzed":
        stream = replace(fuzzed, topic=topic)
        broker.create_topic(topic, stream.topic_partitions)
        assert registry.register(subject(stream), wire_schema(stream)) == 1
        found = cls(stream, broker, registry, lake, home / "registry.db")
        found.register(*SAME)
        found.register(WRONG[0], schema=avro_record(ticks))
        found.register(WRONG[1], schema={"type": "string"})
        return found

    def register(self, *ids: int, schema: dict[str, Any] | None = None) -> None:
        """A schema (None: the stream's own) under ids of our choice."""
        text = json.dumps(schema or avro_record(self.stream))
        with closing(sqlite3.connect(self.database)) as database, database:
            database.executemany("INSERT INTO schemas (id, subject, schema) VALUES (?, ?, ?)", [(n, f"id {n}", text) for n in ids])

    def send(self, records: Iterable[Sent]) -> None:
        """By hand, every second one to each partition."""
        held = list(records)
        for partition in range(self.stream.topic_partitions):
            mine = held[partition :: self.stream.topic_partitions]
            offsets = produce(self.broker.address, self.stream.topic, partition, mine)
            self.sent |= {(partition, offset): record for offset, record in zip(offsets, mine, strict=True)}

    def send_large(self, records: Iterable[Sent], partition: int) -> None:
        """By the client, whose checksums are quicker: records with a key, after what was sent before."""
        producer, offset = self.broker._producer, len([p for p, _ in self.sent if p == partition])
        for record in records:
            headers = [(name.decode(), value) for name, value in record.headers]
            producer.produce(self.stream.topic, record.value, record.key, partition=partition, timestamp=record.at, headers=headers)
            self.sent[partition, offset] = record
            offset += 1
        assert producer.flush(60) == 0

    def land(self, **how: Any) -> None:
        land(self.stream, broker=self.broker, registry=self.registry, lake=self.lake, **how)

    def require_all(self) -> None:
        """Each record is there once, as it should be, for the audit and for us."""
        found = audit(self.stream, lake=self.lake, broker=self.broker)
        assert all(a.clean and a.pending == 0 for a in found), [a.reason for a in found]
        found = deep(self.stream, found, lake=self.lake, broker=self.broker, registry=self.registry)
        assert all(a.clean and a.content and a.content.compared == a.rows + a.dead_letters for a in found), [a.reason for a in found]
        require_landed(self.stream, self.lake.read(self.stream.spec).to_pylist(), self.sent)
