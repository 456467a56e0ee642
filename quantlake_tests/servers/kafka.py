"""Apache Kafka itself, for tests: one KRaft node on loopback, its jars from Maven Central.

Here: getting it, starting it, and what only a real log can suffer (expiry, deletion, truncation). Not here: what QuantLake does then.
"""

import base64
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quantlake.contract import QuantLakeError
from quantlake_tests.servers.certificates import Authority
from quantlake_tests.servers.maven import jars
from quantlake_tests.servers.processes import free_port

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

VERSION = "4.4.0"
SETTINGS = {
    "process.roles": "broker,controller", "node.id": "1", "controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "BROKER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL,TLS:SSL,EXPIRED:SSL", "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "1", "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1", "transaction.state.log.num.partitions": "1", "group.initial.rebalance.delay.ms": "0",
    "log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "100", "log.segment.delete.delay.ms": "100",
    # records say any time, and stay until a test has them expire
    "log.retention.ms": "-1", "log.message.timestamp.after.max.ms": str((1 << 63) - 1),
    # a killed node is let in again when its old session is over: 13 s after with the default of 9 s
    "broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "200",
}  # fmt: skip


USER, PASSWORD = "lander", "open:sesame 42"
SECURE = ("SCRAM", "TLS", "EXPIRED")


@dataclass(frozen=True)
class Secured:
    """Further listeners: ``scram`` takes ``USER`` by SCRAM-SHA-512 over TLS, ``tls`` anyone over TLS, ``expired`` has a certificate that
    is too old. ``authority``: the file of who signed them."""

    authority: Path
    scram: str
    tls: str
    expired: str


@dataclass
class KafkaServer:
    """A node and its files; ``process`` is the one that runs now. Errors are ``RuntimeError`` naming the node's log."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    cluster_id: str
    secured: Secured | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def scram(self) -> dict[str, str]:
        """A client's settings for the listener with SASL and TLS."""
        assert self.secured, "it was not started with `secure`"
        return {
            "bootstrap.servers": self.secured.scram, "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": USER, "sasl.password": PASSWORD, "ssl.ca.location": str(self.secured.authority),
        }  # fmt: skip

    @classmethod
    def start(cls, folder: Path, port: int = 0, config: Mapping[str, str] = {}, *, secure: bool = False) -> "KafkaServer":
        """Start a new, empty node in ``folder`` (port 0: a free one); ``config`` are broker settings over those above; ``secure``: with
        the listeners of ``Secured`` too."""
        port, controller = port or free_port(), free_port()
        secured, security = _secured(folder) if secure else (None, {})
        listeners = [f"BROKER://127.0.0.1:{port}"]
        if secured:
            listeners += [f"{name}://{address}" for name, address in zip(SECURE, (secured.scram, secured.tls, secured.expired), strict=True)]
        settings = {
            **SETTINGS, **security, "log.dirs": str(folder / "data"), "advertised.listeners": ",".join(listeners),
            "listeners": ",".join([*listeners, f"CONTROLLER://127.0.0.1:{controller}"]),
            "controller.quorum.voters": f"1@127.0.0.1:{controller}", **config,
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "server.properties").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")  # "-x" would be an option
        users = ("--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]") if secured else ()
        if _java(folder, "kafka.tools.StorageTool", "format", "--cluster-id", cluster, *users, "--config").wait() != 0:
            raise RuntimeError(f"Kafka's storage could not be formatted; the output is in {folder / 'kafka.log'}")
        server = cls(_java(folder, "kafka.Kafka"), folder, port, cluster, secured)
        server._wait()
        return server

    def stop(self) -> None:
        """End it in order; a node that does not end in 20 s is killed."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again, stopped first if it runs, on the same data and port."""
        self.stop()
        self.process = _java(self.folder, "kafka.Kafka")
        self._wait()

    def _wait(self, seconds: float = 60.0) -> None:
        """Until this node answers for every partition: by its cluster id, since another broker may hold the port."""
        from confluent_kafka import KafkaException

        admin, deadline, log = _admin(self.address), time.monotonic() + seconds, self.folder / "kafka.log"
        try:
            while self.process.poll() is None:
                try:
                    if admin.list_topics(timeout=1).cluster_id == self.cluster_id:
                        _lead(admin)
                        return
                except KafkaException:
                    pass
                if time.monotonic() > deadline:
                    raise RuntimeError(f"Kafka did not answer at {self.address} in {seconds:.0f} s; its output is in {log}")
                time.sleep(0.05)
            raise RuntimeError(f"Kafka ended with status {self.process.returncode}; its output is in {log}")
        except BaseException:  # an interrupted wait too must not leave a node behind
            self.kill()
            raise


