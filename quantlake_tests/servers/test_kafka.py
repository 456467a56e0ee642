"""What the tests' own Kafka can do: serve, survive a kill, expire, lose its tail, replace a topic."""

import os
import time
from collections.abc import Iterator

import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.contract import QuantLakeError
from quantlake.ports import Message
from quantlake_tests.servers.kafka import KafkaServer, delete_records, delete_topic, truncate, why_not

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    if reason := why_not():
        pytest.skip(reason)
    node = KafkaServer.start(tmp_path_factory.mktemp("kafka"), config={"log.segment.bytes": str(1 << 20)})
    yield node
    node.stop()


@pytest.fixture
def broker(server: KafkaServer) -> Kafka:
    return Kafka({"bootstrap.servers": server.address})


def create(broker: Kafka, topic: str, partitions: int = 1) -> None:
    """Create it, and wait until the broker shows it: the controller answers before."""
    assert broker.create_topic(topic, partitions)
    deadline = time.monotonic() + 10
    while True:
        try:
            assert len(broker.partitions(topic)) == partitions
            return
        except QuantLakeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def produce(broker: Kafka, topic: str, *values: bytes) -> None:
    """One batch."""
    assert broker.produce(topic, [Message(None, value) for value in values]) == len(values)


def records(server: KafkaServer, topic: str, partition: int = 0) -> tuple[list[tuple[int, bytes]], tuple[int, int]]:
    """Each record's offset and value, and the first and the next offset of the partition."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": server.address, "group.id": "plain", "enable.partition.eof": True, "log_level": 0})
    try:
        bounds = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        found = []
        while True:
            message = consumer.poll(10)
            assert message is not None, "neither a record nor the end"
            if message.error() is not None:
                assert message.error().name() == "_PARTITION_EOF", message.error()
                return found, bounds
            found.append((message.offset(), message.value()))
    finally:
        consumer.close()


def test_serves_the_project_s_adapter(server: KafkaServer, broker: Kafka, topic: str) -> None:
    create(broker, topic, 2)
    assert not broker.create_topic(topic, 2)
    assert broker.partitions(topic) == (0, 1)
    assert broker.produce(topic, [Message(str(n).encode(), b"%d" % n) for n in range(100)]) == 100
    both = records(server, topic, 0)[0] + records(server, topic, 1)[0]
    assert sorted(int(value) for _, value in both) == list(range(100))


def test_a_killed_node_keeps_its_records_and_its_topics(server: KafkaServer, broker: Kafka, topic: str) -> None:
    create(broker, topic)
    produce(broker, topic, b"a", b"b")
    identity, address, killed = broker.log_id(topic), server.address, server.process.pid
    server.kill()
    server.restart()
    assert server.process.pid != killed
    assert server.address == address
    assert Kafka({"bootstrap.servers": address}).log_id(topic) == identity
    produce(broker, topic, b"c")
    assert records(server, topic) == ([(0, b"a"), (1, b"b"), (2, b"c")], (0, 3))


def test_deleted_records_move_the_start_of_the_log(server: KafkaServer, broker: Kafka, topic: str) -> None:
    create(broker, topic)
    produce(broker, topic, b"a", b"b", b"c")
    delete_records(server.address, topic, {0: 2})
    assert records(server, topic) == ([(2, b"c")], (2, 3))


@pytest.mark.parametrize("size", [1, 600_000], ids=["one segment", "a segment a batch"])
@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_a_truncated_log_gives_its_lost_offsets_again(server: KafkaServer, broker: Kafka, topic: str, size: int, killed: bool) -> None:
    create(broker, topic)
    batches = [[os.urandom(size), b"tail"] for _ in range(4)]
    for batch in batches:
        produce(broker, topic, *batch)
    assert records(server, topic)[1] == (0, 8)
    segments = sorted(f.name for f in (server.folder / "data" / f"{topic}-0").glob("*.log"))
    assert len(segments) == (1 if size == 1 else 4)
    identity = broker.log_id(topic)
    if killed:
        server.kill()
    truncate(server, topic, 0, keep_batches=2)
    kept = list(enumerate(batches[0] + batches[1]))
    assert records(server, topic) == (kept, (0, 4))
    assert broker.log_id(topic) == identity
    produce(Kafka({"bootstrap.servers": server.address}), topic, b"new")
    server.restart()
    assert records(server, topic) == ([*kept, (4, b"new")], (0, 5))


def test_a_log_can_lose_everything_but_not_more(server: KafkaServer, broker: Kafka, topic: str) -> None:
    create(broker, topic)
    produce(broker, topic, b"a")
    with pytest.raises(RuntimeError, match="1 batches fewer"):
        truncate(server, topic, 0, keep_batches=2)
    truncate(server, topic, 0, keep_batches=0)
    assert records(server, topic) == ([], (0, 0))


def test_a_topic_made_again_is_another(server: KafkaServer, broker: Kafka, topic: str) -> None:
    create(broker, topic)
    produce(broker, topic, b"a")
    identity = broker.log_id(topic)
    delete_topic(server.address, topic)
    create(broker, topic)
    assert broker.log_id(topic) != identity
    assert records(server, topic) == ([], (0, 0))


def test_a_node_that_cannot_run_names_its_log(server: KafkaServer, tmp_path) -> None:
    with pytest.raises(RuntimeError, match=r"kafka\.log"):
        KafkaServer.start(tmp_path, port=server.port)
