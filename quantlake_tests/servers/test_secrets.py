"""No secret is ever written: not in the home, Dagster's storage, the lake, a topic, a command's words or its processes' arguments.

Every secret of a production profile is planted, commands of every kind are run to their end and into every wall there is, and all that
was written is searched, also in base64 and as a URL has it.
"""

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from quantlake_tests.conftest import temporary_folder
from quantlake_tests.servers.everything import Servers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]
DAY = "2024-03-04"
SECRETS = ("KAFKA_PASSWORD", "REGISTRY_PASSWORD", "CATALOG_TOKEN", "CLICKHOUSE_PASSWORD", "POSTGRES_DSN", "REDIS_CONNECTION", "CATALOG_PROPERTIES", "AUTHOR_SECRET")


class Watched:
    """Runs commands over one environment; keeps what they said and the arguments of every process that was their child."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.said: list[tuple[str, str]] = []
        self.arguments: set[str] = set()

    def run(self, *command: str, **changed: str) -> int:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], env=self.environment | changed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        )  # fmt: skip
        watcher = threading.Thread(target=self._watch, args=(process,))
        watcher.start()
        began = time.monotonic()
        output, _ = process.communicate(timeout=240)
        watcher.join()
        self.said.append((f"{' '.join(command)} {sorted(changed)}", output))
        print(f"{time.monotonic() - began:5.1f} s, exit {process.returncode}: {self.said[-1][0]}")  # shown where the test fails
        return process.returncode

    def _watch(self, process: "subprocess.Popen[str]") -> None:
        while process.poll() is None:
            try:
                tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                self.arguments |= {" ".join(p.cmdline()) for p in tree}
            except psutil.Error:
                pass
            time.sleep(0.05)


def spelt(settings: dict[str, str]) -> dict[bytes, str]:
    """Each secret as it could stand somewhere, and which it is."""
    plain = {name: settings[f"QUANTLAKE_{name}"] for name in SECRETS if settings.get(f"QUANTLAKE_{name}")}
    plain["POSTGRES_DSN"] = plain["POSTGRES_DSN"].partition("://")[2].partition("@")[0].partition(":")[2]
    plain["REDIS_CONNECTION"] = plain["REDIS_CONNECTION"].partition("password=")[2].partition(",")[0]
    properties = json.loads(plain.pop("CATALOG_PROPERTIES"))
    plain |= {name: value for name, value in properties.items() if "secret" in name}
    user = settings["QUANTLAKE_REGISTRY_USERNAME"]
    found = {}
    for name, secret in plain.items():
        assert len(secret) >= 8, f"{name} is too short to be looked for"
        for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode(), base64.b64encode(f"{user}:{secret}".encode()).decode()):
            found[form.encode()] = name
    return found


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with temporary_folder() as folder:
        running = Servers.start(folder)
        if running.missing.keys() - {"clickhouse"}:
            running.stop()
            pytest.skip(f"not all servers can be had here: {running.missing}")
        try:
            yield running
        finally:
            running.stop()


def test_no_secret_is_written_anywhere(servers: Servers, tmp_path: Path) -> None:
    settings = servers.settings()
    settings["QUANTLAKE_CLICKHOUSE_PASSWORD"] = "planted-click-house"
    settings["QUANTLAKE_AUTHOR_SECRET"] = "planted-secret-of-authors-" + "0" * 16
    home = Path(settings["QUANTLAKE_HOME"])
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("QUANTLAKE_", "DAGSTER_"))}
    watched = Watched(clean | settings | {"DAGSTER_HOME": str(home / "dagster")})
    letter = tmp_path / "bad.jsonl"
    letter.write_text('{"symbol": 3}\n')
    good = [
        ("contract", "register"), ("contract", "diff", "market/quotes", "--registry"), ("simulate", "--start", DAY, "--days", "1", "--symbols", "2"),
        ("land",), ("refresh",), ("audit", "--deep"), ("status", "--json"), ("fingerprint",), ("deadletters",), ("sql", "select count(*) from curated_market_quotes"),
        ("env",), ("why", "curated/market/quotes", "--partition", DAY),
    ]  # fmt: skip
    for command in good:
        assert watched.run("quantlake", *command) == 0, watched.said[-1]
    assert watched.run(
        "dagster", "asset", "materialize", "-m", "quantlake.definitions", "--select", "curated/market/trades,embedding/alt/news,feature/market/trade_activity",
        "--partition", DAY,
    ) == 0, watched.said[-1]  # fmt: skip

    forms = spelt(settings)
    walls = {
        "wrong": {name: settings[name] + "-and-wrong" for name in map("QUANTLAKE_{}".format, SECRETS[:3])},
        "postgres": {"QUANTLAKE_POSTGRES_DSN": settings["QUANTLAKE_POSTGRES_DSN"].replace("@", "-and-wrong@")},
        "redis": {"QUANTLAKE_REDIS_CONNECTION": settings["QUANTLAKE_REDIS_CONNECTION"] + "-and-wrong"},
        "s3": {"QUANTLAKE_CATALOG_PROPERTIES": settings["QUANTLAKE_CATALOG_PROPERTIES"].replace("http://127.0.0.1", "http://127.0.0.2")},
        "malformed": {"QUANTLAKE_CATALOG_PROPERTIES": settings["QUANTLAKE_CATALOG_PROPERTIES"][:-1], "QUANTLAKE_KAFKA_REPLICATION": "three"},
        "dsn": {"QUANTLAKE_POSTGRES_DSN": settings["QUANTLAKE_POSTGRES_DSN"].replace("://", "//")},
    }
    for wall in walls.values():
        watched.run("quantlake", "--debug", "land", **wall)  # with the traceback, which ends with the one line
        watched.run("quantlake", "--debug", "backfill", "--from", DAY, "--to", DAY, "--rebuild", "--select", "embedding/alt/news", **wall)
        watched.run("quantlake", "status", **wall)
    assert watched.run("quantlake", "produce", "market/trades", str(letter)) == 1
    for name in ("redis", "postgres", "iceberg-rest", "apicurio", "kafka"):
        servers.running[name].kill()
        watched.run("quantlake", "--debug", *({"kafka": ("land",)}.get(name, ("backfill", "--from", DAY, "--to", DAY, "--rebuild"))))
    watched.run("quantlake", "status")

    def require_clean(what: str, content: bytes) -> None:
        for form, name in forms.items():
            assert form not in content, f"{name} stands in {what}"

    for said, output in watched.said:
        require_clean(f"what `{said}` said", output.encode())
    assert any(settings["QUANTLAKE_CATALOG_URI"] in output for _, output in watched.said)  # what is no secret is found where it was said
    require_clean("arguments of a process", "\n".join(watched.arguments).encode())
    files = [p for p in home.rglob("*") if p.is_file()]
    assert {"dagster", "lineage"} <= {p.relative_to(home).parts[0] for p in files} and len(files) > 20
    for file in files:
        require_clean(str(file.relative_to(home)), file.read_bytes())
    require_clean("the lake", b"".join(_objects(servers)))
    for name in ("kafka", "redis", "postgres"):  # what clients wrote there: the server's own configuration is its owner's
        for file in (p for p in (servers.folder / name / "data").rglob("*") if p.is_file() and p.suffix in (".log", ".aof", ".rdb", "")):
            content = file.read_bytes()
            for form in (f for f, owner in forms.items() if not owner.startswith(name.upper())):
                assert form not in content, f"{forms[form]} stands in {name}'s {file.name}"


def _objects(servers: Servers) -> Iterator[bytes]:
    from quantlake_tests.servers.everything import WAREHOUSE

    bucket = WAREHOUSE.split("/")[2]
    client = servers.running["s3"].client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            yield client.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
    client.close()
