"""What every OLAP store does: dates are replaced, tables follow their contract, SQL runs over Arrow tables."""

import json
import math
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from quantlake.adapters.olap.clickhouse import ClickHouse
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
)
from quantlake.contract.columns import StoragePartition
from quantlake.contract.exact_sql import DUCKDB
from quantlake.ports import Olap
from quantlake_tests.ports.children import child, ended, said, told
from quantlake_tests.servers.clickhouse import ClickHouseServer

PORT = "Olap"
D1, D2 = date(2024, 1, 30), date(2024, 2, 1)
COLUMNS = (
    Column("symbol", Text, "It's a `symbol` \\ ü."),
    Column("at", Timestamp, "When."),
    Column("price", Price, "Price.", null=True),
    Column("count", Integer, "Count.", null=True),
    Column("ratio", Float, "Ratio.", null=True),
    Column("odd", Boolean, "Odd.", null=True),
    Column("body", Bytes, "Any bytes.", null=True),
    Column("flags", TextList, "Flags."),
    PARTITION_DATE,
)
SPEC = TableSpec("rollup", "market", "things", COLUMNS, key=("symbol", "at"), doc="A thing's {doc}.")


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "clickhouse", tmp_path / "locks"


@pytest.fixture(params=["embedded", pytest.param("clickhouse", marks=pytest.mark.servers)])
def adapter_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(adapter_name: str) -> str:
    return "quantlake" if adapter_name == "embedded" else f"test_{uuid.uuid4().hex}"


@pytest.fixture
def olap(adapter_name: str, database: str, places: tuple[Path, Path], request: pytest.FixtureRequest) -> Iterator[Olap]:
    if adapter_name == "embedded":
        yield ClickHouse.embedded(*places, wait_seconds=1)
        return
    named: ClickHouseServer = request.getfixturevalue("clickhouse_server")
    server = ClickHouse.server(named.host, named.port, named.username, named.password, named.secure, database, locks=places[1])
    yield server
    with server._session() as client:
        client.command(f"DROP DATABASE IF EXISTS {database}")


def things(day: date, *symbols: str, price: str | None = "1.5", spec: TableSpec = SPEC) -> pa.Table:
    at = datetime(day.year, day.month, day.day, 14, 30, 0, 1, tzinfo=UTC)
    row = {
        "at": at, "price": Decimal(price) if price else None, "count": -1, "ratio": 0.1, "odd": True, "body": b"\xff\x00",
        "flags": ["zero_size", "é"], "partition_date": day,
    }  # fmt: skip
    return pa.Table.from_pylist([{"symbol": s, **row} for s in symbols], schema=spec.arrow)


def symbols(olap: Olap, spec: TableSpec = SPEC) -> list[tuple[date, str]]:
    rows = olap.read(spec, columns=("partition_date", "symbol"))
    return list(zip(rows["partition_date"].to_pylist(), rows["symbol"].to_pylist(), strict=True))


def test_an_absent_table_is_empty(olap: Olap) -> None:
    assert not olap.exists(SPEC)
    assert olap.counts(SPEC) == {}
    assert olap.read(SPEC, [D1]).equals(SPEC.arrow.empty_table())
    olap.ensure(SPEC)
    assert olap.exists(SPEC)
    assert olap.read(SPEC).equals(SPEC.arrow.empty_table())


def test_rows_come_back_as_they_went_in(olap: Olap) -> None:
    low, high = "-99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"
    odd = things(D1, "BÄR'`\\{input}", price=high)
    rows = pa.concat_tables([things(D1, "AAPL", price=low), odd, things(D1, "C", price=None)])
    olap.publish(SPEC, [D1], rows)
    assert olap.read(SPEC).equals(rows)
    assert olap.read(SPEC, [D1], ["body", "symbol"]).equals(rows.select(["body", "symbol"]))
    assert olap.counts(SPEC) == {D1: 3}


