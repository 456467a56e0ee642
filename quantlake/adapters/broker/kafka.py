"""Kafka, Redpanda and the embedded broker, through confluent-kafka.

Here: producing, topics, log identity. Not here: how a topic is read (``reading``), decoding, offsets (landing keeps them).
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING, Any

from quantlake.adapters.broker.reading import SILENCE_SECONDS, Reading
from quantlake.adapters.broker.refusal import Refusals
from quantlake.contract import QuantLakeError
from quantlake.ports import Batch, Last, Message
from quantlake.ports.broker import NONE

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient

REFUSED_SECONDS = 1.0
MESSAGE_BYTES = 64 << 20  # the client's own limit (1 MB by default, before compression) stands aside: the broker decides


class Kafka:
    """A cluster reached by ``client`` settings (librdkafka's names). Raises ``QuantLakeError`` naming the address."""

    def __init__(self, client: Mapping[str, Any], *, replication: int = 1) -> None:
        self.address = str(client["bootstrap.servers"])
        self._refusals = Refusals(self.address, str(client.get("security.protocol", "PLAINTEXT")))
        self._client = {**client, "socket.connection.setup.timeout.ms": 5000, "error_cb": self._refusals.heard}
        self._replication = replication

    def log_id(self, topic: str) -> str:
        from confluent_kafka import TopicCollection

        try:
            self.partitions(topic)
            admin = self._admin
            described = admin.describe_topics(TopicCollection([topic]), request_timeout=SILENCE_SECONDS)[topic].result()
            cluster = admin.describe_cluster(request_timeout=SILENCE_SECONDS).result().cluster_id
        except Exception as error:
            raise self._refusals.error(error) from error
        return f"{cluster}/{described.topic_id}"

    def partitions(self, topic: str) -> tuple[int, ...]:
        try:
            found = self._described(topic).topics[topic]
        except Exception as error:
            raise self._refusals.error(error) from error
        if found.error is not None or not found.partitions:
            unseen = f", or {user} may not see it" if (user := self._client.get("sasl.username")) else ""
            raise QuantLakeError(f"there is no topic {topic} on {self.address}{unseen}; `quantlake contract register` creates it")
        return tuple(sorted(found.partitions))

    def create_topic(self, topic: str, partitions: int) -> bool:
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

        new = NewTopic(topic, num_partitions=partitions, replication_factor=self._replication)
        try:
            self._described(topic)
            self._admin.create_topics([new], request_timeout=SILENCE_SECONDS)[topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise self._refusals.error(error) from error
        deadline = time.monotonic() + SILENCE_SECONDS
        while not self._described(topic).topics[topic].partitions and time.monotonic() < deadline:  # a cluster answers before it shows it
            time.sleep(0.02)
        return True

    def delete_topic(self, topic: str) -> None:
        """With all that is in it."""
        try:
            self._admin.delete_topics([topic], request_timeout=SILENCE_SECONDS)[topic].result()
        except Exception as error:
            raise self._refusals.error(error) from error

    def read(
        self, topic: str, start: Mapping[int, int], *, last: Mapping[int, Last] = NONE, batch_rows: int = 50_000, batch_bytes: int = 64 << 20
    ) -> Iterator[Batch]:
        with self._reading(topic, batch_rows, batch_bytes) as (reading, partitions):
            yield from reading.to_ends(partitions, start, last)

    def follow(
        self, topic: str, start: Mapping[int, int], stop: Event, *, last: Mapping[int, Last] = NONE, batch_rows: int = 50_000,
        batch_bytes: int = 64 << 20,
    ) -> Iterator[Batch]:  # fmt: skip
        with self._reading(topic, batch_rows, batch_bytes, {"fetch.wait.max.ms": 250}) as (reading, partitions):
            yield from reading.onward(partitions, start, stop, last)

    def ends(self, topic: str, start: Mapping[int, int], last: Mapping[int, Last] = NONE) -> dict[int, int]:
        found: dict[int, int] = {}
        for batch in self.read(topic, start, last=last):
            found |= batch.ends
        return found

    def produce(self, topic: str, messages: Iterable[Message]) -> int:
        from confluent_kafka import KafkaException

        self.partitions(topic)  # a producer never creates a topic
        producer = self._producer
        refused: list[str] = []
        delivered, fatal = 0, ""

        def heard(error: Any, _: Any) -> None:
            nonlocal delivered
            if error is None:
                delivered += 1
            else:
                refused.append(str(error))

        try:
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
        except KafkaException as error:  # it can send nothing any more
            fatal = error.args[0].str()
        if (unsent := len(refused) + len(producer)) or fatal:
            producer.purge()  # what it still holds must not go out with the next messages
            del self._producer
            why = fatal or (refused[0] if refused else "no acknowledgement in 60 s")
            raise self._refusals.error(QuantLakeError(f"{unsent} messages were not taken by topic {topic} of {self.address}: {why}"))
        return delivered

    def _described(self, topic: str) -> Any:
        """What the cluster says of a topic; a refusal is heard soon, an answer is waited for as long as for any."""
        from confluent_kafka import KafkaException

        try:
            found = self._admin.list_topics(topic, timeout=REFUSED_SECONDS)
        except KafkaException:
            self._admin.poll(0)
            if self._refusals.any:
                raise
            found = self._admin.list_topics(topic, timeout=SILENCE_SECONDS - REFUSED_SECONDS)
        self._refusals.over()
        return found

    @cached_property
    def _admin(self) -> "AdminClient":
        from confluent_kafka.admin import AdminClient

        return AdminClient({**self._client, "log_level": 0, "allow.auto.create.topics": False})  # asking for one would create it

    @cached_property
    def _producer(self) -> "Producer":
        """Kept: an idempotent producer waits a second for its id before its first message."""
        from confluent_kafka import Producer

        return Producer(
            {**self._client, "log_level": 0, "enable.idempotence": True, "linger.ms": 20, "compression.type": "zstd", "message.timeout.ms": 30_000,
             "queue.buffering.max.messages": 500_000, "allow.auto.create.topics": False,
             "message.max.bytes": MESSAGE_BYTES}
        )  # fmt: skip

    @contextmanager
    def _reading(
        self, topic: str, batch_rows: int, batch_bytes: int, more: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[Reading, tuple[int, ...]]]:
        from confluent_kafka import KafkaException

        partitions = self.partitions(topic)
        consumer = self.consumer(more)
        try:
            yield Reading(consumer, topic, self.address, batch_rows, batch_bytes, self.consumer), partitions
        except (KafkaException, QuantLakeError) as error:
            raise self._refusals.error(error) from error
        finally:
            consumer.close()

    def consumer(self, more: Mapping[str, Any] | None = None) -> "Consumer":
        """The client that topics are read with."""
        from confluent_kafka import Consumer

        return Consumer(
            {**self._client, "group.id": "quantlake-landing", "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 0,
             "auto.offset.reset": "error", "isolation.level": "read_committed", "allow.auto.create.topics": False,
             "fetch.wait.max.ms": 10, "queued.min.messages": 50_000,
             "queued.max.messages.kbytes": 8192, "fetch.queue.backoff.ms": 10, **(more or {})}
        )  # fmt: skip
