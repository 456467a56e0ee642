"""Redriving: a dead letter that decodes becomes a row, once, wherever it is stopped; the offsets stay accounted for."""

import io
import json
import random
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import Column, Integer, QuantLakeError, Stream
from quantlake.contract.columns import StoragePartition
from quantlake.contract.schemas import avro
from quantlake.contract.wire import avro_record, subject
from quantlake.landing import redrive as redriving
from quantlake.landing.audit import audit
from quantlake.landing.land import land
from quantlake.landing.logs import PROPERTY
from quantlake.landing.redrive import Redriven, redrive
from quantlake.ports import Message
from quantlake.sources.encode import encode
from quantlake_tests.landing.ticks import START, numbers, produced, registered, rows, tick
from quantlake_tests.ports.children import child, ended, said, told

LATER = 2  # the id that the next schema gets
REDRIVER = """
import os, sys; from dataclasses import replace; from pathlib import Path
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.landing import redrive as redriving
from quantlake_tests.landing.ticks import ticks
home, topic, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
redriving.CHUNK_ROWS, lake = 20, Iceberg.embedded(home / "lake", home / "locks")
commit, commits = lake.catalog.commit_table, []
def dying(*arguments):
    commits.append(1)
    if len(commits) == 2 and how == "before": os.kill(os.getpid(), 9)
    made = commit(*arguments)
    if len(commits) == 2: os.kill(os.getpid(), 9)
    return made
if how in ("before", "after"): lake.catalog.commit_table = dying
print("ready", flush=True)
if how == "wait": sys.stdin.readline()
print(redriving.redrive(replace(ticks, topic=topic), registry=SqliteRegistry(home / "registry.db"), lake=lake).rows, flush=True)
"""


@pytest.fixture
def stream(broker: Kafka, registry: SqliteRegistry, topic: str) -> Stream:
    return registered(topic, broker, registry)


def dead(stream: Stream, broker: Kafka, first: int, stop: int, schema_id: int = LATER) -> None:
    """Ticks whose schema nobody has registered."""
    broker.produce(stream.topic, [replace(m, headers=(("h", b"\xff"),)) for m in encode(stream, rows(first, stop), schema_id)])


def register(stream: Stream, registry: SqliteRegistry) -> int:
    return registry.register(subject(stream), avro({**avro_record(stream), "doc": "again"}))


