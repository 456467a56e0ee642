"""Memory of a lander: the real command, in a process of its own, over backlogs of what is large and of what is many."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.datasets.market.trades import raw
from quantlake.landing.audit import audit
from quantlake.ports import Message
from quantlake.sources.encode import encode
from quantlake.sources.importers import typed
from quantlake_tests.e2e.announced import announced
from quantlake_tests.e2e.commands import Commands, wait_for

MOST_BYTES = 1_000_000_000
LANDER = """
import sys
from pathlib import Path
from quantlake.cli import main
try:
    main()
finally:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    Path(sys.argv.pop()).write_text(status["VmHWM"])
"""
AT = datetime(2024, 3, 4, 15, tzinfo=UTC)
LARGE, SMALL = 60, 50_000


@pytest.fixture
def ql(home: Path) -> Iterator[tuple[Commands, Kafka, int]]:
    """The commands, the broker, and the id of the trades' schema."""
    found = Commands(home / "home")
    with announced(found) as (broker, ids):
        yield found, broker, ids[raw.topic]


@contextmanager
def lander(ql: Commands, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    script = ql.folder / "lander.py"
    script.write_text(LANDER.replace("sys.argv.pop()", repr(str(ql.folder / "peak"))))
    command = [sys.executable, str(script), "land", "--topic", raw.topic, *arguments]
    process = subprocess.Popen(command, env=ql.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def peak_bytes(ql: Commands) -> int:
    return int((ql.folder / "peak").read_text().split()[0]) * 1024


def trades(schema_id: int, first: int, count: int, conditions: str = "") -> list[Message]:
    frame = pl.DataFrame({"n": pl.int_range(first, first + count, eager=True)}).select(
        symbol="S" + (pl.col("n") % 200).cast(pl.String), venue=pl.lit("usa"), trade_id=pl.col("n").cast(pl.String), price=pl.lit(Decimal("25.5")),
        size=pl.lit(Decimal(1)), side=pl.lit("buy"), exchange=None, conditions=pl.lit(conditions or None), event_time=AT + pl.duration(microseconds="n"),
        known_at=AT + timedelta(hours=1), partition_date=AT.date(), source_name=pl.lit("test"), source_version=None, source_records=None,
        line_number=pl.col("n"),
    )  # fmt: skip
    return encode(raw, typed(raw, frame), schema_id)


def large(schema_id: int, seed: int) -> Iterable[Message]:
    """Valid ones just below the contract's limit, others of 10 MB, keys and headers of 1 MB; text that packs to its half, not to nothing."""
    chance = random.Random(seed)
    for n in range(LARGE):
        size = 10_000_000 if n % 3 == 0 else raw.max_message_bytes - 500
        yield from trades(schema_id, n, 1, chance.randbytes(size // 2).hex())
    for n in range(LARGE):
        (message,) = trades(schema_id, n, 1)
        yield replace(message, key=chance.randbytes(1 << 20)) if n % 2 else replace(message, headers=(("h", chance.randbytes(1 << 20)),))


def require_landed(ql: Commands, broker: Kafka, rows: int, dead: int) -> None:
    found = audit(raw, lake=Iceberg.embedded(ql.home / "lake", ql.home / "locks"), broker=broker)
    assert all(a.clean and a.pending == 0 for a in found), [a.reason for a in found]
    assert (sum(a.rows for a in found), sum(a.dead_letters for a in found)) == (rows, dead)


def test_messages_of_10_mb_and_many_small_ones_stay_below_1_gb(ql: tuple[Commands, Kafka, int]) -> None:
    commands, broker, schema_id = ql
    for first in range(0, SMALL, 50_000):
        broker.produce(raw.topic, trades(schema_id, first, 50_000))
    broker.produce(raw.topic, large(schema_id, 1))
    with lander(commands) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and not err.strip(), (out, err)
    require_landed(commands, broker, SMALL + 2 * LARGE - LARGE // 3, LARGE // 3)
    assert peak_bytes(commands) < MOST_BYTES


@pytest.mark.faults
def test_a_follower_too_stays_below_1_gb(ql: tuple[Commands, Kafka, int]) -> None:
    commands, broker, schema_id = ql
    for first in range(0, SMALL, 50_000):
        broker.produce(raw.topic, trades(schema_id, first, 50_000))
    broker.produce(raw.topic, large(schema_id, 2))
    lake = Iceberg.embedded(commands.home / "lake", commands.home / "locks")
    with lander(commands, "--follow") as process:
        wait_for(lambda: sum(lake.counts(raw.spec).values()) == SMALL + 2 * LARGE or process.poll() is not None, 120)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    require_landed(commands, broker, SMALL + 2 * LARGE - LARGE // 3, LARGE // 3)
    assert peak_bytes(commands) < MOST_BYTES