def test_numbers_times_and_texts_at_their_ends_come_back(olap: Olap) -> None:
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    rows = [
        {"symbol": "", "at": first, "count": 2**63 - 1, "ratio": float("inf"), "body": b"", "flags": []},
        {"symbol": " ", "at": last, "count": -(2**63), "ratio": float("-inf"), "body": bytes(range(256)) * 4_000, "flags": [""]},
        {"symbol": "a\0b", "at": last, "count": 0, "ratio": 5e-324, "odd": False, "flags": ["x" * 100_000]},
        {"symbol": "e\u0301", "at": first, "ratio": -1.7976931348623157e308, "flags": ["é"] * 50_000},
        {"symbol": "שלום 東京 🚀", "at": first, "ratio": -0.0, "price": Decimal("1E-18"), "flags": []},
        {"symbol": "東" * 1_000_000, "at": first, "flags": []},
    ]
    table = pa.Table.from_pylist([{"partition_date": D1, **row} for row in rows], SPEC.arrow)
    olap.publish(SPEC, [D1], table)
    assert olap.read(SPEC).equals(table)
    assert str(olap.read(SPEC, columns=["ratio"])["ratio"][4].as_py()) == "-0.0"
    olap.publish(SPEC, [D1], table.slice(0, 1).set_column(4, "ratio", pa.array([float("nan")])))
    assert math.isnan(olap.read(SPEC)["ratio"][0].as_py())


def test_the_first_and_the_last_year_are_kept(olap: Olap) -> None:
    days = [date(1, 1, 1), date(1899, 12, 31), date(2300, 1, 1), date(9999, 12, 31)]
    rows = pa.concat_tables([things(day, "A") for day in days])
    olap.publish(SPEC, days, rows)
    assert olap.read(SPEC).equals(rows)
    assert olap.counts(SPEC) == dict.fromkeys(days, 1)
    olap.publish(SPEC, days[:1], SPEC.arrow.empty_table())
    assert olap.counts(SPEC) == dict.fromkeys(days[1:], 1)


def test_ten_thousand_rows_are_published_at_once(olap: Olap) -> None:
    rows = things(D1, *(f"{n:05}" for n in range(10_000)))
    olap.publish(SPEC, [D1], rows)
    assert olap.read(SPEC).equals(rows)


WRITER = """
import os, sys
from quantlake_tests.ports.test_olap import *
place = json.loads(sys.argv[1])
olap = ClickHouse.embedded(*map(Path, place)) if len(place) == 2 else ClickHouse.server(*place)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(3):
    olap.publish(SPEC, [D1], things(D1, *(f"{sys.argv[2]}-{n}" for n in range(100))))
"""


def test_processes_that_publish_the_same_date_leave_one_of_them_whole(
    olap: Olap, adapter_name: str, database: str, places: tuple[Path, Path], request: pytest.FixtureRequest
) -> None:
    place: list[Any] = [str(p) for p in places]
    if adapter_name == "clickhouse":
        named: ClickHouseServer = request.getfixturevalue("clickhouse_server")
        place = [named.host, named.port, named.username, named.password, named.secure, database]
    writers = [child(WRITER, json.dumps(place), str(n)) for n in range(3)]
    for writer in writers:
        assert said(writer) == "ready"
    for writer in writers:
        told(writer, "go")
    assert [ended(writer) for writer in writers] == [0, 0, 0]
    found = [symbol for _, symbol in symbols(olap)]
    assert len(found) == 100 and len({symbol.split("-")[0] for symbol in found}) == 1


def test_publish_replaces_its_dates_only(olap: Olap) -> None:
    olap.publish(SPEC, [D1, D2], pa.concat_tables([things(D1, "A", "B"), things(D2, "A")]))
    olap.publish(SPEC, [D1], things(D1, "C"))
    assert symbols(olap) == [(D1, "C"), (D2, "A")]
    assert olap.read(SPEC, [D2])["symbol"].to_pylist() == ["A"]
    assert olap.read(SPEC, []).num_rows == 0


def test_no_rows_clear_a_date(olap: Olap) -> None:
    olap.publish(SPEC, [D1, D2], pa.concat_tables([things(D1, "A"), things(D2, "A")]))
    olap.publish(SPEC, [D1, D2 + timedelta(1)], SPEC.arrow.empty_table())
    assert olap.counts(SPEC) == {D2: 1}


@pytest.mark.parametrize("layout", ["month", "year"])
def test_larger_storage_partitions_keep_their_other_dates(olap: Olap, layout: StoragePartition) -> None:
    spec = replace(SPEC, storage_partition=layout)
    days = [D1, D1 + timedelta(1), D2]
    olap.publish(spec, days, pa.concat_tables([things(d, "A", "B") for d in days]))
    olap.publish(spec, [D1, D2], things(D2, "C"))
    assert symbols(olap, spec) == [(days[1], "A"), (days[1], "B"), (D2, "C")]


def test_many_dates_at_once(olap: Olap) -> None:
    days = [D1 + timedelta(n) for n in range(120)]
    olap.publish(SPEC, days, pa.concat_tables([things(d, "A") for d in days]))
    assert olap.counts(SPEC) == dict.fromkeys(days, 1)


