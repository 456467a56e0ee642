"""All servers of a production profile that can be had here, over one folder, and the settings that name them.

Here: which, in which order, and what each gives to the settings. Not here: how any one is started.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from quantlake.wiring import IN_PROCESS
from quantlake_tests.servers import apicurio, clickhouse, iceberg_rest, kafka, moto, postgres, redis
from quantlake_tests.servers.profiles import profile
from quantlake_tests.servers.proxy import Proxy

WAREHOUSE = "s3://quantlake/warehouse"


class Launched(Protocol):
    """What every launcher gives."""

    process: subprocess.Popen[bytes]

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def restart(self) -> None: ...


@dataclass(frozen=True)
class Kind:
    """A launcher, its server's version, how one is started in a folder beside others, and the settings that name it."""

    launcher: ModuleType
    version: Callable[[], str]
    start: Callable[[Path, "Servers"], Launched]
    settings: Callable[[Any], Mapping[str, str]]


class Servers:
    """``running``: those that were started here, by name; ``missing``: why others were not.

    Each of ``running`` can be killed and restarted; ``stop`` ends all. S3 is moto's, in memory: a restart loses the lake's files, so it
    stands behind a proxy, and can be ``cut`` off and reconnected instead.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, Any] = {}
        self.missing: dict[str, str] = {}

    @classmethod
    def start(cls, folder: Path, names: Collection[str] = ()) -> "Servers":
        """Start those of ``names`` (none: of all) that can be had here, each until it answers; PostgreSQL's user has to reach ``folder``.

        Raises ``RuntimeError`` where one does not start, and ``QuantLakeError`` where one cannot be fetched; then none runs.
        """
        servers = cls(folder)
        try:
            for name in KINDS:
                if name in (names or KINDS):
                    servers._start(name)
            if reason := clickhouse.why_not():  # else it is its owner's
                servers.missing["clickhouse"] = reason
        except BaseException:  # an interrupt too must not leave servers behind
            servers.stop()
            raise
        return servers

    def stop(self) -> None:
        """End all, the last started first."""
        for server in reversed(self.running.values()):
            server.stop()

    def ended(self) -> list[str]:
        """Those that do not run any more."""
        return [name for name, server in self.running.items() if server.process.poll() is not None]

    def settings(self) -> dict[str, str]:
        """``QUANTLAKE_...`` of a production profile over what runs, its home below ``folder``; passwords are in it."""
        found = {"PROFILE": "production", "HOME": str(self.folder / "home")}
        for name, server in self.running.items():
            found |= KINDS[name].settings(server)
        if "clickhouse" in self.missing:
            found |= {"CLICKHOUSE_HOST": IN_PROCESS}
        else:
            server = clickhouse.ClickHouseServer.found()
            found |= {
                "CLICKHOUSE_HOST": server.host, "CLICKHOUSE_PORT": str(server.port), "CLICKHOUSE_SECURE": str(server.secure).lower(),
                "CLICKHOUSE_USERNAME": server.username, "CLICKHOUSE_PASSWORD": server.password,
            }  # fmt: skip
        return {f"QUANTLAKE_{name}": value for name, value in found.items()}

    def table(self) -> list[tuple[str, str, str, str]]:
        """Server, version, process id, and the address or why it is not there."""
        rows = [
            (name, KINDS[name].version(), str(server.process.pid), getattr(server, "url", None) or server.address)
            for name, server in self.running.items()
        ]
        return rows + [(name, "", "", reason) for name, reason in self.missing.items()]

    def _start(self, name: str) -> None:
        reason = KINDS[name].launcher.why_not()
        if name == "iceberg-rest" and "s3" not in self.running:
            reason = "it keeps its files in s3, which is not there"
        if reason:
            self.missing[name] = reason
        else:
            self.running[name] = KINDS[name].start(self.folder / name, self)


class ProxiedS3:
    """S3 and Glue by moto, behind a proxy whose address every client has."""

    def __init__(self, folder: Path) -> None:
        self._moto = moto.MotoServer.start(folder)
        try:
            self._moto.bucket(WAREHOUSE.split("/")[2])
            self._proxy = Proxy.start(self._moto.port)
        except BaseException:
            self._moto.stop()
            raise

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._moto.process

    @property
    def url(self) -> str:
        return self._proxy.url

    @property
    def s3(self) -> dict[str, str]:
        return {**self._moto.s3, "s3.endpoint": self.url}

    @property
    def glue(self) -> dict[str, str]:
        return {**self._moto.glue, "glue.endpoint": self.url}

    def client(self, service: str) -> Any:
        """A boto3 client of "s3" or "glue"."""
        return self._moto.client(service)

    def cut(self) -> None:
        """Close every connection and refuse new ones, until ``reconnect``."""
        self._proxy.cut()

    def reconnect(self) -> None:
        self._proxy.reconnect()

    def stop(self) -> None:
        self._proxy.stop()
        self._moto.stop()

    def kill(self) -> None:
        self._moto.kill()

    def restart(self) -> None:
        """Empty again."""
        self._moto.restart()


def _variant(name: str, prefix: str) -> dict[str, str]:
    """The settings of a file of ``deploy/profiles`` that begin so, as production's are said there."""
    found = {setting.removeprefix("QUANTLAKE_"): value for setting, value in profile(name).items()}
    return {setting: value for setting, value in found.items() if setting.startswith(prefix)}


KINDS = {
    "kafka": Kind(
        kafka, lambda: kafka.VERSION, lambda folder, _: kafka.KafkaServer.start(folder, secure=True),
        lambda server: _variant("kafka-redpanda", "KAFKA_") | {
            "KAFKA_BOOTSTRAP": server.secured.scram, "KAFKA_USERNAME": kafka.USER, "KAFKA_PASSWORD": kafka.PASSWORD,
            "KAFKA_CA_FILE": str(server.secured.authority), "KAFKA_REPLICATION": "1",
        },
    ),
    "apicurio": Kind(
        apicurio, lambda: apicurio.VERSION, lambda folder, _: apicurio.ApicurioServer.start(folder),
        lambda server: {"REGISTRY_URL": server.url, "REGISTRY_USERNAME": apicurio.USER, "REGISTRY_PASSWORD": server.password},
    ),
    "s3": Kind(
        moto, lambda: version("moto"), lambda folder, _: ProxiedS3(folder),
        lambda server: _variant("catalog-glue", "CATALOG_") | {
            "CATALOG_WAREHOUSE": WAREHOUSE, "CATALOG_PROPERTIES": json.dumps({**server.s3, **server.glue}),
        },
    ),
    "iceberg-rest": Kind(
        iceberg_rest, lambda: iceberg_rest.VERSION,
        lambda folder, servers: iceberg_rest.IcebergRestServer.start(folder, WAREHOUSE, servers.running["s3"].s3),
        lambda server: _variant("catalog-nessie", "CATALOG_TYPE") | {"CATALOG_URI": server.url, "CATALOG_TOKEN": iceberg_rest.TOKEN},
    ),
    "redis": Kind(
        redis, redis.version, lambda folder, _: redis.RedisServer.start(folder), lambda server: {"REDIS_CONNECTION": server.connection},
    ),
    "postgres": Kind(
        postgres, postgres.version, lambda folder, _: postgres.PostgresServer.start(folder), lambda server: {"POSTGRES_DSN": server.dsn},
    ),
}  # fmt: skip


def write_environment(path: Path, settings: Mapping[str, str]) -> None:
    """``export`` lines that a shell can source, for its owner's eyes only."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