def why_not() -> str | None:
    """Why Kafka cannot be run here, if it cannot; fetches it where it is not in the cache yet."""
    if shutil.which("java") is None:
        return "there is no `java` (17 or newer)"
    try:
        _jars()
    except (RuntimeError, QuantLakeError) as error:
        return str(error)
    return None


def delete_records(address: str, topic: str, before: Mapping[int, int]) -> None:
    """Expire, in each partition, the records before an offset, as retention would: the log then starts there."""
    from confluent_kafka import TopicPartition

    admin = _admin(address)  # held: what a collected client was asked is never answered
    for done in admin.delete_records([TopicPartition(topic, p, offset) for p, offset in before.items()]).values():
        done.result()


def delete_topic(address: str, topic: str) -> None:
    """Delete it, and wait until the broker no longer shows it: the controller answers before."""
    admin = _admin(address)
    admin.delete_topics([topic])[topic].result()
    while topic in admin.list_topics(timeout=10).topics:
        time.sleep(0.01)


def add_partitions(address: str, topic: str, partitions: int) -> None:
    """So that it has so many."""
    from confluent_kafka.admin import NewPartitions

    admin = _admin(address)
    admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()


def configure(address: str, topic: str, config: Mapping[str, str]) -> None:
    """Set some of a topic's settings; the others stay."""
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = _admin(address)
    admin.incremental_alter_configs([resource])[resource].result()


def truncate(server: KafkaServer, topic: str, partition: int, keep_batches: int) -> None:
    """Stop the node, cut the partition's log behind the first ``keep_batches`` batches of its files, and start it again.

    It is what remains after a disk that lost its last writes: the topic is the same, and new records get the lost offsets again.
    Raises ``RuntimeError`` where the log holds fewer batches; the node is then stopped.
    """
    server.stop()
    folder, cuts = server.folder / "data" / f"{topic}-{partition}", {}
    for segment in sorted(folder.glob("*.log")):  # named by their first offset, zero-padded
        content, end = segment.read_bytes(), 0
        while keep_batches and end < len(content):
            end += 12 + int.from_bytes(content[end + 8 : end + 12], "big")  # a batch: base offset (8 bytes), length (4), so many bytes
            keep_batches -= 1
        cuts[segment] = end
    if keep_batches:
        raise RuntimeError(f"{folder} holds {keep_batches} batches fewer than are to be kept")
    for number, (segment, end) in enumerate(cuts.items()):
        if end or number == 0:  # the first stays even if empty: its name says at which offset the log goes on
            os.truncate(segment, end)
        else:
            segment.unlink()
    for file in folder.iterdir():  # made anew from the segments; the checkpoints Kafka lowers itself
        if file.suffix in (".index", ".timeindex", ".txnindex", ".snapshot"):
            file.unlink()
    server.restart()


def _secured(folder: Path) -> tuple[Secured, dict[str, str]]:
    """Certificates, the listeners' addresses, and their settings."""
    authority = Authority(folder / "tls")
    good, old = authority.issue("broker"), authority.issue("expired", days=-2)
    addresses = [f"127.0.0.1:{free_port()}" for _ in SECURE]
    settings = {
        "ssl.keystore.type": "PEM", "ssl.keystore.location": str(good), "listener.name.expired.ssl.keystore.type": "PEM",
        "listener.name.expired.ssl.keystore.location": str(old), "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    }  # fmt: skip
    return Secured(authority.file, *addresses), settings


def _admin(address: str) -> "AdminClient":
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 200})


def _lead(admin: "AdminClient") -> None:
    """Raises ``KafkaException`` where a partition is not led yet: a node that starts answers a little before it leads."""
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import OffsetSpec

    partitions = [TopicPartition(name, p) for name, t in admin.list_topics(timeout=1).topics.items() for p in t.partitions]
    for end in admin.list_offsets({p: OffsetSpec.latest() for p in partitions}).values() if partitions else ():
        end.result()


def _java(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """Run a main class on the node's settings, which follow ``command``; its output goes to ``kafka.log``."""
    jvm = ("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{_jars()}/*")
    with (folder / "kafka.log").open("ab") as log:
        return subprocess.Popen([*jvm, *command, str(folder / "server.properties")], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _jars() -> Path:
    # Kafka names no logger of its own: without one it says nothing
    return jars(f"kafka-{VERSION}", [f"org.apache.kafka:kafka_2.13:{VERSION}", "org.slf4j:slf4j-simple:1.7.36"])
