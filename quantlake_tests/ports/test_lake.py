"""What every lake does, on every catalogue: tables follow their contract, dates are replaced, appends carry properties or are refused."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.contract import (
    PARTITION_DATE,
    Boolean,
    Bytes,
    Column,
    Float,
    Integer,
    Price,
    QuantLakeError,
    TableSpec,
    Text,
    TextList,
    Timestamp,
    Vector,
)  # fmt: skip
from quantlake.contract.columns import StoragePartition
from quantlake.ports import Maintained
from quantlake_tests.ports.children import child, ended, said, told
from quantlake_tests.ports.lakes import EVERY, lake_of, made, stored

PORT = "Lake"
JANUARY, LATER, FEBRUARY = date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1)
COLUMNS = (
    Column("id", Text, "The row's name, e.g. 'a'."),
    Column("price", Price, "Exact.", null=True),
    Column("number", Integer, "64 bits.", null=True),
    Column("ratio", Float, "Any float.", null=True),
    Column("good", Boolean, "Yes or no.", null=True),
    Column("body", Bytes, "Bytes.", null=True),
    Column("tags", TextList, "Several texts.", null=True),
    Column("vector", Vector, "Numbers.", null=True),
    Column("at", Timestamp, "UTC.", null=True),
    PARTITION_DATE,
)
SPEC = TableSpec("raw", "test", "things", COLUMNS, "month", ("id",), "One row a thing; it's {so}.")
MORE = replace(SPEC, columns=(*COLUMNS, Column("more", Text, "Added later.", null=True)))
OPEN = """
import sys; from datetime import date; from pathlib import Path
from quantlake_tests.ports.test_lake import *
lake = lake_of(Path(sys.argv[1]))
"""


@pytest.fixture(params=EVERY)
def adapter_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lake(adapter_name: str, home: Path, request: pytest.FixtureRequest) -> Iterator[Iceberg]:
    with made(adapter_name, home, request) as lake:
        yield lake


def things(*rows: dict[str, Any], spec: TableSpec = SPEC) -> pa.Table:
    return pa.Table.from_pylist([{"id": "a", "partition_date": JANUARY, **row} for row in rows], pa.schema([f.with_nullable(True) for f in spec.arrow]))


def ids(lake: Iceberg, spec: TableSpec = SPEC, dates: list[date] | None = None) -> list[str]:
    return sorted(lake.read(spec, dates, ["id"])["id"].to_pylist())


def append(lake: Iceberg, name: str, expected: str, offsets: str, rows: int = 1) -> None:
    with lake.lock(SPEC):
        lake.append(SPEC, things(*[{"id": name}] * rows), properties={"offsets": offsets}, expected={"offsets": expected})


def test_an_absent_table_is_empty(lake: Iceberg) -> None:
    assert not lake.exists(SPEC) and lake.counts(SPEC) == {} and lake.properties(SPEC) == {} and lake.last_commit(SPEC) is None
    assert lake.read(SPEC, [JANUARY]).num_rows == 0 and lake.files(SPEC).paths == ()
    lake.ensure(SPEC)
    lake.ensure(SPEC)
    assert lake.exists(SPEC) and lake.counts(SPEC) == {} and lake.last_commit(SPEC) is None
    assert [(f.name, f.type) for f in lake.read(SPEC).schema] == [(f.name, f.type) for f in SPEC.arrow]


def test_rows_are_read_as_the_contract_types_them(lake: Iceberg) -> None:
    rows = things(
        {"id": "naïve 東京 🚀 \0", "price": Decimal("-99999999999999999999.999999999999999999"), "number": -(2**63), "tags": ["é", "", "a,{}"]},
        {"id": "", "price": Decimal("1E-18"), "ratio": float("inf"), "good": False, "body": b"\0\xff", "tags": [], "vector": [0.1, -1.0]},
        {"id": "c", "number": 2**63 - 1, "at": datetime(1900, 1, 1, 0, 0, 0, 1, tzinfo=UTC), "vector": []},
    )
    lake.publish(SPEC, [JANUARY], rows)
    assert lake.read(SPEC).equals(rows)
    assert lake.read(SPEC, columns=["tags", "id"]).equals(rows.select(["id", "tags"]))


@pytest.mark.parametrize("storage", ["day", "month", "year"])
def test_publishing_replaces_its_dates_and_no_other(lake: Iceberg, storage: StoragePartition) -> None:
    spec = replace(SPEC, storage_partition=storage)
    days = [date(1969, 12, 31), date(1970, 1, 1), date(2023, 12, 31), JANUARY, LATER, FEBRUARY]
    lake.publish(spec, days, things(*({"id": str(n), "partition_date": day} for n, day in enumerate(days)), spec=spec))
    lake.publish(spec, [JANUARY, LATER], things({"id": "new"}, {"id": "newer"}))
    assert lake.counts(spec) == {days[0]: 1, days[1]: 1, days[2]: 1, JANUARY: 2, FEBRUARY: 1}
    assert ids(lake, spec, [JANUARY, LATER]) == ["new", "newer"]
    assert ids(lake, spec, [FEBRUARY, date(2020, 1, 1)]) == ["5"] and ids(lake, spec, []) == []
    lake.publish(spec, [JANUARY, days[0]], spec.arrow.empty_table())
    assert lake.counts(spec) == {days[1]: 1, days[2]: 1, FEBRUARY: 1}
    parts = {"day": 3, "month": 3, "year": 3}[storage]
    assert len(lake.files(spec).paths) == parts and len(lake.files(spec, [FEBRUARY]).paths) == 1


def test_many_dates_are_few_files(lake: Iceberg) -> None:
    spec = replace(SPEC, storage_partition="year")
    days = [date(2023, 1, 1) + timedelta(days=n) for n in range(500)]
    lake.publish(spec, days, things(*({"partition_date": d} for d in days), spec=spec))
    assert len(lake.files(spec).paths) == 2 and lake.counts(spec) == dict.fromkeys(days, 1)
    assert lake.read(spec, days[::2], ["id"]).num_rows == 250 and lake.read(spec, days[:3], ["id"]).num_rows == 3


def test_rows_of_other_dates_are_refused(lake: Iceberg) -> None:
    lake.publish(SPEC, [JANUARY], things({"id": "old"}))
    for strangers in ([LATER], [LATER, None]):
        with pytest.raises(QuantLakeError, match=r"rows of 2024-01-31.* were offered for publication as 2024-01-30"):
            lake.publish(SPEC, [JANUARY], things({}, *({"partition_date": d} for d in strangers)))
    assert ids(lake) == ["old"]


def test_a_column_may_be_added_and_none_may_change(lake: Iceberg) -> None:
    lake.publish(SPEC, [JANUARY], things({"id": "old"}))
    lake.ensure(MORE)
    assert lake.read(MORE)["more"].to_pylist() == [None]
    lake.publish(MORE, [LATER], things({"id": "new", "more": "x", "partition_date": LATER}, spec=MORE))
    assert sorted(lake.read(MORE, columns=["id", "more"]).to_pylist(), key=str) == [{"id": "new", "more": "x"}, {"id": "old", "more": None}]
    assert ids(lake, SPEC) == ["new", "old"]  # by who does not know the column yet
    lake.publish(SPEC, [JANUARY], things({"id": "older"}))
    for changed in (Column("number", Text, "Now text."), Column("price", Float, "Now a float."), Column("tags", Text, "Now one.")):
        columns = tuple(changed if c.name == changed.name else c for c in COLUMNS)
        with pytest.raises(QuantLakeError, match=f"raw_test_things.{changed.name} is stored as .* a type cannot change"):
            lake.ensure(replace(SPEC, columns=columns))
    assert ids(lake) == ["new", "older"]


def test_files_are_read_directly_also_those_before_a_column_was_added(lake: Iceberg) -> None:
    lake.publish(SPEC, [JANUARY], things({"id": "old", "price": Decimal("1.5"), "tags": ["x"]}))
    lake.ensure(MORE)
    lake.publish(MORE, [FEBRUARY], things({"id": "new", "more": "x", "partition_date": FEBRUARY}, spec=MORE))
    files = lake.files(MORE)
    fields = ", ".join(f"{i}: {{name: '{name}', type: '{kind}', default_value: NULL}}" for i, (name, kind) in files.fields.items())
    with duckdb.connect() as connection:
        if files.file_system is not None:
            connection.register_filesystem(files.file_system)
        sql = f"SELECT id, more, price, tags FROM read_parquet({list(files.paths)}, schema = MAP {{{fields}}}) ORDER BY id"
        assert connection.execute(sql).fetchall() == [("new", "x", None, None), ("old", None, Decimal("1.5"), ["x"])]
    last = lake.last_commit(MORE)
    assert last and last.snapshot_id == files.snapshot_id and abs(last.committed_at.timestamp() - time.time()) < 60


def test_commits_are_listed_with_their_dates_and_read_back(lake: Iceberg) -> None:
    assert lake.commits(SPEC) == []
    lake.publish(SPEC, [JANUARY, LATER], things({"id": "a"}, {"id": "b", "partition_date": LATER}))
    lake.publish(MORE, [LATER], things({"id": "c", "partition_date": LATER}))
    append(lake, "d", "", "1")
    made = lake.commits(SPEC)
    assert [c.sequence for c in made] == list(range(1, len(made) + 1)) and made[-1] == lake.last_commit(SPEC)
    assert [c.dates for c in made if c.dates != frozenset({LATER})] == [frozenset({JANUARY, LATER}), frozenset({JANUARY})]
    assert lake.commits(SPEC, made[-2].sequence) == made[-1:] and lake.commits(SPEC, made[-1].sequence) == []
    assert sorted(lake.read(SPEC, snapshot_id=made[0].snapshot_id)["id"].to_pylist()) == ["a", "b"]
    lake.ensure(MORE)
    then = lake.read(MORE, [LATER], ["id", "more"], snapshot_id=made[-1].snapshot_id)
    assert then.to_pylist() == [{"id": "c", "more": None}]
    with pytest.raises(QuantLakeError, match="no longer keeps snapshot 7"):
        lake.read(SPEC, snapshot_id=7)


def test_rows_come_a_file_at_a_time_of_one_snapshot(lake: Iceberg) -> None:
    assert list(lake.batches(SPEC, nulls={})) == []
    lake.ensure(SPEC)
    for n, name in enumerate("abc"):
        append(lake, name, str(n or ""), str(n + 1), rows=n + 1)
    parts = []
    for part in lake.batches(SPEC, ["id", "number"], nulls={}):
        parts.append(part)
        lake.publish(SPEC, [JANUARY], things({"id": "later"}))
    assert sorted(p.num_rows for p in parts) == [1, 2, 3] and all(p.schema.names == ["id", "number"] for p in parts)
    assert sorted(pa.concat_tables(parts)["id"].to_pylist()) == list("abbccc") and ids(lake) == ["later"]
    append(lake, "two", "3", "4")
    lake.append(SPEC, things({"id": "three", "number": 3}), properties={}, expected={})
    found = {null: [r["id"] for p in lake.batches(SPEC, ["id"], nulls={"number": null}) for r in p.to_pylist()] for null in (True, False)}
    assert {null: sorted(names) for null, names in found.items()} == {True: ["later", "two"], False: ["three"]}


def test_an_append_carries_its_properties(lake: Iceberg) -> None:
    with pytest.raises(QuantLakeError, match="no table raw_test_things"):
        append(lake, "x", "", "1")
    lake.ensure(SPEC)
    append(lake, "first", "", "1")
    append(lake, "second", "1", "2", rows=3)
    assert lake.properties(SPEC)["offsets"] == "2" and ids(lake) == ["first", "second", "second", "second"]
    lake.set_properties(SPEC, {"other": "kept"})
    append(lake, "none", "2", "3", rows=0)
    assert {k: v for k, v in lake.properties(SPEC).items() if k in ("offsets", "other")} == {"offsets": "3", "other": "kept"}
    assert len(ids(lake)) == 4


def test_an_append_that_expects_other_properties_is_refused(lake: Iceberg) -> None:
    lake.ensure(SPEC)
    append(lake, "first", "", "1")
    for expected in ("", "0", "2"):
        with pytest.raises(QuantLakeError, match="another writer committed offsets meanwhile"):
            append(lake, "stale", expected, "9")
    assert ids(lake) == ["first"] and lake.properties(SPEC)["offsets"] == "1"


@pytest.mark.parametrize("rows", [1, 0])
@pytest.mark.parametrize("first_rows", [1, 0])
def test_an_append_is_fenced_between_its_look_and_its_commit(lake: Iceberg, home: Path, rows: int, first_rows: int) -> None:
    """Another machine knows nothing of our file locks: the compare-and-set on the Iceberg commit alone must hold."""
    lake.ensure(SPEC)
    append(lake, "first", "", "1")
    table = lake._table(SPEC)
    other = lake_of(home, "other-locks")
    append(other, "second", "1", "2", first_rows)
    lake._table = lambda spec: table  # type: ignore[method-assign]  # what it had loaded just before
    with pytest.raises(QuantLakeError, match="another writer meanwhile, and nothing was committed"):
        append(lake, "stale", "1", "3", rows)
    assert ids(other) == ["first", "second"][: 1 + first_rows] and other.properties(SPEC)["offsets"] == "2"


def aged(lake: Iceberg, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Commits of 30, 20 and 3 days ago (by a moved clock) and of today; gives the snapshots of the last two."""
    lake.ensure(SPEC)
    here = time.time()
    with monkeypatch.context() as clock:
        for days in (30, 20):
            clock.setattr(time, "time", lambda days=days: here - days * 86_400)
            append(lake, f"a{days}", "" if days == 30 else "30", str(days))
            lake.publish(SPEC, [FEBRUARY], things({"id": f"p{days}", "partition_date": FEBRUARY}))
        old = len(lake.commits(SPEC))
        clock.setattr(time, "time", lambda: here - 3 * 86_400)
        lake.publish(SPEC, [FEBRUARY], things({"id": "p3", "partition_date": FEBRUARY}))
    append(lake, "a0", "20", "0")
    return [c.snapshot_id for c in lake.commits(SPEC)[old:]]


