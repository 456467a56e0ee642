"""Any batching of the same messages: the same raw rows, whatever groups and commits they came in, and so the same curated content."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import Stream, Table
from quantlake.contract.fingerprint import fingerprints
from quantlake.landing import land as landing
from quantlake.landing.audit import audit
from quantlake.orchestration.build import build
from quantlake.ports import Message
from quantlake.settings import Settings
from quantlake.wiring import Adapters
from quantlake_tests.conftest import temporary_folder
from quantlake_tests.landing.ticks import produced, registered, ticks

TICKS = 60


@pytest.fixture
def stream(broker: Kafka, registry: SqliteRegistry, topic: str) -> Stream:
    """Ticks with repeats, dead letters and tombstones between them."""
    found = registered(topic, broker, registry)
    for first in range(0, TICKS, 30):
        produced(found, broker, registry, first, first + 30)
        produced(found, broker, registry, first, first + 10)
        broker.produce(topic, [Message(b"S1", b"plain"), Message(b"S2", None), Message(None, b"")])
    return found


def curated(stream: Stream, broker: Kafka, registry: SqliteRegistry, home: Path, group_rows: int, commit_rows: int) -> tuple[object, object]:
    """The raw rows in order of their offsets, and the curated table's fingerprints with ``superseded_at``."""
    adapters = Adapters(Settings(home=home))
    adapters.__dict__ |= {"broker": broker, "registry": registry}
    lake: Iceberg = adapters.lake  # type: ignore[assignment]
    landing.GROUP_ROWS, before = group_rows, landing.GROUP_ROWS
    try:
        landing.land(stream, broker=broker, registry=registry, lake=lake, commit_rows=commit_rows)
    finally:
        landing.GROUP_ROWS = before
    assert all(a.clean and a.pending == 0 for a in audit(stream, lake=lake, broker=broker))
    columns = tuple(c for c in ticks.columns if c.name != "at")
    table = Table("quantlake_tests.landing.ticks", of=stream, doc="x", owner="tests", key=("symbol", "number"), columns=columns_of(columns))

    @table.build
    def known(rows):  # type: ignore[no-untyped-def]
        return rows.with_columns(known_at="at")

    assert all(outcome.good for chunk in build(table, sorted(lake.counts(stream.spec)), adapters, "test") for outcome in chunk)
    raw = lake.read(stream.spec).sort_by([("_partition", "ascending"), ("_offset", "ascending")])
    return raw.to_pylist(), fingerprints(lake.read(table.spec), table.stored_columns)


def columns_of(columns: tuple) -> tuple:  # type: ignore[type-arg]
    from quantlake.contract import Column, Timestamp

    return (*columns, Column("known_at", Timestamp, "When it could be known.", null=True))


@settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(3, 60), st.integers(10, 200))
def test_any_batching_gives_the_same_content(
    stream: Stream, broker: Kafka, registry: SqliteRegistry, group_rows: int, commit_rows: int
) -> None:
    with temporary_folder() as one, temporary_folder() as other:
        raw, content = curated(stream, broker, registry, one, 1000, 1000)
        assert curated(stream, broker, registry, other, group_rows, commit_rows) == (raw, content)
        assert content
