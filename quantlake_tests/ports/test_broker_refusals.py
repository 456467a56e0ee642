"""What keeps a client from a Kafka that is there: one line, soon, with the address and what to check, and never the password."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.contract import QuantLakeError
from quantlake.ports import Broker, Message
from quantlake.settings import Settings
from quantlake.wiring import Adapters
from quantlake_tests.servers.certificates import Authority
from quantlake_tests.servers.kafka import PASSWORD, USER, KafkaServer, Secured

pytestmark = pytest.mark.servers
SOON_SECONDS = 8.0
USES: dict[str, Callable[[Broker, str], object]] = {
    "partitions": lambda b, t: b.partitions(t), "log_id": lambda b, t: b.log_id(t), "create_topic": lambda b, t: b.create_topic(t, 1),
    "produce": lambda b, t: b.produce(t, [Message(b"k", b"v")]), "read": lambda b, t: list(b.read(t, {})), "ends": lambda b, t: b.ends(t, {}),
}  # fmt: skip
REFUSED: dict[str, tuple[Callable[[Secured, str], dict[str, Any]], str]] = {
    "a wrong password": (lambda s, _: {"kafka_password": "hunter two"}, r"invalid credentials.*check QUANTLAKE_KAFKA_USERNAME, _PASSWORD"),
    "an unknown user": (lambda s, _: {"kafka_username": "nobody"}, r"invalid credentials.*check QUANTLAKE_KAFKA_USERNAME, _PASSWORD"),
    "another mechanism": (lambda s, _: {"kafka_sasl_mechanism": "PLAIN"}, r"supported mechanisms: SCRAM-SHA-512.*_SASL_MECHANISM"),
    "no such mechanism": (lambda s, _: {"kafka_sasl_mechanism": "SCRAM-SHA-513"}, r"SCRAM-SHA-513.*_SASL_MECHANISM"),
    "plain where TLS is spoken": (lambda s, _: {"kafka_security_protocol": "PLAINTEXT"}, r"something listens there.*PLAINTEXT.*_SECURITY_PROTOCOL"),
    "TLS alone where a user is asked for": (lambda s, _: {"kafka_security_protocol": "SSL"}, r"something listens there.*SSL.*_SECURITY_PROTOCOL"),
    "another authority": (lambda s, other: {"kafka_ca_file": other}, r"certificate verify failed.*check QUANTLAKE_KAFKA_CA_FILE"),
    "the system's authorities": (lambda s, _: {"kafka_ca_file": ""}, r"certificate verify failed.*check QUANTLAKE_KAFKA_CA_FILE"),
    "an authority's file that is not there": (lambda s, _: {"kafka_ca_file": "/nowhere/ca.pem"}, r"ssl.ca.location.*check QUANTLAKE_KAFKA_CA_FILE"),
    "an expired certificate": (
        lambda s, _: {"kafka_bootstrap": s.expired, "kafka_security_protocol": "SSL"}, r"certificate verify failed.*whether it has expired",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def secured(kafka_server: KafkaServer) -> Secured:
    assert kafka_server.secured
    return kafka_server.secured


def settings(secured: Secured, home: Path, **otherwise: Any) -> Settings:
    told = {"kafka_bootstrap": secured.scram, "kafka_username": USER, "kafka_password": PASSWORD, "kafka_ca_file": str(secured.authority)}
    return Settings(home=home, profile="production", kafka_replication=1, **(told | otherwise))


@pytest.mark.parametrize("fault", REFUSED)
def test_a_refusal_is_one_line_soon(secured: Secured, home: Path, topic: str, fault: str) -> None:
    change, said = REFUSED[fault]
    made = settings(secured, home, **change(secured, str(Authority(home / "other").file)))
    adapters = Adapters(made)
    before = time.monotonic()
    with pytest.raises(QuantLakeError, match=said) as caught:
        adapters.broker.partitions(topic)
    assert time.monotonic() - before < SOON_SECONDS
    told = str(caught.value)
    assert "\n" not in told and made.kafka_bootstrap in told, told
    assert PASSWORD not in told and "hunter two" not in told and PASSWORD not in repr(made)


@pytest.mark.parametrize("use", USES)
def test_every_use_of_a_broker_says_so(secured: Secured, home: Path, topic: str, use: str) -> None:
    broker = Adapters(settings(secured, home, kafka_password="hunter two")).broker
    with pytest.raises(QuantLakeError, match="invalid credentials") as caught:
        USES[use](broker, topic)
    assert "hunter two" not in str(caught.value)


def test_who_is_let_in_again_is_served(secured: Secured, home: Path, topic: str) -> None:
    """A refusal that is over is not told again: the next failure is another."""
    broker = Adapters(settings(secured, home)).broker
    assert isinstance(broker, Kafka)
    assert broker.create_topic(topic, 1)
    from confluent_kafka import KafkaError

    broker._refusals.heard(KafkaError(KafkaError._AUTHENTICATION))
    assert broker.partitions(topic) == (0,)
    with pytest.raises(QuantLakeError, match=f"there is no topic {topic}.none"):
        list(broker.read(f"{topic}.none", {}))


def test_a_message_beyond_the_broker_s_own_limit_is_refused_in_our_words(secured: Secured, home: Path, topic: str) -> None:
    """The client takes it, the broker (whose limit is 4 MB here) does not; what was sent beside it is there."""
    broker = Adapters(settings(secured, home)).broker
    broker.create_topic(topic, 1)
    broker.produce(topic, [Message(b"k", b"before")])
    with pytest.raises(QuantLakeError, match=f"1 messages were not taken by topic {topic} of {secured.scram}.*(?i:too large)"):
        broker.produce(topic, [Message(b"k", random.randbytes(6 << 20))])
    broker.produce(topic, [Message(b"k", b"after")])
    assert [v for b in broker.read(topic, {}) for v in b.records.values] == [b"before", b"after"]
