"""Profile -> adapters, by dotted path. Nothing is imported or opened before it is first used."""

import atexit
import importlib
import json
import os
from functools import cached_property
from typing import Any

from quantlake.contract import QuantLakeError
from quantlake.contract.catalog import Catalog, discover
from quantlake.contract.history import require_compatible
from quantlake.ports import Broker, FeatureStore, Lake, Lineage, Objects, Olap, Quality, Registry, VectorStore
from quantlake.settings import Settings, load
from quantlake.sources.authors import Authors

IN_PROCESS = "embedded"  # a ClickHouse host: none


class Adapters:
    """The ports of one profile; each adapter is imported and opened at first use, and closed at exit where it can be."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.embedded = settings.profile == "embedded"

    @cached_property
    def broker(self) -> Broker:
        kafka = _adapter("broker.kafka:Kafka")
        if self.embedded:
            found: Broker = kafka({"bootstrap.servers": embedded_broker(self.settings)})
            return found
        s = self.settings
        client = {"bootstrap.servers": self._needed("kafka_bootstrap"), "security.protocol": s.kafka_security_protocol}
        if "SASL" in s.kafka_security_protocol:
            client |= {"sasl.mechanism": s.kafka_sasl_mechanism, "sasl.username": self._needed("kafka_username")}
            client |= {"sasl.password": self._needed("kafka_password")}
        if s.kafka_ca_file:
            client |= {"ssl.ca.location": s.kafka_ca_file}
        real: Broker = kafka(client, replication=s.kafka_replication)
        return real

    @cached_property
    def registry(self) -> Registry:
        found: Registry
        if self.embedded:
            found = _adapter("registry.sqlite:SqliteRegistry")(self.settings.root / "registry.db")
        else:
            s = self.settings
            found = _adapter("registry.confluent:ConfluentRegistry")(
                self._needed("registry_url"), s.registry_username, s.registry_password.get_secret_value()
            )
        return found

    @cached_property
    def lake(self) -> Lake:
        iceberg, s = _adapter("lake.iceberg:Iceberg"), self.settings
        found: Lake
        if self.embedded:
            found = iceberg.embedded(s.root / "lake", s.locks)
        else:
            properties = {"type": s.catalog_type, **({"uri": s.catalog_uri} if s.catalog_uri else {}), **s.catalog_properties}
            properties |= {"warehouse": self._needed("catalog_warehouse")}
            for name, secret in (("token", s.catalog_token), ("credential", s.catalog_credential)):
                properties |= {name: secret.get_secret_value()} if secret.get_secret_value() else {}
            found = iceberg(properties, s.locks)
        return found

    @cached_property
    def objects(self) -> Objects:
        s = self.settings
        found: Objects
        if self.embedded:
            found = _adapter("lake.objects:FolderObjects")(s.root / "lake")
        else:
            warehouse = self._needed("catalog_warehouse")
            location = s.objects_location or (warehouse if "://" in warehouse else self._needed("objects_location"))
            found = _adapter("lake.objects:StoreObjects")(location, s.catalog_properties)
        return found

    @cached_property
    def olap(self) -> Olap:
        clickhouse, s = _adapter("olap.clickhouse:ClickHouse"), self.settings
        found: Olap
        if self.embedded or s.clickhouse_host == IN_PROCESS:
            found = clickhouse.embedded(s.root / "clickhouse", s.locks)
        else:
            found = clickhouse.server(
                self._needed("clickhouse_host"), s.clickhouse_port, s.clickhouse_username, s.clickhouse_password.get_secret_value(),
                s.clickhouse_secure, locks=s.locks,
            )  # fmt: skip
        return found

    @cached_property
    def vectors(self) -> VectorStore:
        pgvector, s = _adapter("vectors.pgvector:PgVector"), self.settings
        found: Any
        if self.embedded:
            found = pgvector.embedded(s.root / "postgres", s.locks)
        else:
            found = pgvector.server(self._needed("postgres_dsn"), s.locks)
        atexit.register(found.close)
        store: VectorStore = found
        return store

    @cached_property
    def features(self) -> FeatureStore:
        s = self.settings
        online = None if self.embedded else {"type": "redis", "connection_string": self._needed("redis_connection")}
        found: FeatureStore = _adapter("features.feast_store:FeastStore")(s.root / "feast", self.lake.read, online, s.locks)
        return found

    @cached_property
    def quality(self) -> Quality:
        found: Quality = _adapter("quality.great_expectations:GreatExpectations")()
        return found

    @cached_property
    def lineage(self) -> Lineage:
        openlineage, url = _adapter("lineage.openlineage:OpenLineage"), self.settings.openlineage_url
        found: Lineage = openlineage.to_url(url) if url else openlineage.to_file(self.settings.root / "lineage" / "events.jsonl")
        return found

    @cached_property
    def authors(self) -> Authors:
        """What is kept of authors."""
        s = self.settings
        if self.embedded and not s.author_secret.get_secret_value():
            return Authors(lambda: str(_adapter("secrets:kept")(s.root / "secrets" / "author", s.locks / "author-secret")))
        return Authors(lambda: self._needed("author_secret"))

    def _needed(self, name: str) -> str:
        value = getattr(self.settings, name)
        text = value if isinstance(value, str) else value.get_secret_value()
        if not text:
            hint = f" (`{IN_PROCESS}`: no server, rollups are built in process)" if name == "clickhouse_host" else ""
            raise QuantLakeError(f"the production profile needs QUANTLAKE_{name.upper()}, which is not set{hint}")
        return str(text)


def platform() -> Adapters:
    """The adapters of this process's settings: one set a home."""
    settings = load()
    key = f"{settings.profile}:{settings.root}"
    if key not in _open:
        _open[key] = Adapters(settings)
    return _open[key]


def catalog() -> Catalog:
    """Every dataset: ours and those of ``QUANTLAKE_DATASETS``.

    Raises ``QuantLakeError`` where a contract changed against its recorded history, before any producer or table sees it.
    """
    found = uncontrolled_catalog()
    require_compatible(found)
    return found


def uncontrolled_catalog() -> Catalog:
    """The same, whatever its history says: for those who look at the difference."""
    return discover(load().dataset_places)


def embedded_broker(settings: Settings) -> str:
    """Where the embedded broker of a home announced itself. Raises ``QuantLakeError`` where none runs."""
    try:
        announced = json.loads((settings.run / "broker.json").read_text())
        if announced["pid"] <= 1:
            raise ValueError(announced)
        os.kill(announced["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        raise QuantLakeError(f"no broker is running in {settings.root}; start one with `quantlake dev` or `quantlake up` in another shell") from None
    return str(announced["address"])


def _adapter(path: str) -> Any:
    module, name = path.split(":")
    try:
        return getattr(importlib.import_module(f"quantlake.adapters.{module}"), name)
    except ModuleNotFoundError as error:
        raise QuantLakeError(f"{path} needs the package {error.name!r}, which is not installed: pip install 'quantlake[production]'") from error


_open: dict[str, Adapters] = {}


