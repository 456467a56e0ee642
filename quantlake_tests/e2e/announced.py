"""A home whose broker runs, and from which nothing lands but what a test asks for."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.broker.tansu import Tansu
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.cli.embedded import register_contracts
from quantlake.wiring import catalog
from quantlake_tests.e2e.commands import Commands


@contextmanager
def announced(ql: Commands) -> Iterator[tuple[Kafka, dict[str, int]]]:
    """A broker that the commands of a home find, with every topic and subject; the schema id of each topic."""
    server = Tansu.start(ql.folder / "broker.log")
    try:
        (ql.home / "run").mkdir(parents=True, exist_ok=True)
        told = {"pid": server.process.pid, "address": server.address, "cluster_id": server.cluster_id}
        (ql.home / "run" / "broker.json").write_text(json.dumps(told))
        broker = Kafka({"bootstrap.servers": server.address})
        made = register_contracts(catalog(), broker, SqliteRegistry(ql.home / "registry.db"), Iceberg.embedded(ql.home / "lake", ql.home / "locks"))
        yield broker, {stream.topic: schema_id for stream, _, schema_id in made}
    finally:
        server.stop()
