"""Raw partitions kept up with a lander's commits are what the lake says they are, whoever else writes between."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract.schemas import avro
from quantlake.contract.wire import avro_record, subject, wire_arrow, wire_schema
from quantlake.landing.decode import decode
from quantlake.landing.land import TOLD, Committed, Landed, partitions_of
from quantlake.landing.redrive import redrive
from quantlake.orchestration.landed import Kept, landed_outcomes
from quantlake.ports import Platform, Records
from quantlake.sources.encode import encode
from quantlake_tests.conftest import temporary_folder
from quantlake_tests.landing.ticks import START, tick, ticks

OUTSIDE = START - timedelta(days=1)
ARRIVED = 1_704_240_000_000  # on the third day from START: where dead letters and tombstones lie
KINDS = st.sampled_from(["row", "row", "row", "cut", "later", "tombstone", "plain", "outside"])
RECORDS = st.lists(st.tuples(KINDS, st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=12)
OPERATIONS = st.lists(
    st.one_of(st.tuples(st.just("ours"), RECORDS), st.tuples(st.just("ours"), RECORDS), st.tuples(st.sampled_from(["theirs", "redriven", "dropped"]), RECORDS)),
    min_size=1, max_size=7,
)  # fmt: skip
LATER = 2  # the schema that some are written with, and that a redrive finds registered


@dataclass
class World:
    """A raw table, and records that come to it."""

    lake: Iceberg
    registry: SqliteRegistry
    offset: int = 0

    @classmethod
    def opened(cls, home: Path) -> "World":
        world = cls(Iceberg.embedded(home / "lake", home / "locks"), SqliteRegistry(home / "registry.db"))
        world.registry.register(subject(ticks), wire_schema(ticks))
        world.lake.ensure(ticks.spec)
        return world

    @property
    def platform(self) -> Platform:
        return SimpleNamespace(lake=self.lake)  # type: ignore[return-value]

    def rows(self, some: Sequence[tuple[str, int, int]], log: str) -> pa.Table:
        values = [self._value(kind, day) for kind, day, _ in some]
        n, sizes = len(values), np.array([len(v or b"") for v in values])
        offsets = np.arange(self.offset, self.offset + n)
        self.offset += n
        partitions = np.array([p for _, _, p in some], np.int32)
        records = Records(partitions, offsets, np.full(n, ARRIVED), [b"k"] * n, [None] * n, values, sizes)
        return decode(ticks, records, log, self.registry)

    def _value(self, kind: str, day: int) -> bytes | None:
        row: dict[str, Any] = {**tick(self.offset), "partition_date": OUTSIDE if kind == "outside" else START + timedelta(days=day)}
        (message,) = encode(ticks, pa.Table.from_pylist([row], wire_arrow(ticks)), LATER if kind == "later" else 1)
        value = message.value or b""
        return {"tombstone": None, "plain": b"plain", "cut": value[:-3]}.get(kind, value)

    def committed(self, some: Sequence[tuple[str, int, int]], log: str) -> Committed:
        rows = self.rows(some, log)
        with self.lake.appender(ticks.spec) as appender:
            appender.write(rows)
            commit = appender.commit(properties={}, expected={})
        dead = rows.num_rows - rows["_error_class"].null_count
        return Committed(Landed(rows.num_rows - dead, dead, *partitions_of(ticks, rows["partition_date"])), commit, rows.select(TOLD))

    def dropped(self, day: date) -> None:
        self.lake.publish(ticks.spec, [day], ticks.spec.arrow.empty_table())

    def redriven(self) -> None:
        schema = avro({**avro_record(ticks), "doc": "later"})
        assert self.registry.register(subject(ticks), schema) == LATER
        redrive(ticks, registry=self.registry, lake=self.lake)


@settings(deadline=None, max_examples=10)
@given(OPERATIONS)
def test_what_is_kept_is_what_is_there(operations: list[tuple[str, list[tuple[str, int, int]]]]) -> None:
    with temporary_folder() as home:
        world = World.opened(home)
        kept = Kept(world.platform)
        for what, some in operations:
            if what == "ours":
                done = world.committed(some, "cluster/ours")
                found = kept.outcomes(ticks, done)
                assert found == landed_outcomes(ticks, sorted(done.landed.dates), world.platform)
                assert [o.partition for o in found] == sorted(done.landed.dates) and OUTSIDE not in done.landed.dates
                assert all(o.snapshot_id == done.commit.snapshot_id for o in found)
            elif what == "theirs":
                world.committed(some, "cluster/theirs")
            elif what == "dropped":
                world.dropped(START + timedelta(days=some[0][1]))
            else:
                world.redriven()


def test_days_are_not_read_again_for_each_commit(tmp_path: Path) -> None:
    world = World.opened(tmp_path)
    kept, read = Kept(world.platform), world.lake.read
    asked: list[list[date]] = []

    def counted(spec: Any, dates: Any = None, *arguments: Any, **named: Any) -> pa.Table:
        asked.extend([sorted(dates)] if dates else [])
        return read(spec, dates, *arguments, **named)

    world.lake.read = counted  # type: ignore[method-assign]
    for some in ([("row", 0, 0)], [("row", 0, 1), ("row", 1, 0)], [("row", 0, 0), ("row", 1, 0)]):
        kept.outcomes(ticks, world.committed(some, "cluster/ours"))
    assert asked == [[START], [START + timedelta(days=1)]]
    world.committed([("row", 0, 0)], "cluster/theirs")
    (outcome,) = kept.outcomes(ticks, world.committed([("row", 0, 0)], "cluster/ours"))
    assert asked[2:] == [[START]] and outcome.rows == 5


def test_what_a_partition_says(tmp_path: Path) -> None:
    world = World.opened(tmp_path)
    done = world.committed([("row", 0, 0), ("row", 0, 1), ("plain", 0, 0), ("tombstone", 0, 1), ("row", 0, 0)], "cluster/ours")
    (own, arrived) = Kept(world.platform).outcomes(ticks, done)
    assert (own.partition, own.rows, [(o.partition, o.first, o.last, o.records) for o in own.offsets]) == (START, 3, [(0, 0, 4, 2), (1, 1, 1, 1)])
    assert (arrived.partition, arrived.rows) == (date(2024, 1, 3), 0)
    assert [(o.log, o.partition, o.first, o.records) for o in arrived.offsets] == [("cluster/ours", 0, 2, 1), ("cluster/ours", 1, 3, 1)]
    assert [(r.passed, r.details) for o in (own, arrived) for r in o.results] == [(True, {"dead_letters": 0}), (False, {"dead_letters": 1})]
    assert own.version != arrived.version and landed_outcomes(ticks, None, world.platform) == [own, arrived]
