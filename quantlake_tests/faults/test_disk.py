"""A disk that is full, at every place of a commit: one line says so, nothing of it is seen, and with space again landing goes on."""

import pytest

from quantlake.adapters.broker.tansu import Tansu
from quantlake.contract import QuantLakeError
from quantlake.landing.follow import Follower
from quantlake_tests.e2e.commands import wait_for
from quantlake_tests.faults.conftest import Disk
from quantlake_tests.faults.tables import Raw
from quantlake_tests.servers.kafka import KafkaServer

FREE = (0, 8, 16, 24, 28, 32, 36, 40, 44, 48, 52)  # KB: a commit of some rows takes about 50


def test_a_full_disk_is_one_line_and_no_row(disk: Disk, faults_broker: Tansu | KafkaServer, topic: str) -> None:
    raw = Raw.made(disk.folder / "home", faults_broker.address, topic)
    raw.send(100, 3)
    said = []
    for free in FREE:
        disk.leave(free)
        before = raw.commits()
        try:
            raw.land()
        except QuantLakeError as error:
            said.append(str(error))
            assert raw.commits() == before
        else:
            raw.send(20, 1)
        raw.look()
    assert len(said) > len(FREE) // 2 and all("\n" not in what and "nothing was committed" in what for what in said)
    assert any("No space left" in what for what in said), "files could not be written"
    assert any("disk is full" in what for what in said), "the catalogue could not"
    disk.free()
    raw.land()
    raw.whole()


@pytest.mark.faults
def test_a_follower_lands_on_when_there_is_space_again(disk: Disk, faults_broker: Tansu | KafkaServer, topic: str) -> None:
    raw = Raw.made(disk.folder / "home", faults_broker.address, topic)
    a, heard = raw.adapters, list[str]()
    follower = Follower(
        [raw.stream], broker=a.broker, registry=a.registry, lake=a.lake, commit_seconds=0.1, tell=lambda _, what: heard.append(what)
    )
    disk.leave(16)
    follower.start()
    raw.send(100, 3)
    wait_for(lambda: heard, 30)
    disk.free()
    wait_for(lambda: follower.seen[topic].landed.rows == 100, 60)
    follower.stop()
    assert "space" in heard[0]
    raw.whole()