def test_rows_that_cannot_be_kept_are_refused_before_anything_changes(olap: Olap) -> None:
    olap.publish(SPEC, [D1], things(D1, "A"))
    with pytest.raises(QuantLakeError, match="2024-02-01, which is not among the dates"):
        olap.publish(SPEC, [D1], things(D2, "A"))
    hollow = things(D1, "A").set_column(0, "symbol", pa.array([None], pa.string()))
    with pytest.raises(QuantLakeError, match="symbol"):
        olap.publish(SPEC, [D1], hollow)
    null_flags = things(D1, "A").set_column(7, "flags", pa.array([[None]], pa.list_(pa.string())))
    with pytest.raises(QuantLakeError, match="flags has nulls"):
        olap.publish(SPEC, [D1], null_flags)
    with pytest.raises(QuantLakeError, match="no column price"):
        olap.publish(SPEC, [D1], things(D1, "A").drop_columns(["price"]))
    assert symbols(olap) == [(D1, "A")]


def test_a_null_in_the_key_is_refused(olap: Olap) -> None:
    spec = replace(SPEC, key=("symbol", "count"))
    with pytest.raises(QuantLakeError, match="count has nulls, which ClickHouse cannot keep in Int64"):
        olap.publish(spec, [D1], things(D1, "A").set_column(3, "count", pa.array([None], pa.int64())))


def test_a_table_gains_nullable_columns(olap: Olap) -> None:
    olap.publish(SPEC, [D1], things(D1, "A"))
    wider = replace(SPEC, columns=(*COLUMNS[:2], Column("extra", Text, "New.", null=True), *COLUMNS[2:]))
    olap.ensure(wider)
    olap.ensure(wider)
    olap.publish(wider, [D2], things(D2, "A", spec=wider))
    assert olap.read(wider)["extra"].to_pylist() == [None, None]
    assert olap.read(wider).schema.equals(wider.arrow)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (replace(SPEC, columns=(*COLUMNS, Column("extra", Text, "New."))), "extra is new and not nullable"),
        (replace(SPEC, columns=tuple(replace(c, type=Float) if c.name == "price" else c for c in COLUMNS)), "price is Nullable"),
        (replace(SPEC, columns=tuple(c for c in COLUMNS if c.name != "odd")), "odd is not in the contract"),
        (replace(SPEC, key=("symbol",)), "ordered by symbol, at"),
        (replace(SPEC, storage_partition="month"), "partitioned by toYYYYMMDD"),
    ],
)
def test_incompatible_changes_are_refused(olap: Olap, changed: TableSpec, says: str) -> None:
    olap.ensure(SPEC)
    with pytest.raises(QuantLakeError, match=says):
        olap.ensure(changed)


def test_transform_runs_sql_over_its_inputs(olap: Olap) -> None:
    left = pa.table({"k": ["a", "b"], "n": pa.array([1, None], pa.int64())})
    right = pa.table({"k": pa.array(["a"], pa.large_string()), "x": [Decimal("2.50")]})
    schema = pa.schema([pa.field("k", pa.string(), nullable=False), pa.field("x", pa.decimal128(38, 18))])
    sql = "SELECT l.k AS k, r.x AS x, '{other}' AS unused FROM {left} AS l LEFT JOIN {right} AS r ON l.k = r.k ORDER BY k"
    result = olap.transform(sql, {"left": left, "right": right}, schema)
    assert result.equals(pa.table({"k": ["a", "b"], "x": [Decimal("2.5"), None]}, schema=schema))
    assert olap.transform(sql, {"left": left.slice(0, 0), "right": right}, schema).num_rows == 0


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT toDecimal256('100000000000000000000', 18) AS x", "precision"),
        ("SELECT toDecimal128(toDecimal256('100000000000000000000', 18), 18) AS x", "precision"),
        ("SELECT NULL AS x", "null"),
        ("SELECT 1 AS y", "no column x"),
        ("SELECT nonsense(1) AS x", "nonsense"),
    ],
)
def test_transform_refuses_what_does_not_fit(olap: Olap, sql: str, says: str) -> None:
    with pytest.raises(QuantLakeError, match=says):
        olap.transform(sql, {}, pa.schema([pa.field("x", pa.decimal128(38, 18), nullable=False)]))