def landed(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    land(stream, broker=broker, registry=registry, lake=lake)


def dead_letters(stream: Stream, lake: Iceberg) -> list[dict[str, Any]]:
    return [r for r in lake.read(stream.spec).to_pylist() if r["_error_class"]]


def counted(stream: Stream, lake: Iceberg, broker: Kafka) -> tuple[int, int]:
    found = audit(stream, lake=lake, broker=broker)
    assert all(a.clean and a.pending == 0 for a in found), found
    return sum(a.rows for a in found), sum(a.dead_letters for a in found)


@pytest.mark.parametrize("storage", ["day", "year"])
def test_what_decodes_now_becomes_a_row_of_its_own_date(
    stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, storage: StoragePartition
) -> None:
    stream = replace(stream, storage_partition=storage)
    produced(stream, broker, registry, 0, 40)
    dead(stream, broker, 40, 70)
    broker.produce(stream.topic, [Message(b"x", b"plain"), Message(b"y", None)])
    landed(stream, broker, registry, lake)
    assert counted(stream, lake, broker) == (41, 31)
    before, head = {(r["_partition"], r["_offset"]): r for r in dead_letters(stream, lake)}, lake.last_commit(stream.spec)
    assert redrive(stream, registry=registry, lake=lake) == Redriven(still_dead=31) and lake.last_commit(stream.spec) == head
    assert register(stream, registry) == LATER
    offsets, arrived = lake.properties(stream.spec)[PROPERTY], {r["partition_date"] for r in before.values()}
    told: list[frozenset[date]] = []
    done = redrive(stream, registry=registry, lake=lake, report=lambda s, d: told.append(d))
    own = {START + timedelta(days=n) for n in range(5)}
    assert done == Redriven(30, 1, frozenset(own | arrived)) and told == [done.dates]
    assert numbers(stream, lake) == list(range(70)) and counted(stream, lake, broker) == (71, 1)
    assert [(r["_value"], r["_error_class"]) for r in dead_letters(stream, lake)] == [(b"plain", "framing")]
    came = [r for r in lake.read(stream.spec).to_pylist() if (r["_partition"], r["_offset"]) in before and r["number"] is not None]
    kept = ("_log", "_topic", "_timestamp", "_key", "_headers")
    for row in came:
        letter = before[row["_partition"], row["_offset"]]
        assert [row[c] for c in kept] == [letter[c] for c in kept] and json.loads(row["_headers"]) == [["h", "/w=="]]
        assert {c: row[c] for c in tick(0)} == tick(row["number"]) and row["_schema_id"] == LATER and row["_value"] is None
    assert lake.properties(stream.spec)[PROPERTY] == offsets
    assert head and {c.dates for c in lake.commits(stream.spec, head.sequence)} == {done.dates}
    head = lake.last_commit(stream.spec)
    assert redrive(stream, registry=registry, lake=lake) == Redriven(still_dead=1) and lake.last_commit(stream.spec) == head
    produced(stream, broker, registry, 70, 80)
    landed(stream, broker, registry, lake)
    assert counted(stream, lake, broker) == (81, 1)


def test_a_field_the_contract_gained_brings_its_messages_to_life(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg) -> None:
    wider = replace(stream, columns=(*stream.columns, Column("venue", Integer, "Where.", null=True)))
    schema = avro_record(wider)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), {**tick(3), "venue": 9})
    broker.produce(stream.topic, [Message(b"k", b"\0" + LATER.to_bytes(4, "big") + body.getvalue())])
    landed(stream, broker, registry, lake)
    assert [r["_error_class"] for r in dead_letters(stream, lake)] == ["unknown_schema"]
    assert registry.register(subject(stream), avro(schema)) == LATER
    arrived = frozenset(lake.counts(stream.spec))
    assert redrive(stream, registry=registry, lake=lake) == Redriven(still_dead=1, dates=arrived)
    assert [(r["_error_class"], "'venue'" in r["_error"]) for r in dead_letters(stream, lake)] == [("wrong_schema", True)], "the reason of today"
    assert redrive(wider, registry=registry, lake=lake).rows == 1
    assert lake.read(wider.spec, columns=["number", "venue"]).to_pylist() == [{"number": 3, "venue": 9}]


