"""Fixtures shared by all: a real broker, a fresh home, the embedded adapters on them. Imports are lazy: collecting stays quick."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from quantlake.adapters.broker.kafka import Kafka
    from quantlake.adapters.broker.tansu import Tansu
    from quantlake.adapters.lake.iceberg import Iceberg
    from quantlake.adapters.registry.sqlite import SqliteRegistry
    from quantlake_tests.servers.apicurio import ApicurioServer
    from quantlake_tests.servers.clickhouse import ClickHouseServer
    from quantlake_tests.servers.iceberg_rest import IcebergRestServer
    from quantlake_tests.servers.kafka import KafkaServer
    from quantlake_tests.servers.moto import MotoServer
    from quantlake_tests.servers.postgres import PostgresServer
    from quantlake_tests.servers.processes import Server
    from quantlake_tests.servers.redis import RedisServer

settings.register_profile("quantlake", deadline=None)  # tests assert no times
settings.load_profile("quantlake")

S = TypeVar("S", bound="Server")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder every user can pass through: where root runs the tests, servers run as another user."""
    folder = Path(tempfile.mkdtemp(prefix="quantlake-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def tansu() -> Iterator[Tansu]:
    """The embedded broker on a free loopback port."""
    from quantlake.adapters.broker.tansu import Tansu

    with temporary_folder() as folder:
        server = Tansu.start(folder / "broker.log")
        yield server
        server.stop()


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    """Apache Kafka, one node: plain, and with SCRAM and TLS."""
    from quantlake_tests.servers.kafka import KafkaServer, why_not

    if reason := why_not():
        pytest.skip(reason)
    with temporary_folder() as folder:
        server = KafkaServer.start(folder, config={"log.segment.bytes": str(1 << 20), "message.max.bytes": str(4 << 20)}, secure=True)
        yield server
        server.stop()


@pytest.fixture
def home() -> Iterator[Path]:
    """A fresh folder for one test's state."""
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def broker(tansu: Tansu) -> Kafka:
    from quantlake.adapters.broker.kafka import Kafka

    return Kafka({"bootstrap.servers": tansu.address})


@pytest.fixture
def topic() -> str:
    """A topic name of this test's own."""
    return f"test.{uuid.uuid4().hex}.v1"


@pytest.fixture
def lake(home: Path) -> Iceberg:
    from quantlake.adapters.lake.iceberg import Iceberg

    return Iceberg.embedded(home / "lake", home / "locks")


@pytest.fixture
def registry(home: Path) -> SqliteRegistry:
    from quantlake.adapters.registry.sqlite import SqliteRegistry

    return SqliteRegistry(home / "registry.db")


@contextmanager
def serving(why_not: Callable[[], str | None], start: Callable[[Path], S]) -> Iterator[S]:
    """A server over a folder of its own; the test is skipped where it cannot run here."""
    if reason := why_not():
        pytest.skip(reason)
    with temporary_folder() as folder:
        server = start(folder)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    from quantlake_tests.servers import redis

    with serving(redis.why_not, redis.RedisServer.start) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    from quantlake_tests.servers import postgres

    with serving(postgres.why_not, postgres.PostgresServer.start) as server:
        yield server


@pytest.fixture(scope="session")
def apicurio_server() -> Iterator[ApicurioServer]:
    from quantlake_tests.servers import apicurio

    with serving(apicurio.why_not, apicurio.ApicurioServer.start) as server:
        yield server


@pytest.fixture(scope="session")
def clickhouse_server() -> ClickHouseServer:
    from quantlake_tests.servers import clickhouse

    if reason := clickhouse.why_not():
        pytest.skip(reason)
    return clickhouse.ClickHouseServer.found()


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    """S3 and Glue, with the bucket ``lake``."""
    from quantlake_tests.servers.moto import MotoServer, why_not

    with serving(why_not, MotoServer.start) as server:
        server.bucket("lake")
        yield server


@pytest.fixture(scope="session")
def iceberg_rest(moto: MotoServer) -> Iterator[IcebergRestServer]:
    """An Iceberg REST catalogue whose warehouse is moto's ``s3://lake/rest``."""
    from quantlake_tests.servers.iceberg_rest import IcebergRestServer, why_not

    with serving(why_not, lambda folder: IcebergRestServer.start(folder, "s3://lake/rest", moto.s3)) as server:
        yield server
