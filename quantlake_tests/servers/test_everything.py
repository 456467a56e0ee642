"""All servers as one: a production profile over them works, each can be killed, and none is left behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantlake_tests.servers.everything import KINDS, Servers

pytestmark = pytest.mark.servers
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    from quantlake_tests.conftest import temporary_folder

    with temporary_folder() as folder:
        started = Servers.start(folder)
        yield started
        started.stop()


def test_what_is_missing_says_why(servers: Servers) -> None:
    assert set(servers.running) | set(servers.missing) >= set(KINDS)
    assert all(servers.missing.values())
    assert [row[0] for row in servers.table()] == [*servers.running, *servers.missing]
    for name, version, pid, address in servers.table()[: len(servers.running)]:
        assert re.match(r"\d+\.\d+", version) and Path(f"/proc/{pid}").exists() and "127.0.0.1:" in address, name
    assert not servers.ended()


USE = """
from datetime import UTC, date, datetime
import pyarrow as pa
from quantlake.contract import PARTITION_DATE, Column, TableSpec, Text
from quantlake.contract.schemas import Schema
from quantlake.datasets.market.trade_activity import trade_activity
from quantlake.wiring import platform
adapters = platform()
spec = TableSpec("curated", "test", "things", (Column("id", Text, "Id."), PARTITION_DATE), "month", ("id",), "Things.")
day = date(2024, 1, 2)
rows = pa.Table.from_pylist([{"id": "a", "partition_date": day}], spec.arrow)
print("kafka", adapters.broker.create_topic("things.v1", 1))
print("apicurio", adapters.registry.register("things-value", Schema("AVRO", '{"type":"record","name":"T","fields":[]}')))
adapters.lake.ensure(spec)
adapters.lake.publish(spec, [day], rows)
print("iceberg-rest", adapters.lake.counts(spec))
adapters.vectors.ensure(spec)
print("postgres", adapters.vectors.exists(spec))
keys = {name: ["x"] for name in trade_activity.entities}
print("redis", adapters.features.read_online(trade_activity, keys).num_rows)
"""


def test_a_production_profile_over_them_works_also_after_each_was_killed(servers: Servers) -> None:
    kept = [name for name in servers.running if name != "s3"]  # that one keeps nothing
    for turn in range(2):
        if turn:
            for name in kept:
                servers.running[name].kill()
            assert servers.ended() == kept
            for name in kept:
                servers.running[name].restart()
            assert not servers.ended()
        environment = {**os.environ, **servers.settings()}
        done = subprocess.run([sys.executable, "-c", USE], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "iceberg-rest {datetime.date(2024, 1, 2): 1}" in done.stdout
        assert f"kafka {turn == 0}" in done.stdout  # the second time the topic is there
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["kafka", "apicurio", "iceberg-rest", "postgres", "redis"]


@pytest.fixture
def foreground() -> Iterator[subprocess.Popen[str]]:
    """Two of them as ``make servers`` runs them."""
    command = [sys.executable, "-m", "quantlake_tests.servers", "redis", "postgres"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def shown(process: subprocess.Popen[str]) -> str:
    """What it prints until all run."""
    assert process.stdout
    lines = []
    while not lines or not lines[-1].startswith("running until"):
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    return "".join(lines)


def pids(said: str) -> list[int]:
    return [int(found) for found in re.findall(r"^(?:redis|postgres) +\S+ +(\d+) +127", said, re.MULTILINE)]


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_foreground_shows_no_secret_and_leaves_nothing(foreground: subprocess.Popen[str], how: signal.Signals) -> None:
    said = shown(foreground)
    environment = Path(said.split("source ")[1].split("\n")[0])
    assert environment.stat().st_mode & 0o777 == 0o600
    sourced = ["bash", "-c", f"source {environment} && env"]
    settings = dict(line.split("=", 1) for line in subprocess.run(sourced, capture_output=True, text=True, check=True).stdout.splitlines() if "=" in line)
    assert settings["QUANTLAKE_PROFILE"] == "production"
    for secret in ("QUANTLAKE_REDIS_CONNECTION", "QUANTLAKE_POSTGRES_DSN"):
        assert settings[secret] not in said and f"# {secret} has a secret in it" in said
    running = pids(said)
    assert len(running) == 2
    foreground.send_signal(how)
    assert foreground.wait(30) == 0
    assert all(map(gone, running)) and not environment.parent.exists()


def test_the_end_of_one_server_ends_all(foreground: subprocess.Popen[str]) -> None:
    said = shown(foreground)
    first, second = pids(said)
    os.kill(first, signal.SIGKILL)
    assert foreground.wait(30) == 1
    assert foreground.stderr and re.search(r"redis ended with status -9; its output is in \S+redis", foreground.stderr.read())
    assert gone(second)
    folder = Path(said.split("source ")[1].split("\n")[0]).parent
    assert (folder / "redis" / "redis.log").exists()  # kept, to be read
    shutil.rmtree(folder)


def test_an_unknown_server_is_refused() -> None:
    command = [sys.executable, "-m", "quantlake_tests.servers", "oracle"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "redis" in done.stderr
