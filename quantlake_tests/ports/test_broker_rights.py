"""A user with the fewest rights lands and produces; one with fewer is told which are missing."""

import time
from collections.abc import Iterator
from threading import Event

import pytest
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType

from quantlake.adapters.broker.kafka import Kafka
from quantlake.contract import QuantLakeError
from quantlake.ports import Message
from quantlake_tests.servers.kafka import USER, KafkaServer, why_not

pytestmark = pytest.mark.servers
AUTHORIZED = {"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users": "User:ANONYMOUS"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """Where whoever comes by the plain listener may do all, and the user of the other what the lists say."""
    if reason := why_not():
        pytest.skip(reason)
    node = KafkaServer.start(tmp_path_factory.mktemp("kafka"), config=AUTHORIZED, secure=True)
    yield node
    node.stop()


class Rights:
    """Of the user on one topic, granted in turn."""

    def __init__(self, server: KafkaServer, topic: str) -> None:
        self._admin, self._topic = AdminClient({"bootstrap.servers": server.address, "log_level": 0}), topic

    def grant(self, right: AclOperation) -> None:
        rule = AclBinding(ResourceType.TOPIC, self._topic, ResourcePatternType.LITERAL, f"User:{USER}", "*", right, AclPermissionType.ALLOW)
        self._admin.create_acls([rule])[rule].result()
        time.sleep(0.5)  # until the broker has heard of it


def count(broker: Kafka, topic: str) -> int:
    return sum(len(batch.records) for batch in broker.read(topic, {}))


def test_a_user_needs_rights_on_the_topic_and_on_no_group(server: KafkaServer, topic: str) -> None:
    everyone, user, rights = Kafka({"bootstrap.servers": server.address}), Kafka(server.scram), Rights(server, topic)
    everyone.create_topic(topic, 2)
    everyone.produce(topic, [Message(b"%d" % n, b"v") for n in range(50)])
    with pytest.raises(QuantLakeError, match=f"no topic {topic} on .*, or {USER} may not see it"):
        user.partitions(topic)
    with pytest.raises(QuantLakeError, match=r"does not allow it: .*uthorization failed.*Create to register"):
        user.create_topic(f"{topic}.new", 1)
    rights.grant(AclOperation.DESCRIBE)
    assert user.log_id(topic) == everyone.log_id(topic)
    with pytest.raises(QuantLakeError, match=rf"{server.scram['bootstrap.servers']}.*Topic authorization failed"):
        count(user, topic)
    with pytest.raises(QuantLakeError, match=r"not taken by topic .*uthorization failed"):
        user.produce(topic, [Message(b"k", b"v")])
    rights.grant(AclOperation.READ)
    assert count(user, topic) == 50
    start = user.ends(topic, {})
    assert count(Kafka(server.scram), topic) == 50 and user.ends(topic, start) == start
    stop, followed = Event(), 0
    for batch in user.follow(topic, {}, stop):
        if (followed := followed + len(batch.records)) == 50:
            stop.set()
    rights.grant(AclOperation.WRITE)
    assert user.produce(topic, [Message(b"k", b"v")]) == 1 and count(user, topic) == 51
