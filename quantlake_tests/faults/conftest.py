"""A table to break, and disks that can be filled."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from quantlake.adapters.broker.tansu import Tansu
from quantlake_tests.faults import landers, plan
from quantlake_tests.faults.tables import Raw
from quantlake_tests.servers.kafka import KafkaServer


@pytest.fixture(autouse=True)
def _no_lander_outlives_its_test() -> Iterator[None]:
    yield
    for lander in list(landers.living):
        lander.end()


@pytest.fixture(scope="session")
def faults_broker(request: pytest.FixtureRequest) -> Tansu | KafkaServer:
    """The broker that ``make faults BROKER=...`` names: the embedded one, or Apache Kafka."""
    found: Tansu | KafkaServer = request.getfixturevalue({"tansu": "tansu", "kafka": "kafka_server"}[plan.broker()])
    return found


@pytest.fixture
def raw(home: Path, faults_broker: Tansu | KafkaServer, topic: str) -> Raw:
    """A fresh topic and its table."""
    return Raw.made(home, faults_broker.address, topic)


@dataclass
class Disk:
    """A file system of its own, in memory."""

    folder: Path

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def leave(self, kilobytes: int) -> None:
        """Fill it, but for so much."""
        self.free()
        with self._filler.open("wb") as file:
            left = shutil.disk_usage(self.folder).free - (kilobytes << 10)
            file.write(bytes(max(0, left)))

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Skips where this user may mount nothing."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here, and without one no disk is full: {error}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
