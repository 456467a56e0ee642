"""What the tests' own proxy can do: forward, fail before or after, go away and come back. What moto is here: S3, Glue and its lock."""

import threading
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected

import pytest
from botocore.exceptions import ClientError

from quantlake_tests.servers.moto import MotoServer
from quantlake_tests.servers.proxy import Proxy

pytestmark = pytest.mark.servers


@pytest.fixture
def proxy(moto: MotoServer) -> Iterator[Proxy]:
    proxy = Proxy.start(moto.port)
    yield proxy
    proxy.stop()


def asked(proxy: Proxy, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_what_is_forwarded_arrives_and_what_is_cut_before_does_not(proxy: Proxy) -> None:
    assert asked(proxy, "PUT", "/lake/a", b"1") == (200, b"")
    before, after = proxy.fail("^PUT /lake/b"), proxy.fail("^PUT /lake/c", forwarded=True)
    for path in ("/lake/b", "/lake/c"):
        with pytest.raises((RemoteDisconnected, ConnectionError)):
            asked(proxy, "PUT", path, b"2")
    assert (before.hit, after.hit) == (1, 1)
    assert [asked(proxy, "GET", f"/lake/{key}")[0] for key in "abc"] == [403, 404, 403], "there, and nobody's; not there"
    assert proxy.seen == ["PUT /lake/a", "PUT /lake/b", "PUT /lake/c", *(f"GET /lake/{key}" for key in "abc")]


def test_errors_are_answered_so_many_times_and_after_another_only(proxy: Proxy) -> None:
    first = proxy.fail("^GET /lake/no", 503, times=2, body=b"busy")
    proxy.fail("^HEAD", 500, after=first)
    assert asked(proxy, "HEAD", "/lake")[0] == 200
    assert [asked(proxy, "GET", "/lake/no")[0] for _ in range(3)] == [503, 503, 404]
    assert asked(proxy, "HEAD", "/lake")[0] == 500


def test_a_cut_proxy_refuses_and_is_back_on_its_port(proxy: Proxy) -> None:
    connection = HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    connection.request("GET", "/lake")
    connection.getresponse().read()
    port = proxy.port
    proxy.cut()
    with pytest.raises((RemoteDisconnected, ConnectionError)):  # the open one too
        connection.request("GET", "/lake")
        connection.getresponse()
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        asked(proxy, "GET", "/lake")
    proxy.reconnect()
    assert proxy.port == port and asked(proxy, "GET", "/lake")[0] == 200


def test_a_held_answer_comes_when_it_is_let_go(proxy: Proxy) -> None:
    held = threading.Event()
    proxy.fail("^GET", 500, held=held)
    heard: list[int] = []
    client = threading.Thread(target=lambda: heard.append(asked(proxy, "GET", "/lake")[0]))
    client.start()
    client.join(0.3)
    assert not heard
    held.set()
    client.join()
    assert heard == [500]


def test_glue_refuses_an_update_of_another_version(moto: MotoServer) -> None:
    glue = moto.client("glue")
    glue.create_database(DatabaseInput={"Name": "versions"})
    glue.create_table(DatabaseName="versions", TableInput={"Name": "t"})
    version = glue.get_table(DatabaseName="versions", Name="t")["Table"]["VersionId"]
    glue.update_table(DatabaseName="versions", TableInput={"Name": "t"}, VersionId=version)
    with pytest.raises(ClientError, match="ConcurrentModificationException"):
        glue.update_table(DatabaseName="versions", TableInput={"Name": "t"}, VersionId=version)
    glue.delete_database(Name="versions")
    glue.close()


def test_a_restart_of_moto_loses_all(tmp_path) -> None:
    server = MotoServer.start(tmp_path)
    try:
        server.bucket("some")
        server.restart()
        client = server.client("s3")
        assert client.list_buckets()["Buckets"] == []
        client.close()
    finally:
        server.stop()