def test_whole_numbers_of_256_bits_are_summed_exactly_or_not_at_all(olap: Olap) -> None:
    most, least = (1 << 256) - 1, -(1 << 255)
    schema = pa.schema([("sum", pa.string()), ("most", pa.string())])

    def summed(kind: str, *values: int) -> str:
        rows = pa.table({"value": [str(v) for v in values]})
        sql = f"SELECT {kind}_sum(value) AS sum, toString(max({kind}(value))) AS most FROM {{input}}"
        found = olap.transform(sql, {"input": rows}, schema).to_pylist()[0]
        (ours,) = duckdb_row(f"SELECT {kind}_sum(value), CAST(max({kind}(value)) AS VARCHAR) FROM rows", rows)
        assert (found["sum"], found["most"]) == ours
        return str(found["sum"])

    for kind, values in (("u256", (1, most - 1)), ("u256", (9, 10, 5)), ("i256", (least, most >> 1, -1)), ("i256", (-(1 << 128), -1, 7))):
        assert summed(kind, *values) == str(sum(values))
    for kind, values in (("u256", (1, most)), ("i256", (least, -1)), ("i256", (most >> 1, 1))):
        with pytest.raises(QuantLakeError, match="a sum does not fit 256 bits"):
            summed(kind, *values)


def duckdb_row(sql: str, rows: pa.Table) -> list[tuple[str, ...]]:
    with duckdb.connect() as connection:
        connection.execute("; ".join(DUCKDB))
        connection.register("rows", rows)
        return connection.sql(sql).fetchall()


def test_nothing_is_left_behind(olap: Olap, database: str) -> None:
    olap.publish(SPEC, [D1], things(D1, "A"))
    with pytest.raises(QuantLakeError):
        olap.transform("SELECT nonsense({input})", {"input": things(D1, "A")}, pa.schema([]))
    tables = olap.transform(f"SELECT name FROM system.tables WHERE database = '{database}'", {}, pa.schema([("name", pa.string())]))
    assert tables["name"].to_pylist() == [SPEC.sql_name]


def test_the_writers_lock_does_not_stop_its_own_publish(olap: Olap) -> None:
    with olap.lock(SPEC):
        olap.publish(SPEC, [D1], things(D1, "A"))
    assert olap.counts(SPEC) == {D1: 1}


HOLDER = """
import sys
from pathlib import Path
from quantlake.adapters.olap.clickhouse import SCRATCH, ClickHouse
folder, locks = map(Path, sys.argv[1:])
with ClickHouse.embedded(folder, locks)._session() as client:
    client.command(f"CREATE TABLE quantlake.{SCRATCH}killed (x Int64) ENGINE = MergeTree ORDER BY x")
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_folder_held_by_another_process_and_what_it_leaves_when_killed(places: tuple[Path, Path]) -> None:
    olap = ClickHouse.embedded(*places, wait_seconds=1)
    olap.publish(SPEC, [D1], things(D1, "A"))
    command = [sys.executable, "-c", HOLDER, *map(str, places)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(QuantLakeError, match=f"the ClickHouse folder .* held by process {holder.pid} for over 1 s"):
            olap.counts(SPEC)
        holder.kill()
    assert olap.counts(SPEC) == {D1: 1}
    test_nothing_is_left_behind(olap, "quantlake")


def refusal(port: int, secure: bool) -> str:
    server = ClickHouse.server("127.0.0.1", port, "reader", "s3cret", secure=secure)
    with pytest.raises(QuantLakeError, match=rf"ClickHouse at 127\.0\.0\.1:{port} cannot be opened") as raised:
        server.counts(SPEC)
    text = str(raised.value)
    assert "password of reader" in text and "s3cret" not in text and "\n" not in text
    return text


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    assert "secure=False" in refusal(9, secure=False)


class Answer(BaseHTTPRequestHandler):
    """As ClickHouse answers to a wrong password; ``page`` answers as a web server does that is no ClickHouse."""

    page = False

    def do_GET(self) -> None:
        denied = "Code: 516. DB::Exception: reader: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)"
        body = b"<html>\n<h1>It works</h1>\n</html>" if self.page else denied.encode()
        self.send_response(200 if self.page else 403)
        if not self.page:
            self.send_header("X-ClickHouse-Exception-Code", "516")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(("page", "secure", "says"), [(False, False, "AUTHENTICATION_FAILED"), (True, False, "Unexpected response"), (False, True, "secure=True")])
def test_what_answers_in_a_server_s_place_is_told_in_one_line(page: bool, secure: bool, says: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (Answer,), {"page": page})) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            assert says in refusal(server.server_port, secure)
        finally:
            server.shutdown()
            thread.join()
