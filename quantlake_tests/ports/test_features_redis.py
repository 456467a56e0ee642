"""What only an online store on a server can suffer: it dies, refuses, hangs, and is shared by machines."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from quantlake.adapters.features import redis_online
from quantlake.adapters.features.feast_store import FeastStore
from quantlake.adapters.features.redis_online import RedisOnline
from quantlake.contract import QuantLakeError
from quantlake_tests.ports.children import child, said
from quantlake_tests.ports.test_features import VIEW, MemoryLake, online, row, table
from quantlake_tests.servers import redis
from quantlake_tests.servers.redis import RedisServer

PORT, ADAPTER = "FeatureStore", "redis"
pytestmark = pytest.mark.servers


def opened(folder: Path, connection: str) -> FeastStore:
    return FeastStore(folder / "feast", MemoryLake().read, {"type": "redis", "connection_string": connection}, folder / "locks")


@pytest.fixture
def store(tmp_path: Path, redis_server: RedisServer) -> FeastStore:
    with redis_server.client() as client:
        client.flushall()
    return opened(tmp_path, redis_server.connection)


def refusal(store: FeastStore, *secrets: str) -> str:
    with pytest.raises(QuantLakeError) as caught:
        store.write_online(VIEW, table(row(0)))
    said = str(caught.value)
    assert "\n" not in said and caught.value.__cause__ is None and not [s for s in secrets if s in said]
    return said


def test_a_store_that_is_open_goes_on_after_its_server_was_killed(store: FeastStore, redis_server: RedisServer) -> None:
    assert store.write_online(VIEW, table(row(0, 1.0))) == 1
    redis_server.kill()
    try:
        said = refusal(store, redis_server.password)
        assert said.startswith(f"Redis at {redis_server.address} cannot be used (ConnectionError") and "check that it answers" in said
        with pytest.raises(QuantLakeError, match="cannot be used"):
            online(store, "IBM")
    finally:
        redis_server.run()
    assert online(store, "IBM") == [1]
    assert store.write_online(VIEW, table(row(1, 2.0))) == 1
    assert online(store, "IBM") == [2]


@pytest.mark.parametrize("password", ["wrong-hunter2", "", "1e5"])
def test_a_wrong_password_is_said_and_not_shown(tmp_path: Path, redis_server: RedisServer, password: str) -> None:
    said = refusal(opened(tmp_path, redis_server.connection_of(password)), *([password] if password else []))
    assert said.startswith(f"Redis at {redis_server.address} cannot be used (AuthenticationError")
    assert "its password" in said


@pytest.mark.parametrize("password", ["1e5", "true", 'a"b\\c=d', '"a', "ключ"])
def test_a_password_is_the_text_that_was_given(tmp_path: Path, store: FeastStore, redis_server: RedisServer, password: str) -> None:
    with redis_server.client() as client:
        client.config_set("requirepass", password)
    try:
        other = opened(tmp_path / "other", redis_server.connection_of(password))
        assert other.write_online(VIEW, table(row(0, 1.0))) == 1
    finally:
        with replace(redis_server, password=password).client() as client:
            client.config_set("requirepass", redis_server.password)
    assert online(store, "IBM") == [1]


def test_a_password_with_a_comma_is_written_as_json(tmp_path: Path, store: FeastStore, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("requirepass", "a,b")
    try:
        assert opened(tmp_path / "other", redis_server.connection_of('"a\\u002cb"')).write_online(VIEW, table(row(0, 1.0))) == 1
    finally:
        with replace(redis_server, password="a,b").client() as client:
            client.config_set("requirepass", redis_server.password)


def test_a_password_changed_under_an_open_store_is_said(store: FeastStore, redis_server: RedisServer) -> None:
    assert store.write_online(VIEW, table(row(0, 1.0))) == 1
    with redis_server.client() as client:
        client.config_set("requirepass", "another")
        client.client_kill_filter(_type="normal", skipme=True)
    try:
        assert "AuthenticationError" in refusal(store, redis_server.password, "another")
    finally:
        with replace(redis_server, password="another").client() as client:
            client.config_set("requirepass", redis_server.password)
    assert online(store, "IBM") == [1]


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if reason := redis.why_not():
        pytest.skip(reason)
    server = RedisServer.start(tmp_path_factory.mktemp("redis"), tls=True)
    yield server
    server.stop()


def test_tls_is_spoken_where_the_connection_says_so(tmp_path: Path, tls_server: RedisServer) -> None:
    store = opened(tmp_path, tls_server.connection)
    assert store.write_online(VIEW, table(row(0, 1.0))) == 1
    assert online(store, "IBM") == [1]


def test_a_server_that_wants_tls_or_another_certificate_is_said(tmp_path: Path, tls_server: RedisServer) -> None:
    plain = replace(tls_server, tls=False).connection
    assert "whether it speaks TLS" in refusal(opened(tmp_path / "plain", plain), tls_server.password)
    unknown = f"{plain},ssl=true"
    assert "certificate verify failed" in refusal(opened(tmp_path / "unknown", unknown), tls_server.password)


def test_a_server_that_hangs_is_not_waited_for_without_end(tmp_path: Path, redis_server: RedisServer) -> None:
    store = opened(tmp_path, f"{redis_server.connection},socket_timeout=0.2,socket_connect_timeout=0.2")
    assert store.write_online(VIEW, table(row(0, 1.0))) == 1
    os.kill(redis_server.process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert "TimeoutError" in refusal(store, redis_server.password)
        assert time.monotonic() - started < 30
    finally:
        os.kill(redis_server.process.pid, signal.SIGCONT)
    assert online(store, "IBM") == [1]


HOLDER = """
import sys, time
from pathlib import Path
from quantlake_tests.ports.test_features_redis import VIEW, opened
store = opened(Path(sys.argv[1]), sys.argv[2])
store.apply([VIEW])
with store._turn():
    print("mine", flush=True)
    time.sleep(60)
"""


def test_the_turn_of_a_killed_machine_ends_with_its_lease(
    store: FeastStore, tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = child(HOLDER, tmp_path / "other", redis_server.connection)
    assert said(holder) == "mine"
    monkeypatch.setattr(redis_online, "WAIT_SECONDS", 0.2)
    assert "LockError" in refusal(store, redis_server.password)
    holder.kill()
    holder.communicate()
    with redis_server.client() as client:
        assert 0 < client.pttl(redis_online.LOCK) <= redis_online.LEASE_SECONDS * 1000
        client.pexpire(redis_online.LOCK, 300)
    monkeypatch.setattr(redis_online, "WAIT_SECONDS", 30)
    assert store.write_online(VIEW, table(row(0, 1.0))) == 1


@pytest.mark.parametrize("connection", ["", "password=hunter2", "host", "redis://user:hunter2@host:6379"])
def test_a_connection_string_without_a_server_is_refused(connection: str) -> None:
    with pytest.raises(QuantLakeError, match="names no server; write host:port") as caught:
        RedisOnline({"type": "redis", "connection_string": connection})
    assert "hunter2" not in str(caught.value)