def test_maintenance_frees_what_only_expired_snapshots_had(lake: Iceberg, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lake.maintain(SPEC, timedelta(0)) == Maintained(0, 0, 0)
    kept = aged(lake, monkeypatch)
    made, files = lake.commits(SPEC), stored(lake, SPEC)
    then = [lake.read(SPEC, snapshot_id=s) for s in kept]
    freed = lake.maintain(SPEC, timedelta(days=7))
    gone = files.keys() - stored(lake, SPEC).keys()
    assert freed == Maintained(len(made) - len(kept), len(gone), sum(files[f] for f in gone))
    assert sum(f.endswith(".parquet") for f in gone) == 2  # p30 and p20; a30 and a20 are still there
    assert [lake.read(SPEC, snapshot_id=s) for s in kept] == then and ids(lake) == ["a0", "a20", "a30", "p3"]
    assert lake.commits(SPEC, 1) == lake.commits(SPEC) == made[-len(kept) :] and made[-len(kept)].sequence > 2
    assert lake.properties(SPEC)["offsets"] == "0"
    with pytest.raises(QuantLakeError, match="it has expired"):
        lake.read(SPEC, snapshot_id=made[0].snapshot_id)
    assert lake.maintain(SPEC, timedelta(days=7)) == Maintained(0, 0, 0)
    append(lake, "b", "0", "1")
    assert lake.maintain(SPEC, timedelta(0)).expired == len(kept) and lake.commits(SPEC) == [lake.last_commit(SPEC)]
    assert ids(lake) == ["a0", "a20", "a30", "b", "p3"] and len(lake.files(SPEC).paths) == sum(f.endswith(".parquet") for f in stored(lake, SPEC))


def test_maintenance_keeps_what_a_tag_names(lake: Iceberg, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = aged(lake, monkeypatch)
    tagged = lake.commits(SPEC)[0].snapshot_id
    table = lake._table(SPEC)
    assert table
    table.manage_snapshots().create_tag(tagged, "audited").commit()
    kept = [tagged, *kept]
    then = [lake.read(SPEC, snapshot_id=s) for s in kept]
    lake.maintain(SPEC, timedelta(days=7))
    assert [c.snapshot_id for c in lake.commits(SPEC)] == kept
    assert [lake.read(SPEC, snapshot_id=s) for s in kept] == then and ids(lake) == ["a0", "a20", "a30", "p3"]


def test_maintenance_loses_no_append_of_another_machine(lake: Iceberg, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine knows nothing of our locks: it commits after we looked, and again from what it had read before we committed."""
    aged(lake, monkeypatch)
    ours, other = lake._table(SPEC), lake_of(home, "other-locks")
    append(other, "b", "0", "1")
    theirs = other._table(SPEC)
    monkeypatch.setattr(lake, "_table", lambda spec: ours)
    assert lake.maintain(SPEC, timedelta(days=7)).expired == 5
    with monkeypatch.context() as before:
        before.setattr(other, "_table", lambda spec: theirs)
        append(other, "c", "1", "2")
    assert ids(other) == ["a0", "a20", "a30", "b", "c", "p3"] and other.properties(SPEC)["offsets"] == "2"


def test_a_maintenance_that_crashes_leaves_files_too_many_not_too_few(lake: Iceberg, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = aged(lake, monkeypatch)
    files, then = stored(lake, SPEC), [lake.read(SPEC, snapshot_id=s) for s in kept]
    monkeypatch.setattr("quantlake.adapters.lake.maintenance.delete", lambda io, files: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lake.maintain(SPEC, timedelta(days=7))
    assert stored(lake, SPEC).keys() >= files.keys()
    assert [c.snapshot_id for c in lake.commits(SPEC)] == kept and [lake.read(SPEC, snapshot_id=s) for s in kept] == then


def test_a_lock_is_exclusive_across_processes_and_freed_by_a_kill(lake: Iceberg, home: Path) -> None:
    holder = child(OPEN + "import time\nwith lake.lock(SPEC): print('held', flush=True); time.sleep(600)", home)
    assert said(holder) == "held"
    waiter = child(OPEN + "print('waiting', flush=True)\nwith lake.lock(SPEC): print('got', flush=True)", home)
    assert said(waiter) == "waiting"
    with lake.lock(replace(SPEC, name="other")):
        time.sleep(0.5)
    assert waiter.poll() is None
    holder.kill()
    assert ended(holder) == -9
    before = time.monotonic()
    assert said(waiter) == "got" and ended(waiter) == 0 and time.monotonic() - before < 5
    with lake.lock(SPEC):
        pass


def test_two_processes_publish_different_dates_of_one_month(lake: Iceberg, home: Path) -> None:
    lake.ensure(SPEC)
    publish = OPEN + """
day = date(2024, 1, int(sys.argv[2]))
print('ready', flush=True); sys.stdin.readline()
for n in range(6):
    with lake.lock(SPEC):
        lake.publish(SPEC, [day], things(*({"id": f"{day.day}-{n}", "partition_date": day},) * n))
"""
    children = [child(publish, home, str(day)) for day in (1, 2)]
    for c in children:
        assert said(c) == "ready"
    for c in children:
        told(c, "go")
    assert [ended(c) for c in children] == [0, 0]
    assert ids(lake) == ["1-5"] * 5 + ["2-5"] * 5


def test_processes_that_ensure_at_once_make_one_table_and_one_column(lake: Iceberg, home: Path) -> None:
    script = OPEN + "print('ready', flush=True); sys.stdin.readline(); lake.ensure(SPEC); lake.ensure(MORE); print(lake.counts(MORE))"
    children = [child(script, home) for _ in range(4)]
    for c in children:
        assert said(c) == "ready"
    for c in children:
        told(c, "go")
    assert [said(c) for c in children] == ["{}"] * 4 and [ended(c) for c in children] == [0] * 4


def test_a_column_another_process_added_meanwhile_is_no_conflict(lake: Iceberg, home: Path) -> None:
    lake.ensure(SPEC)
    with lake.lock(SPEC):
        waiting = child(OPEN + "print('ready', flush=True); lake.ensure(MORE); print(lake.counts(MORE))", home)
        assert said(waiting) == "ready"
        time.sleep(1.5)  # it has loaded the table, and waits for the lock
        lake_of(home, "other-locks").ensure(MORE)
    assert said(waiting) == "{}" and ended(waiting) == 0
