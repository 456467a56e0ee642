"""What only a PostgreSQL server can suffer: it dies, refuses, ends connections, and has users with fewer rights."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from quantlake.adapters.vectors.pgvector import PgVector
from quantlake.contract import QuantLakeError, TableSpec
from quantlake_tests.ports.test_vectors import COLUMNS, JANUARY, _ids, _rows
from quantlake_tests.servers.postgres import USER, PostgresServer

PORT, ADAPTER = "VectorStore", "postgres"
pytestmark = pytest.mark.servers


@pytest.fixture
def store(postgres_server: PostgresServer, tmp_path: Path) -> PgVector:
    return PgVector.server(postgres_server.dsn, tmp_path / "locks")


@pytest.fixture
def spec(request: pytest.FixtureRequest, store: PgVector) -> TableSpec:
    spec = TableSpec("embedding", "server", request.node.name[5:35].lower(), COLUMNS, "month", ("id",), "One row a text.")
    store.ensure(spec)
    return spec


@pytest.fixture
def administrator(postgres_server: PostgresServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:
        yield connection


def refusal(use: Callable[[], object], *secrets: str) -> str:
    with pytest.raises(QuantLakeError) as caught:
        use()
    said = str(caught.value)
    assert "\n" not in said and caught.value.__cause__ is None and not [s for s in secrets if s in said]
    return said


def test_a_store_that_is_open_goes_on_after_its_server_was_killed(store: PgVector, spec: TableSpec, postgres_server: PostgresServer) -> None:
    store.publish(spec, [JANUARY], _rows(spec, {"id": "before"}))
    postgres_server.kill()
    try:
        said = refusal(lambda: store.counts(spec), postgres_server.password)
        assert f"PostgreSQL at {USER}@127.0.0.1:{postgres_server.port}/postgres refused" in said and "check that it answers there" in said
    finally:
        postgres_server.run()
    assert _ids(store.read(spec)) == ["before"]
    store.publish(spec, [JANUARY], _rows(spec, {"id": "after"}))
    assert _ids(store.read(spec)) == ["after"]


def test_a_publication_whose_server_is_killed_is_whole_or_not_there(store: PgVector, spec: TableSpec, postgres_server: PostgresServer) -> None:
    store.publish(spec, [JANUARY], _rows(spec, {"id": "old"}))
    new = _rows(spec, *({"id": f"new {n}", "title": "t" * 10_000} for n in range(3_000)))
    failed: list[QuantLakeError] = []

    def publish() -> None:
        try:
            store.publish(spec, [JANUARY], new)
        except QuantLakeError as error:
            failed.append(error)

    publisher = Thread(target=publish)
    with psycopg.connect(postgres_server.dsn, autocommit=True) as watcher:
        publisher.start()
        while not watcher.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY %' AND state = 'active'").fetchone():
            assert publisher.is_alive()
        postgres_server.kill()
        publisher.join()
    postgres_server.run()
    assert len(failed) == 1 and "\n" not in str(failed[0])
    assert _ids(store.read(spec)) == ["old"]


@pytest.mark.parametrize(
    ("user", "password", "says"),
    [
        (USER, "wrong-hunter2", "password authentication failed"),
        ("nobody", "wrong-hunter2", "password authentication failed"),
        (USER, "", "no password supplied"),
    ],
)
def test_wrong_credentials_are_said_and_not_shown(
    postgres_server: PostgresServer, tmp_path: Path, spec: TableSpec, user: str, password: str, says: str
) -> None:
    store = PgVector.server(postgres_server.dsn_of(user, password), tmp_path)
    said = refusal(lambda: store.counts(spec), "hunter2", postgres_server.password)
    assert says in said and said.endswith(f"check that it answers there, its sslmode and the password of {user}")


def test_a_password_that_expired_or_changed_under_an_open_store_is_said(
    postgres_server: PostgresServer, administrator: psycopg.Connection, tmp_path: Path, spec: TableSpec
) -> None:
    administrator.execute("CREATE ROLE passing LOGIN PASSWORD 'hunter2'")
    administrator.execute("GRANT USAGE ON SCHEMA quantlake TO passing; GRANT SELECT ON ALL TABLES IN SCHEMA quantlake TO passing")
    store = PgVector.server(postgres_server.dsn_of("passing", "hunter2"), tmp_path)
    assert store.counts(spec) == {}  # a reader needs no right to create anything
    administrator.execute("ALTER ROLE passing VALID UNTIL '2020-01-01'")
    assert "password authentication failed" in refusal(lambda: store.counts(spec), "hunter2")
    administrator.execute("ALTER ROLE passing VALID UNTIL 'infinity' PASSWORD 'another'")
    assert "password authentication failed" in refusal(lambda: store.counts(spec), "hunter2")


def test_a_user_without_rights_is_told_which_are_missing(
    postgres_server: PostgresServer, administrator: psycopg.Connection, tmp_path: Path, store: PgVector, spec: TableSpec
) -> None:
    store.publish(spec, [JANUARY], _rows(spec, {"id": "kept"}))
    administrator.execute("CREATE ROLE reader LOGIN PASSWORD 'hunter2'")
    administrator.execute("GRANT USAGE ON SCHEMA quantlake TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA quantlake TO reader")
    reader = PgVector.server(postgres_server.dsn_of("reader", "hunter2"), tmp_path)
    assert _ids(reader.read(spec)) == ["kept"]
    assert "permission denied" in refusal(lambda: reader.publish(spec, [JANUARY], _rows(spec, {})), "hunter2")
    other = TableSpec("embedding", "server", "never", COLUMNS)
    assert "permission denied for schema quantlake" in refusal(lambda: reader.ensure(other), "hunter2")
    assert _ids(store.read(spec)) == ["kept"]


def test_a_database_without_the_extension_tells_who_may_not_create_it(
    postgres_server: PostgresServer, administrator: psycopg.Connection, tmp_path: Path, spec: TableSpec
) -> None:
    administrator.execute("CREATE ROLE owner LOGIN PASSWORD 'hunter2'")
    administrator.execute("CREATE DATABASE bare OWNER owner")
    dsn = postgres_server.dsn_of("owner", "hunter2").replace("/postgres", "/bare")
    said = refusal(lambda: PgVector.server(dsn, tmp_path).ensure(spec), "hunter2")
    assert "/bare refused: permission denied to create extension" in said


def test_tls_that_is_required_and_not_there_is_said(postgres_server: PostgresServer, tmp_path: Path, spec: TableSpec) -> None:
    store = PgVector.server(f"{postgres_server.dsn}?sslmode=require", tmp_path)
    said = refusal(lambda: store.counts(spec), postgres_server.password)
    assert "server does not support SSL, but SSL was required" in said and "its sslmode" in said


def test_times_do_not_depend_on_the_servers_time_zone(
    postgres_server: PostgresServer, administrator: psycopg.Connection, store: PgVector, spec: TableSpec
) -> None:
    from datetime import UTC, datetime

    rows = _rows(
        spec, {"id": "a", "known_at": datetime(1, 1, 1, tzinfo=UTC)}, {"id": "b"},
        {"id": "c", "known_at": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)},
    )  # fmt: skip
    for zone in ("America/Los_Angeles", "Asia/Tokyo"):
        administrator.execute(f"ALTER ROLE {USER} SET timezone = '{zone}'")
        try:
            store.publish(spec, [JANUARY], rows)
            assert store.read(spec).equals(rows)
        finally:
            administrator.execute(f"ALTER ROLE {USER} RESET timezone")


def test_a_server_without_a_free_connection_is_said(postgres_server: PostgresServer, store: PgVector, spec: TableSpec) -> None:
    held: list[psycopg.Connection] = []
    try:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            while True:
                held.append(psycopg.connect(postgres_server.dsn))
        assert "too many clients" in refusal(lambda: store.counts(spec), postgres_server.password)
    finally:
        for connection in held:
            connection.close()
