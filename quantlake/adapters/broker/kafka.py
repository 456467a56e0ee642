"""Kafka, Redpanda and the embedded broker, through confluent-kafka.

Here: reading to the end of partitions, producing, topics, log identity. Not here: decoding, offsets (landing keeps them).
"""

import base64
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantlake.contract import QuantLakeError
from quantlake.ports import RECORD_SCHEMA, Batch, Message

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Producer, TopicPartition

SILENCE_SECONDS = 5.0  # neither a record nor an end of partition for so long is an error, never an empty read
OVERTIME_SECONDS = 5.0  # a busy topic has no end: a read goes on so long after it met records younger than itself
MESSAGE_BYTES = 64 << 20  # the client's own limit (1 MB by default, before compression) stands aside: the broker decides


class Kafka:
    """A cluster reached by ``client`` settings (librdkafka's names). Raises ``QuantLakeError`` naming the address."""

    def __init__(self, client: Mapping[str, Any], *, replication: int = 1) -> None:
        self._client = {**client, "socket.connection.setup.timeout.ms": 5000}
        self._replication = replication
        self.address = str(client["bootstrap.servers"])

    def log_id(self, topic: str) -> str:
        from confluent_kafka import TopicCollection
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({**self._client, "log_level": 0})
        try:
            self.partitions(topic)
            described = admin.describe_topics(TopicCollection([topic]), request_timeout=SILENCE_SECONDS)[topic].result()
            cluster = admin.describe_cluster(request_timeout=SILENCE_SECONDS).result().cluster_id
        except Exception as error:
            raise self._unreachable(error) from error
        return f"{cluster}/{described.topic_id}"

    def partitions(self, topic: str) -> tuple[int, ...]:
        consumer = self._consumer()
        try:
            return self._partitions(consumer, topic)
        finally:
            consumer.close()

    def create_topic(self, topic: str, partitions: int) -> bool:
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

        admin = AdminClient({**self._client, "log_level": 0})
        new = NewTopic(topic, num_partitions=partitions, replication_factor=self._replication)
        try:
            admin.create_topics([new], request_timeout=SILENCE_SECONDS)[topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise self._unreachable(error) from error
        return True

    def read(self, topic: str, start: Mapping[int, int], *, batch_rows: int = 50_000) -> Iterator[Batch]:
        consumer = self._consumer()
        try:
            partitions = self._partitions(consumer, topic)
            self._probe(consumer, topic, {p: o for p, o in start.items() if o > 0})
            open_ends = set(partitions)
            reached: dict[int, int] = {}
            overtaken: set[int] = set()  # partitions that have given a record younger than this read
            began, deadline = datetime.now(UTC), math.inf
            consumer.assign([self._at(topic, p, start.get(p, 0)) for p in partitions])
            last_heard = time.monotonic()
            while open_ends:
                records, ends = self._batch(consumer.consume(batch_rows, timeout=0.25), open_ends)
                if records.num_rows or ends:
                    last_heard = time.monotonic()
                    for p, last, youngest in _tails(records):
                        reached[p] = last + 1
                        overtaken |= {p} if youngest > began else set()
                    if deadline == math.inf and open_ends <= overtaken:
                        deadline = last_heard + OVERTIME_SECONDS
                    if last_heard > deadline:
                        ends = {p: reached[p] for p in open_ends} | ends
                    yield Batch(records, ends)
                    open_ends -= set(ends)
                    for p in ends:
                        consumer.incremental_unassign([self._at(topic, p, 0)])
                elif time.monotonic() - last_heard > SILENCE_SECONDS:
                    raise QuantLakeError(
                        f"topic {topic} of {self.address}: neither a record nor the end of partitions {sorted(open_ends)} came in "
                        f"{SILENCE_SECONDS:.0f} s; is this the log that was read before? See `quantlake audit`"
                    )
        finally:
            consumer.close()

    def ends(self, topic: str, start: Mapping[int, int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for batch in self.read(topic, start):
            found |= batch.ends
        return found

    def produce(self, topic: str, messages: Iterable[Message]) -> int:
        from confluent_kafka import KafkaException

        producer = self._producer
        self.partitions(topic)  # a producer never creates a topic
        refused: list[str] = []
        delivered = 0

        def heard(error: Any, _: Any) -> None:
            nonlocal delivered
            if error is None:
                delivered += 1
            else:
                refused.append(str(error))

        for message in messages:
            headers: list[tuple[str, str | bytes | None]] | None = list(message.headers) or None
            while True:
                try:
                    producer.produce(topic, message.value, message.key, headers=headers, on_delivery=heard)
                    break
                except BufferError:
                    producer.poll(0.1)
                except KafkaException as error:  # the client itself refuses it
                    refused.append(error.args[0].str())
                    break
        producer.flush(60)
        if unsent := len(refused) + len(producer):
            producer.purge()  # what it still holds must not go out with the next messages
            del self._producer
            why = refused[0] if refused else "no acknowledgement in 60 s"
            raise QuantLakeError(f"{unsent} messages were not taken by topic {topic} of {self.address}: {why}")
        return delivered

    @cached_property
    def _producer(self) -> "Producer":
        """Kept: an idempotent producer waits a second for its id before its first message."""
        from confluent_kafka import Producer

        return Producer(
            {**self._client, "log_level": 0, "enable.idempotence": True, "linger.ms": 20, "compression.type": "zstd", "message.timeout.ms": 30_000,
             "queue.buffering.max.messages": 500_000, "allow.auto.create.topics": False,
             "message.max.bytes": MESSAGE_BYTES}
        )  # fmt: skip

    def _consumer(self) -> "Consumer":
        from confluent_kafka import Consumer

        return Consumer(
            {**self._client, "group.id": "quantlake-landing", "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 0,
             "auto.offset.reset": "error", "isolation.level": "read_committed", "allow.auto.create.topics": False,
             "fetch.wait.max.ms": 50, "queued.min.messages": 200_000}
        )  # fmt: skip

    def _partitions(self, consumer: "Consumer", topic: str) -> tuple[int, ...]:
        try:
            found = consumer.list_topics(topic, timeout=SILENCE_SECONDS).topics[topic]
        except Exception as error:
            raise self._unreachable(error) from error
        if found.error is not None or not found.partitions:
            raise QuantLakeError(f"there is no topic {topic} on {self.address}; `quantlake contract register` creates it")
        return tuple(sorted(found.partitions))

    def _probe(self, consumer: "Consumer", topic: str, start: Mapping[int, int]) -> None:
        """Read the record before each start: a log that is shorter than what was read of it gives no error and no end."""
        for partition, offset in start.items():
            consumer.assign([self._at(topic, partition, offset - 1)])
            message = consumer.poll(SILENCE_SECONDS)
            if message is None or message.error() is not None or message.offset() != offset - 1:
                raise QuantLakeError(
                    f"topic {topic} partition {partition} of {self.address} no longer has offset {offset - 1}, which was landed: "
                    "the log was truncated, expired or replaced; see `quantlake audit`"
                )

    @staticmethod
    def _at(topic: str, partition: int, offset: int) -> "TopicPartition":
        from confluent_kafka import TopicPartition

        return TopicPartition(topic, partition, offset)

    def _batch(self, messages: list[Any], wanted: set[int]) -> tuple[pa.Table, dict[int, int]]:
        """The records of the ``wanted`` partitions up to each one's first end: what arrives behind an end is the next read's."""
        from confluent_kafka import KafkaError

        ends: dict[int, int] = {}
        records = []
        for message in messages:
            error = message.error()
            if message.partition() in ends or (error is None and message.partition() not in wanted):
                continue
            if error is None:
                records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[message.partition()] = message.offset()
            else:
                raise QuantLakeError(f"reading {message.topic()} partition {message.partition()} of {self.address}: {error.str()}")
        # per-message Python objects are the client's ceiling (1.35 M/s); columns are taken in single passes
        columns = [
            [m.partition() for m in records], [m.offset() for m in records], [m.timestamp()[1] * 1000 for m in records],
            [m.key() for m in records], [_headers(m.headers()) for m in records], [m.value() for m in records],
        ]  # fmt: skip
        arrays = [pa.array(c, pa.int64() if f.name == "_timestamp" else f.type) for c, f in zip(columns, RECORD_SCHEMA, strict=True)]
        arrays[2] = arrays[2].cast(RECORD_SCHEMA.field("_timestamp").type)
        return pa.Table.from_arrays(arrays, schema=RECORD_SCHEMA), ends

    def _unreachable(self, error: Exception) -> QuantLakeError:
        if isinstance(error, QuantLakeError):
            return error
        detail = str(error.args[0]) if error.args else type(error).__name__
        return QuantLakeError(f"no broker answers at {self.address} ({detail}); start one with `quantlake up`, or set QUANTLAKE_KAFKA_BOOTSTRAP")


def _tails(records: pa.Table) -> Iterator[tuple[int, int, datetime]]:
    """Each partition's last offset and youngest time."""
    tails = records.group_by("_partition").aggregate([("_offset", "max"), ("_timestamp", "max")])
    yield from zip(*(tails[c].to_pylist() for c in ("_partition", "_offset_max", "_timestamp_max")), strict=True)


def _headers(headers: list[tuple[str, bytes | None]] | None) -> str | None:
    if not headers:
        return None
    return json.dumps([[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers])