def test_dates_and_many_chunks_and_dates_outside(
    stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        dead(stream, broker, n * 15, n * 15 + 15)
        landed(stream, broker, registry, lake)
    late = replace(stream, first_date=START + timedelta(days=3))
    register(stream, registry)
    assert redrive(stream, registry=registry, lake=lake, dates=[START]) == Redriven() and numbers(stream, lake) == []
    monkeypatch.setattr(redriving, "CHUNK_ROWS", 15)
    head = lake.last_commit(stream.spec)
    done = redrive(late, registry=registry, lake=lake, dates=list(lake.counts(stream.spec)))
    assert (done.rows, done.still_dead, done.outside) == (60, 0, {START + timedelta(days=n) for n in range(3)})
    assert head and len(lake.commits(stream.spec, head.sequence)) > 3, "a chunk is a transaction"
    assert numbers(stream, lake) == list(range(60)) and counted(stream, lake, broker) == (60, 0)


def test_the_letters_of_every_log_and_of_no_table(stream: Stream, registry: SqliteRegistry, lake: Iceberg, broker: Kafka) -> None:
    assert redrive(stream, registry=registry, lake=lake) == Redriven()
    dead(stream, broker, 0, 20)
    landed(stream, broker, registry, lake)
    letters = lake.read(stream.spec)
    index = letters.schema.get_field_index("_log")
    other = letters.set_column(index, letters.schema.field(index), pa.array(["before/1"] * letters.num_rows))
    lake.append(stream.spec, other, properties={}, expected={})
    register(stream, registry)
    assert redrive(stream, registry=registry, lake=lake).rows == 40
    assert numbers(stream, lake) == sorted([*range(20), *range(20)])
    assert set(lake.read(stream.spec)["_log"].to_pylist()) == {"before/1", broker.log_id(stream.topic)}


def test_letters_another_writer_took_are_not_taken_again(
    stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that our file locks do not reach redrives the same letters between our read and our commit, and within it."""
    dead(stream, broker, 0, 30)
    landed(stream, broker, registry, lake)
    register(stream, registry)
    elsewhere = Iceberg.embedded(home / "lake", home / "other-locks")
    rows_of = lake._rows

    def interfere(*arguments: Any) -> pa.Table:
        monkeypatch.undo()
        assert redrive(stream, registry=registry, lake=elsewhere).rows == 30
        return rows_of(*arguments)

    letters = lake.read(stream.spec)
    monkeypatch.setattr(lake, "_rows", interfere)
    with pytest.raises(QuantLakeError, match="another writer meanwhile, and nothing was committed"):
        redrive(stream, registry=registry, lake=lake)
    assert numbers(stream, lake) == list(range(30)) and counted(stream, lake, broker) == (30, 0)
    with pytest.raises(QuantLakeError, match="has 0 of the 30 rows to replace: another writer"):
        lake.replace(stream.spec, letters, letters)
    assert numbers(stream, lake) == list(range(30)) and counted(stream, lake, broker) == (30, 0)


def test_a_commit_that_fails_leaves_the_letters(
    stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(stream, broker, 0, 30)
    landed(stream, broker, registry, lake)
    register(stream, registry)

    def full(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(lake.catalog, "commit_table", full)
        with pytest.raises(QuantLakeError, match="No space left"):
            redrive(stream, registry=registry, lake=lake)
    assert numbers(stream, lake) == [] and counted(stream, lake, broker) == (0, 30)
    assert redrive(stream, registry=registry, lake=lake).rows == 30


def many(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, commits: int) -> None:
    """25 dead letters in each of some commits, their schema registered since."""
    for n in range(commits):
        dead(stream, broker, n * 25, n * 25 + 25)
        landed(stream, broker, registry, lake)
    register(stream, registry)


def test_two_at_once_bring_each_letter_once(stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path) -> None:
    many(stream, broker, registry, lake, 2)
    pair = [child(REDRIVER, home, stream.topic, "wait") for _ in range(2)]
    for c in pair:
        assert said(c) == "ready"
    for c in pair:
        told(c, "go")
    assert sorted(int(said(c)) for c in pair) == [0, 50] and [ended(c) for c in pair] == [0, 0]
    assert numbers(stream, lake) == list(range(50)) and counted(stream, lake, broker) == (50, 0)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_redriver_killed_around_its_second_commit(
    stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path, moment: str
) -> None:
    many(stream, broker, registry, lake, 3)
    redriver = child(REDRIVER, home, stream.topic, moment)
    assert said(redriver) == "ready" and ended(redriver) == -9
    came = {"before": 25, "after": 50}[moment]
    assert len(numbers(stream, lake)) == came and counted(stream, lake, broker) == (came, 75 - came)
    assert redrive(stream, registry=registry, lake=lake).rows == 75 - came
    assert numbers(stream, lake) == list(range(75)) and counted(stream, lake, broker) == (75, 0)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(3))
def test_redrivers_killed_at_any_time_lose_nothing_and_repeat_nothing(
    stream: Stream, broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path, seed: int
) -> None:
    many(stream, broker, registry, lake, 16)
    chance, met = random.Random(seed), 0
    for _ in range(4):
        redriver = child(REDRIVER, home, stream.topic, "work")
        assert said(redriver) == "ready"
        time.sleep(chance.uniform(0.5, 2.5))
        redriver.kill()
        ended(redriver)
        assert sum(counted(stream, lake, broker)) == 400
        met += 0 < len(numbers(stream, lake)) < 400
    assert met, "a kill met a redriver at work"
    redrive(stream, registry=registry, lake=lake)
    assert numbers(stream, lake) == list(range(400)) and counted(stream, lake, broker) == (400, 0)
