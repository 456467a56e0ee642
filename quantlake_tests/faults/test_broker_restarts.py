"""Kafka killed and started again beneath a reader and a producer that hold on to it: each record is read once, in order."""

import threading
from collections import defaultdict
from collections.abc import Iterator

import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.contract import QuantLakeError
from quantlake.ports import Message
from quantlake_tests.e2e.commands import wait_for
from quantlake_tests.servers.kafka import KafkaServer, why_not

pytestmark = pytest.mark.servers
PARTITIONS, CHUNK = 2, 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    if reason := why_not():
        pytest.skip(reason)
    node = KafkaServer.start(tmp_path_factory.mktemp("kafka"), secure=True)
    yield node
    node.stop()


class Reader(threading.Thread):
    """Follows a topic; after an error it reads on from where it was, as the follower does."""

    def __init__(self, broker: Kafka, topic: str) -> None:
        super().__init__()
        self.broker, self.topic, self.stopping = broker, topic, threading.Event()
        self.values: dict[int, list[int]] = defaultdict(list)
        self.offsets: dict[int, list[int]] = defaultdict(list)
        self.errors: list[str] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                start = {p: offsets[-1] + 1 for p, offsets in self.offsets.items()}
                for batch in self.broker.follow(self.topic, start, self.stopping):
                    for p, o, v in zip(batch.records.partitions.tolist(), batch.records.offsets.tolist(), batch.records.values, strict=True):
                        self.offsets[p].append(o)
                        self.values[p].append(int(v or b""))
            except QuantLakeError as error:
                self.errors.append(str(error))
                self.stopping.wait(0.5)

    @property
    def count(self) -> int:
        return sum(map(len, self.values.values()))


@pytest.mark.parametrize("listener", ["plain", "scram over TLS"])
def test_a_reader_and_a_producer_outlive_their_broker(server: KafkaServer, topic: str, listener: str) -> None:
    client = {"bootstrap.servers": server.address} if listener == "plain" else server.scram
    broker, producer = Kafka(client), Kafka(client)
    broker.create_topic(topic, PARTITIONS)
    reader = Reader(broker, topic)
    reader.start()
    sent: list[int] = []
    refused: list[str] = []

    def send() -> None:
        numbers = range(len(sent), len(sent) + CHUNK)
        try:
            producer.produce(topic, [Message(b"k%d" % (n % 7), b"%d" % n) for n in numbers])
        except QuantLakeError as error:  # what is refused while it is down is the sender's to send again, and maybe there already
            refused.append(str(error))
            return
        sent.extend(numbers)

    try:
        for _ in range(2):
            for _ in range(3):
                send()
            server.kill()
            send()
            server.restart()
            wait_for(lambda: send() or len(sent) % (4 * CHUNK) == 0, 60)
        wait_for(lambda: {*sent} <= {n for own in reader.values.values() for n in own}, 60)
    finally:
        reader.stopping.set()
        reader.join()
    assert len(refused) >= 2, "nothing was sent while it was down"
    for p, offsets in reader.offsets.items():
        assert offsets == sorted(set(offsets)), f"partition {p} gave an offset twice, or out of order"
    assert all("\n" not in e and client["bootstrap.servers"] in e for e in (*refused, *reader.errors)), (refused, reader.errors)
