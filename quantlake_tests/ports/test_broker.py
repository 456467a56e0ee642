"""What every broker does: topics, identity, reading to the ends, resuming, refusing."""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.broker.tansu import Tansu, free_port
from quantlake.contract import QuantLakeError
from quantlake.ports import Broker, LogBrokenError, LostRange, Message, Records
from quantlake.settings import Settings
from quantlake.wiring import Adapters
from quantlake_tests.servers.kafka import PASSWORD, USER, KafkaServer

PORT = "Broker"
UNREACHABLE_SECONDS = 7.0
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.servers), pytest.param("kafka_sasl_tls", marks=pytest.mark.servers)])
def adapter_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(adapter_name: str, request: pytest.FixtureRequest) -> Tansu | KafkaServer:
    found: Tansu | KafkaServer = request.getfixturevalue("tansu" if adapter_name == "embedded" else "kafka_server")
    return found


@pytest.fixture(scope="module")
def client(adapter_name: str, server: Tansu | KafkaServer) -> dict[str, str]:
    """A bare client's settings."""
    return server.scram if adapter_name == "kafka_sasl_tls" and isinstance(server, KafkaServer) else {"bootstrap.servers": server.address}


@pytest.fixture(scope="module")
def broker(adapter_name: str, client: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Broker:
    """With SASL and TLS it is the one that the production profile's settings come to."""
    if adapter_name != "kafka_sasl_tls":
        return Kafka(client)
    return Adapters(Settings(
        home=tmp_path_factory.mktemp("home"), profile="production", kafka_bootstrap=client["bootstrap.servers"], kafka_username=USER,
        kafka_password=PASSWORD, kafka_ca_file=client["ssl.ca.location"], kafka_replication=1,
    )).broker  # fmt: skip


def numbered(first: int, stop: int) -> list[Message]:
    return [Message(f"k{n}".encode(), str(n).encode()) for n in range(first, stop)]


def everything(broker: Broker, topic: str, start: dict[int, int] | None = None, batch_rows: int = 50_000) -> tuple[pa.Table, dict[int, int]]:
    """All records from ``start``, and the ends met."""
    batches = list(broker.read(topic, start or {}, batch_rows=batch_rows))
    ends = {p: end for batch in batches for p, end in batch.ends.items()}
    return pa.concat_tables(table(b.records) for b in batches), ends


def table(records: Records) -> pa.Table:
    assert records.sizes.tolist() == [len(v or b"") for v in records.values]
    return pa.table({
        "_partition": pa.array(records.partitions, pa.int64()), "_offset": pa.array(records.offsets, pa.int64()),
        "_timestamp": pa.array(records.timestamps * 1000, pa.timestamp("us", "UTC")), "_key": pa.array(records.keys, pa.binary()),
        "_headers": pa.array(records.headers or [None] * len(records), pa.string()), "value": pa.array(records.values, pa.binary()),
    })  # fmt: skip


def values(records: pa.Table) -> list[int]:
    return sorted(int(v) for v in records["value"].to_pylist())


def test_a_topic_is_created_once(broker: Broker, topic: str) -> None:
    assert broker.create_topic(topic, 3)
    assert not broker.create_topic(topic, 5)
    assert broker.partitions(topic) == (0, 1, 2)


def test_a_log_has_an_identity_of_cluster_and_topic(broker: Broker, server: Tansu | KafkaServer, topic: str) -> None:
    broker.create_topic(topic, 1)
    broker.create_topic(f"{topic}.other", 1)
    cluster, _, topic_id = broker.log_id(topic).partition("/")
    assert cluster == server.cluster_id and topic_id
    assert broker.log_id(topic) == f"{cluster}/{topic_id}" != broker.log_id(f"{topic}.other")


def test_a_broker_that_comes_again_has_its_log_or_is_another(broker: Broker, server: Tansu | KafkaServer, home: Path, topic: str) -> None:
    """Kafka keeps its logs on a disk; the embedded broker has them in memory, so that each of its starts is another cluster."""
    broker.create_topic(topic, 1)
    broker.produce(topic, numbered(0, 10))
    before = broker.log_id(topic)
    if isinstance(server, KafkaServer):
        server.kill()
        server.restart()
        assert broker.log_id(topic) == before
        broker.produce(topic, numbered(10, 20))  # by the same client
        assert values(everything(broker, topic)[0]) == list(range(20))
        return
    second = Tansu.start(home / "broker.log")
    try:
        other = Kafka({"bootstrap.servers": second.address})
        other.create_topic(topic, 1)
        assert other.log_id(topic) != before
    finally:
        second.stop()
    assert second.process.returncode is not None


def test_all_partitions_are_read_to_their_ends(broker: Broker, topic: str) -> None:
    broker.create_topic(topic, 4)
    assert broker.produce(topic, numbered(0, 2000)) == 2000
    records, ends = everything(broker, topic, batch_rows=300)
    assert values(records) == list(range(2000))
    counts = Counter(records["_partition"].to_pylist())
    assert len(counts) == 4 and ends == counts == broker.ends(topic, {})
    for partition, count in counts.items():
        mine = [r for r in records.select(["_partition", "_offset"]).to_pylist() if r["_partition"] == partition]
        assert [r["_offset"] for r in mine] == list(range(count))


def test_an_empty_topic_has_ends_and_no_records(broker: Broker, topic: str) -> None:
    broker.create_topic(topic, 2)
    records, ends = everything(broker, topic)
    assert (records.num_rows, ends) == (0, {0: 0, 1: 0})


def test_reading_resumes_where_it_ended(broker: Broker, topic: str) -> None:
    broker.create_topic(topic, 3)
    broker.produce(topic, numbered(0, 300))
    _, ends = everything(broker, topic)
    records, same = everything(broker, topic, ends)
    assert (records.num_rows, same) == (0, ends)
    broker.produce(topic, numbered(300, 450))
    records, later = everything(broker, topic, ends)
    assert values(records) == list(range(300, 450))
    assert sum(later.values()) == 450 and broker.ends(topic, ends) == later


def test_ends_cover_every_record_read_while_producers_write(broker: Broker, topic: str) -> None:
    """A record that arrives after the end event, but in the same poll, must not be read again by who resumes at that end."""
    broker.create_topic(topic, 2)
    stop = threading.Event()

    def keep_producing() -> None:
        n = 0
        while not stop.is_set():
            n += broker.produce(topic, numbered(n, n + 20))

    producer = threading.Thread(target=keep_producing)
    producer.start()
    seen: Counter[tuple[int, int]] = Counter()
    ends: dict[int, int] = {}
    try:
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            records, met = everything(broker, topic, ends)
            seen.update((r["_partition"], r["_offset"]) for r in records.select(["_partition", "_offset"]).to_pylist())
            ends |= met
    finally:
        stop.set()
        producer.join()
    assert seen == Counter((p, o) for p, end in ends.items() for o in range(end))


def test_an_offset_beyond_the_log_is_an_error_and_not_an_empty_read(broker: Broker, topic: str) -> None:
    broker.create_topic(topic, 2)
    broker.produce(topic, [Message(b"k", b"1")] * 10)
    (partition,) = [p for p, end in broker.ends(topic, {}).items() if end == 10]
    with pytest.raises(LogBrokenError, match=rf"partition {partition}: offsets \[10, 1000\) were read, and are no longer there") as caught:
        list(broker.read(topic, {partition: 1000}))
    assert caught.value.lost == (LostRange(partition, 10, 1000, "truncated"),)
    with pytest.raises(LogBrokenError, match=r"offsets \[10, 11\)"):
        broker.ends(topic, {partition: 11})


def test_an_unknown_topic_is_named_and_never_made(broker: Broker, topic: str) -> None:
    for use in (broker.partitions, broker.log_id, lambda t: broker.produce(t, numbered(0, 1)), lambda t: list(broker.read(t, {}))):
        with pytest.raises(QuantLakeError, match=f"no topic {topic} on 127.0.0.1"):
            use(topic)
    assert broker.create_topic(topic, 1), "something made the topic before"


def test_an_unreachable_broker_is_one_line_soon() -> None:
    port = free_port()
    nowhere = Kafka({"bootstrap.servers": f"127.0.0.1:{port}"})
    uses: list[Callable[[], object]] = [
        lambda: nowhere.partitions("t"), lambda: nowhere.log_id("t"), lambda: nowhere.create_topic("t", 1),
        lambda: nowhere.produce("t", numbered(0, 1)), lambda: list(nowhere.read("t", {})), lambda: nowhere.ends("t", {}),
    ]  # fmt: skip

    def refused(use: Callable[[], object]) -> str:
        with pytest.raises(QuantLakeError, match=f"127.0.0.1:{port}") as caught:
            use()
        return str(caught.value)

    before = time.monotonic()
    with ThreadPoolExecutor(len(uses)) as pool:
        errors = list(pool.map(refused, uses))
    assert time.monotonic() - before < UNREACHABLE_SECONDS
    assert all("\n" not in e and "quantlake up" in e for e in errors)


def test_a_record_comes_back_as_it_was_sent(broker: Broker, topic: str) -> None:
    broker.create_topic(topic, 1)
    sent = [
        Message("ключ 東京 🚀".encode(), b"\0\xff", (("trace", b"\0\1"), ("trace", "é".encode()), ("empty", b""))),
        Message(None, b""),
        Message(b"gone", None),
        Message(b"", b"x"),
    ]
    before = time.time()
    broker.produce(topic, sent)
    records, _ = everything(broker, topic)
    assert records["_key"].to_pylist() == [m.key for m in sent]
    assert records["value"].to_pylist() == [m.value for m in sent]
    headers = [json.loads(h) if h else [] for h in records["_headers"].to_pylist()]
    assert [tuple((name, base64.b64decode(v)) for name, v in h) for h in headers] == [m.headers for m in sent]
    assert all(abs(t.timestamp() - before) < 30 for t in records["_timestamp"].to_pylist())


def test_large_messages_pass(broker: Broker, topic: str) -> None:
    broker.create_topic(topic, 1)
    sizes = [1 << 20, 3, 2_000_000]
    broker.produce(topic, [Message(b"k", bytes(range(256)) * (n // 256) + b"x" * (n % 256)) for n in sizes])
    records, ends = everything(broker, topic)
    assert [len(v) for v in records["value"].to_pylist()] == sizes and ends == {0: 3}


def test_a_message_no_broker_takes_is_refused_in_our_words(broker: Broker, topic: str) -> None:
    broker.create_topic(topic, 1)
    with pytest.raises(QuantLakeError, match=f"not taken by topic {topic} of 127.0.0.1.*(?i:large)"):
        broker.produce(topic, [Message(b"k", b"1"), Message(b"k", b"x" * 200_000_000)])


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_read(broker: Broker, client: dict[str, str], topic: str, codec: str) -> None:
    from confluent_kafka import Producer

    broker.create_topic(topic, 1)
    sent = [b"%d:" % n + b"repeats " * (n % 50) for n in range(500)]
    producer = Producer({**client, "compression.type": codec, "linger.ms": 50, "log_level": 0})
    for value in sent:
        producer.produce(topic, value)
    assert producer.flush(20) == 0
    records, ends = everything(broker, topic)
    assert records["value"].to_pylist() == sent and ends == {0: 500}


def test_several_producers_and_readers_at_once(broker: Broker, client: dict[str, str], topic: str) -> None:
    broker.create_topic(topic, 3)
    writers = [Kafka(client) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(lambda n: writers[n].produce(topic, numbered(1000 * n, 1000 * n + 500)), range(3))) == 1500
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: everything(broker, topic), range(3)))
    assert all(values(records) == [*range(500), *range(1000, 1500), *range(2000, 2500)] for records, _ in found)
    assert all(sum(ends.values()) == 1500 for _, ends in found)


def test_nothing_is_skipped_where_every_offset_has_a_record(broker: Broker, topic: str) -> None:
    broker.create_topic(topic, 2)
    broker.produce(topic, numbered(0, 3000))
    batches = list(broker.read(topic, {}, batch_rows=100))
    assert sum(len(b.records) for b in batches) == 3000 and not any(b.skipped for b in batches)
