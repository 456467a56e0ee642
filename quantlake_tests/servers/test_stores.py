"""What the tests' own Redis, PostgreSQL and Apicurio can do: start, refuse strangers, survive a kill with all that was written."""

import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest

from quantlake_tests.servers import apicurio, clickhouse, postgres, redis
from quantlake_tests.servers.processes import Server

pytestmark = pytest.mark.servers


def require(reason: str | None) -> None:
    if reason:
        pytest.skip(reason)


def killed_and_started(server: Server) -> None:
    address, first = server.address, server.process.pid
    assert server.running()
    server.kill()
    assert not server.running() and not server.answers()
    server.restart()
    assert (server.address, server.running(), server.process.pid == first) == (address, True, False)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_redis_keeps_what_it_answered_through_a_kill(home: Path, tls: bool) -> None:
    require(redis.why_not())
    from redis import Redis
    from redis.exceptions import AuthenticationError
    from redis.exceptions import ConnectionError as NoConnection

    server = redis.RedisServer.start(home, tls=tls)
    try:
        with server.client() as client:
            client.set("é", "東京")
        killed_and_started(server)
        with server.client() as client:
            assert client.get("é").decode() == "東京"
        with pytest.raises((AuthenticationError, NoConnection)), Redis(port=server.port) as stranger:
            stranger.ping()
        assert oct((home / "redis.conf").stat().st_mode & 0o777) == "0o600"
        server.restart()  # of one that runs
        assert server.answers()
    finally:
        server.stop()
    assert not server.running()


def test_postgres_keeps_what_it_committed_through_a_kill(home: Path) -> None:
    require(postgres.why_not())
    import psycopg

    server = postgres.PostgresServer.start(home / "postgres")
    try:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute("CREATE TABLE t AS SELECT '[1,2]'::vector AS v")
        killed_and_started(server)
        with psycopg.connect(server.dsn) as connection:
            assert connection.execute("SELECT v::text FROM t").fetchall() == [("[1,2]",)]
            assert connection.execute("SHOW password_encryption").fetchone() == ("scram-sha-256",)
        assert server.password not in repr(server)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.dsn_of(postgres.USER, "wrong"))
    finally:
        server.stop()
    assert not server.running()


def asked(url: str, credentials: str | None, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": "Basic " + b64encode(credentials.encode()).decode()} if credentials else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, body, headers)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_apicurio_keeps_its_schemas_through_a_kill(home: Path) -> None:
    require(apicurio.why_not())
    server = apicurio.ApicurioServer.start(home)
    known = f"{apicurio.USER}:{server.password}"
    try:
        schema = rb'{"schema": "{\"type\": \"string\"}"}'
        status, registered = asked(server.url, known, "/subjects/s/versions", schema)
        assert status == 200
        killed_and_started(server)
        assert asked(server.url, known, "/subjects/s/versions", schema) == (200, registered)
        assert asked(server.url, known, "/subjects")[1] == b'["s"]'
        for stranger in (None, f"{apicurio.USER}:wrong"):
            assert asked(server.url, stranger, "/subjects")[0] == 401
    finally:
        server.stop()
    assert not server.running()


def test_a_server_that_cannot_run_names_its_output(home: Path) -> None:
    require(redis.why_not())
    server = redis.RedisServer.start(home)
    try:
        with pytest.raises(RuntimeError, match=f"redis runs already, as process {server.process.pid}"):
            server.run()
        second = redis.RedisServer(folder=home, port=server.port, password=server.password)
        with pytest.raises(RuntimeError, match=r"redis ended with status 1 .*Failed listening.*; its output is in .*redis\.log"):
            second.run()
    finally:
        server.stop()


def test_a_clickhouse_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(clickhouse.VARIABLE, raising=False)
    assert f"set {clickhouse.VARIABLE}=" in str(clickhouse.why_not())
    monkeypatch.setenv(clickhouse.VARIABLE, "https://reader:p%40ss@clickhouse.example")
    assert clickhouse.why_not() is None
    found = clickhouse.ClickHouseServer.found()
    assert (found.address, found.username, found.password, found.secure) == ("clickhouse.example:8443", "reader", "p@ss", True)
    assert "p@ss" not in repr(found)
    monkeypatch.setenv(clickhouse.VARIABLE, "clickhouse:8123")
    with pytest.raises(RuntimeError, match="is no address"):
        clickhouse.ClickHouseServer.found()
