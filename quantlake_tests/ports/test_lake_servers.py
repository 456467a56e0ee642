"""What only lakes of real servers suffer: answers that are lost, stores that fail, keys that do not hold, servers that go away and return.

Not here: what every lake does (``test_lake``).
"""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from quantlake.adapters.broker.kafka import Kafka
from quantlake.adapters.lake import answers, clients
from quantlake.adapters.lake.answers import UnsettledError
from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.registry.sqlite import SqliteRegistry
from quantlake.contract import QuantLakeError
from quantlake.landing.audit import audit
from quantlake.landing.land import land
from quantlake.ports import StaleWriterError
from quantlake_tests.landing.ticks import numbers, produced, registered
from quantlake_tests.ports.children import child, ended, said, told
from quantlake_tests.ports.lakes import SERVED, drop_all, lake_of, made, stored
from quantlake_tests.ports.test_lake import JANUARY, LATER, OPEN, SPEC, append, ids, things
from quantlake_tests.servers.iceberg_rest import TOKEN, IcebergRestServer
from quantlake_tests.servers.moto import SECRET, MotoServer
from quantlake_tests.servers.proxy import Proxy

pytestmark = pytest.mark.servers

ERROR = "<Error><Code>{}</Code><Message>It is said.</Message></Error>"
LOST = [None, 500, 502, 504]  # the connection is cut, or a gateway answers in the server's place
LOST_IDS = ["cut", "500", "502", "504"]
ALWAYS = 10_000


@dataclass
class Served:
    """A lake whose store and catalogue are behind proxies, and the same one without."""

    name: str
    lake: Iceberg
    direct: Iceberg
    store: Proxy
    catalogue: Proxy
    COMMIT: str = field(init=False)
    LOAD: str = field(init=False)

    def __post_init__(self) -> None:
        glue = self.name == "glue"
        self.COMMIT = r"AWSGlue\.(Update|Create)Table$" if glue else r"^POST /v1/namespaces/raw/tables/"
        self.LOAD = r"AWSGlue\.GetTable$" if glue else r"^GET /v1/namespaces/raw/tables/"

    def whole(self, *names: str) -> None:
        """Asserts that the table has these rows, that its snapshots can all be read, and that what they have is all there."""
        assert ids(self.direct) == sorted(names)
        for commit in self.direct.commits(SPEC):
            self.direct.read(SPEC, snapshot_id=commit.snapshot_id)


@pytest.fixture(params=SERVED)
def adapter_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(adapter_name: str, home: Path, moto: MotoServer, request: pytest.FixtureRequest) -> Iterator[Served]:
    """A lake with an empty table and one row, "first", up to the offsets "1"."""
    with made(adapter_name, home, request) as direct:
        store = Proxy.start(moto.port)
        catalogue = Proxy.start(moto.port if adapter_name == "glue" else request.getfixturevalue("iceberg_rest").port)
        through = {"s3.endpoint": store.url, "glue.endpoint" if adapter_name == "glue" else "uri": catalogue.url, "glue.max-retries": "2"}
        direct.ensure(SPEC)
        append(direct, "first", "", "1")
        yield Served(adapter_name, lake_of(home, **through), direct, store, catalogue)
        store.stop()
        catalogue.stop()


def one_line(error: pytest.ExceptionInfo[QuantLakeError] | QuantLakeError) -> str:
    """What an error says: in one line, without a secret."""
    text = str(error if isinstance(error, QuantLakeError) else error.value)
    assert "\n" not in text and SECRET not in text and TOKEN not in text
    return text


# An answer that is lost


@pytest.mark.parametrize(
    ("status", "times"), [*((status, 1) for status in LOST), (None, ALWAYS), (500, ALWAYS)], ids=[*LOST_IDS, "cut always", "500 always"]
)
def test_an_append_whose_answer_is_lost_is_there_once(served: Served, status: int | None, times: int) -> None:
    """A client that asks again is told of a conflict with its own commit: no reason to delete what the table has."""
    lost = served.catalogue.fail(served.COMMIT, status, forwarded=True, times=times)
    append(served.lake, "second", "1", "2")
    assert lost.hit
    served.whole("first", "second")
    assert served.direct.properties(SPEC)["offsets"] == "2"
    served.catalogue.faults.clear()
    append(served.lake, "third", "2", "3")
    served.whole("first", "second", "third")


@pytest.mark.parametrize("status", LOST, ids=LOST_IDS)
def test_a_commit_that_did_not_arrive_is_said_and_can_be_repeated(served: Served, status: int | None) -> None:
    lost = served.catalogue.fail(served.COMMIT, status, times=ALWAYS)
    for _ in range(2):
        with pytest.raises(QuantLakeError, match="cannot be committed: .*; nothing was committed") as error:
            append(served.lake, "second", "1", "2")
        one_line(error)
    assert lost.hit
    served.whole("first")
    served.catalogue.faults.clear()
    append(served.lake, "second", "1", "2")
    served.whole("first", "second")


@pytest.mark.parametrize("status", LOST, ids=LOST_IDS)
def test_a_publication_and_a_replacement_whose_answers_are_lost_are_there_once(served: Served, status: int | None) -> None:
    served.catalogue.fail(served.COMMIT, status, forwarded=True)
    served.lake.publish(SPEC, [JANUARY, LATER], things({"id": "a"}, {"id": "b"}, {"id": "c", "partition_date": LATER}))
    served.whole("a", "b", "c")
    served.catalogue.fail(served.COMMIT, status, forwarded=True)
    served.lake.publish(SPEC, [JANUARY], things({"id": "d"}))
    served.whole("c", "d")
    assert all(f.hit == 1 for f in served.catalogue.faults)


@pytest.mark.parametrize("status", LOST, ids=LOST_IDS)
def test_a_table_whose_creation_is_not_answered_is_made(served: Served, status: int | None) -> None:
    drop_all(served.direct)
    lost = served.catalogue.fail(served.COMMIT, status, forwarded=True)
    served.lake.ensure(SPEC)
    assert lost.hit == 1
    append(served.lake, "first", "", "1")
    served.whole("first")


def test_an_answer_that_is_lost_is_looked_up_until_the_catalogue_is_back(served: Served) -> None:
    lost = served.catalogue.fail(served.COMMIT, None, forwarded=True, times=ALWAYS)
    gone = served.catalogue.fail(served.LOAD, 500, times=7, after=lost)
    append(served.lake, "second", "1", "2")
    assert gone.hit == 7
    served.whole("first", "second")


def test_nobody_takes_a_commit_that_cannot_be_looked_up_for_one_that_failed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LOOK_SECONDS", 1.0)
    lost = served.catalogue.fail(served.COMMIT, None, forwarded=True)
    served.catalogue.fail(served.LOAD, 500, times=ALWAYS, after=lost)
    with pytest.raises(UnsettledError, match="raw_test_things: .*; whether it was committed is not known, the next run looks") as error:
        append(served.lake, "second", "1", "2")
    one_line(error)
    served.whole("first", "second")  # it was: no file of it is gone
    served.catalogue.faults.clear()
    with pytest.raises(StaleWriterError, match="another writer committed offsets meanwhile"):
        append(served.lake, "second", "1", "2")
    served.whole("first", "second")


def test_another_writer_between_a_lost_commit_and_the_look_hides_nothing(served: Served, home: Path) -> None:
    """Whose commit is the newest is then no sign; nor are the properties, which the other has moved on."""
    held = threading.Event()
    lost = served.catalogue.fail(served.COMMIT, None, forwarded=True, held=held, times=ALWAYS)
    done: list[object] = []
    with served.lake.appender(SPEC) as appender:
        appender.write(things({"id": "second"}))
        commit = threading.Thread(target=lambda: done.append(appender.commit(properties={"offsets": "2"}, expected={"offsets": "1"})))
        commit.start()
        while served.direct.properties(SPEC)["offsets"] != "2":
            time.sleep(0.05)
        append(lake_of(home, "other-locks"), "third", "2", "3")
        held.set()
        commit.join()
    assert lost.hit
    served.whole("first", "second", "third")
    assert done == [served.direct.commits(SPEC, 1)[0]], "the commit that was made, not the newest"


def test_an_expiry_whose_answer_is_lost_frees_its_files(served: Served) -> None:
    for n in range(2, 5):
        served.direct.publish(SPEC, [JANUARY], things({"id": str(n)}))
    before = stored(served.direct, SPEC)
    lost = served.catalogue.fail(served.COMMIT, None, forwarded=True)
    freed = served.lake.maintain(SPEC, timedelta(0))
    gone = before.keys() - stored(served.direct, SPEC).keys()
    assert lost.hit == 1 and freed.files == len(gone) > 0 and freed.bytes == sum(before[f] for f in gone)
    served.whole("4")


@pytest.mark.parametrize("forwarded", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("status", [None, 500, 503], ids=["cut", "500", "503"])
def test_landing_on_answers_that_are_lost_lands_each_record_once(
    served: Served, status: int | None, forwarded: bool, broker: Kafka, registry: SqliteRegistry, topic: str
) -> None:
    stream = registered(topic, broker, registry)
    made = r"AWSGlue\.UpdateTable$" if served.name == "glue" else r"^POST /v1/namespaces/raw/tables/."
    served.lake.ensure(stream.spec)
    refused: list[str] = []
    for n in range(3):
        produced(stream, broker, registry, n * 300, n * 300 + 300)
        fault = served.catalogue.fail(made, status, forwarded=forwarded, times=1 + n)
        for _ in range(4):
            try:
                land(stream, broker=broker, registry=registry, lake=served.lake, commit_rows=100)
                break
            except QuantLakeError as error:
                refused.append(one_line(error))
        assert fault.hit and not (forwarded and refused), "that it was committed is found out"
        assert numbers(stream, served.direct) == list(range(n * 300 + 300))
        found = audit(stream, lake=served.direct, broker=broker)
        assert all(a.clean and not a.pending for a in found) and sum(a.rows for a in found) == n * 300 + 300


# A store that fails


def test_a_large_file_is_uploaded_in_parts_of_which_some_fail(served: Served) -> None:
    bodies = [os.urandom(1 << 20) for _ in range(25)]
    part = served.store.fail(r"^PUT .*partNumber=2", 500)
    cut = served.store.fail(r"^PUT .*partNumber=1&", None)
    with served.lake.appender(SPEC) as appender:
        for n, body in enumerate(bodies):
            appender.write(things({"id": f"{n:02}", "body": body}))
        appender.commit(properties={}, expected={})
    assert part.hit == cut.hit == 1 and any("partNumber=3" in line for line in served.store.seen)
    rows = served.direct.read(SPEC, columns=["id", "body"]).sort_by("id").to_pydict()
    assert rows["id"] == [f"{n:02}" for n in range(25)] + ["first"] and rows["body"] == [*bodies, None]


@pytest.mark.parametrize("times", [0, ALWAYS], ids=["stored", "not stored"])
def test_a_large_file_that_is_not_committed_leaves_none(served: Served, times: int) -> None:
    """Parts of one that could not be stored stay until the bucket's own rule for them: Arrow cannot take them back."""
    before = stored(served.direct, SPEC)
    served.store.fail(r"^PUT .*partNumber=2", 500, times=times)
    with pytest.raises((QuantLakeError, ZeroDivisionError)), served.lake.appender(SPEC) as appender:
        for _ in range(25):
            appender.write(things({"body": os.urandom(1 << 20)}))
        1 / 0  # noqa: B018
    assert stored(served.direct, SPEC) == before


@pytest.mark.parametrize("status", [503, None], ids=["503", "cut"])
def test_a_store_that_fails_now_and_then_is_asked_again(served: Served, status: int | None) -> None:
    faults = [served.store.fail(pattern, status, times=2) for pattern in ("^GET ", "^HEAD ", "^PUT ", r"^POST .*uploadId")]
    append(served.lake, "second", "1", "2")
    assert ids(served.lake) == ["first", "second"] and served.lake.scan(SPEC).collect().height == 2
    assert [f.hit for f in faults] == [2, 2, 2, 2]
    served.whole("first", "second")


@pytest.mark.parametrize("status", [503, 502, None], ids=["503", "502", "cut"])
def test_a_catalogue_that_fails_now_and_then_is_asked_again(served: Served, status: int | None) -> None:
    fault = served.catalogue.fail(served.LOAD, status, times=2)
    assert ids(served.lake) == ["first"] and fault.hit == 2


def test_a_store_and_a_catalogue_that_do_not_answer_are_not_waited_for_for_ever(served: Served, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "ANSWER_SECONDS", 1.0)
    monkeypatch.setitem(clients.DEFAULTS, "s3.request-timeout", "1")
    held = threading.Event()
    slow = lake_of(home, **{"s3.endpoint": served.store.url, **({"uri": served.catalogue.url} if served.name == "rest" else {})})
    store = served.store.fail("^(GET|HEAD) ", 500, held=held)
    if served.name == "rest":  # boto's own limit, a minute, is not ours to set
        catalogue = served.catalogue.fail(served.COMMIT, 500, forwarded=True, held=held)
    append(slow, "second", "1", "2")
    assert ids(slow) == ["first", "second"] and store.hit == 1
    held.set()
    assert served.name == "glue" or catalogue.hit == 1
    served.whole("first", "second")


@pytest.mark.parametrize(
    ("status", "code", "do"),
    [
        (400, "ExpiredToken", "The credentials have expired: renew them|which may have expired"),
        (403, "AccessDenied", "Look at the credentials"),
        (403, "SignatureDoesNotMatch", "Look at the credentials"),
        (301, "PermanentRedirect", "another region: set s3.region"),
        (400, "AuthorizationHeaderMalformed", "another region: set s3.region|at the region"),
        (404, "NoSuchBucket", "Make the bucket|No such file"),
    ],
)
def test_what_a_store_refuses_is_one_line_that_says_what_to_do(served: Served, status: int, code: str, do: str) -> None:
    served.store.fail("", status, times=ALWAYS, body=ERROR.format(code).encode())
    for what, asked in {
        "read": lambda: ids(served.lake), "written": lambda: append(served.lake, "second", "1", "2"),
        "published": lambda: served.lake.publish(SPEC, [JANUARY], things({})), "planned": lambda: served.lake.files(SPEC),
    }.items():  # fmt: skip
        with pytest.raises(QuantLakeError, match=f"raw_test_things cannot be (read|written|committed): .*({do})") as error:
            asked()
        assert what and "Free some space" not in one_line(error)
    served.store.faults.clear()
    append(served.lake, "second", "1", "2")
    served.whole("first", "second")


def test_a_bucket_that_is_not_there_is_said(home: Path, moto: MotoServer) -> None:
    lake = Iceberg({**moto.s3, **moto.glue, "type": "glue", "warehouse": "s3://nowhere/lake"}, home / "locks")
    with pytest.raises(QuantLakeError, match=r"cannot be made: .*bucket 'nowhere'.* Make the bucket or set QUANTLAKE_CATALOG_WAREHOUSE") as error:
        lake.ensure(SPEC)
    one_line(error)


@pytest.mark.parametrize("adapter_name", SERVED[:1], indirect=True)  # the REST server's own keys would be refused too
def test_keys_that_are_not_known_are_said_and_not_shown(served: Served, home: Path, moto: MotoServer) -> None:
    moto.enforce(True)
    try:
        with pytest.raises(QuantLakeError, match="Look at the credentials") as error:
            append(lake_of(home, "other-locks"), "second", "1", "2")
        one_line(error)
    finally:
        moto.enforce(False)
    served.whole("first")


def test_no_secret_of_ours_is_repeated_that_a_server_repeats(served: Served) -> None:
    echo = f'{{"error": {{"message": "{TOKEN} {SECRET}", "type": "Odd", "code": 400}}, "__type": "Odd", "message": "{SECRET}"}}'
    served.catalogue.fail(served.LOAD, 400, times=ALWAYS, body=echo.encode())
    with pytest.raises(QuantLakeError, match=r"\*\*\*") as error:
        ids(served.lake)
    one_line(error)


def test_a_token_that_does_not_hold_is_said_and_not_shown(iceberg_rest: IcebergRestServer, home: Path) -> None:
    lake = Iceberg({"type": "rest", "uri": iceberg_rest.url, "token": "hunter2"}, home / "locks")
    with pytest.raises(QuantLakeError, match="cannot be opened: .* Look at the credentials") as error:
        lake.exists(SPEC)
    assert "hunter2" not in one_line(error)


# Servers that go away and come back


def test_a_store_that_is_away_is_one_line_and_when_it_is_back_all_goes_on(served: Served) -> None:
    ids(served.lake)
    served.store.cut()
    for asked in (lambda: ids(served.lake), lambda: append(served.lake, "second", "1", "2")):
        with pytest.raises(QuantLakeError, match="cannot be (read|written): ") as error:
            asked()
        assert f"127.0.0.1:{served.store.port}" in one_line(error)
    served.store.reconnect()
    append(served.lake, "second", "1", "2")
    served.whole("first", "second")


def test_a_catalogue_that_is_away_is_one_line_and_when_it_is_back_all_goes_on(served: Served, home: Path) -> None:
    ids(served.lake)
    served.catalogue.cut()
    with pytest.raises(QuantLakeError, match=f"the Iceberg catalogue {served.catalogue.url} does not answer: .* Run it again") as error:
        append(served.lake, "second", "1", "2")
    one_line(error)
    served.catalogue.reconnect()
    append(served.lake, "second", "1", "2")
    served.whole("first", "second")


def test_a_catalogue_that_is_killed_and_started_again_keeps_its_tables(home: Path, iceberg_rest: IcebergRestServer, request) -> None:
    """Over a writer that never stops: each name is there once, whatever the kills did to its commits and their answers."""
    with made("rest", home, request) as lake:
        lake.ensure(SPEC)
        last = 60

        def writing() -> None:
            while (done := int(lake.properties(SPEC).get("offsets", 0))) < last:
                append(lake, str(done + 1), str(done or ""), str(done + 1))

        def writing_on() -> None:
            while True:
                try:
                    return writing()
                except QuantLakeError as error:
                    heard.append(one_line(error))

        heard: list[str] = []
        writer = threading.Thread(target=writing_on)
        writer.start()
        for _ in range(3):
            time.sleep(1.0)
            iceberg_rest.kill()
            iceberg_rest.restart()
        writer.join()
        assert ids(lake_of(home)) == sorted(str(n) for n in range(1, last + 1)), heard


def test_processes_that_know_nothing_of_each_other_lose_and_repeat_nothing(served: Served, home: Path) -> None:
    """Two machines append to one table at once; the catalogue's compare-and-set alone keeps them apart."""
    script = OPEN + """
from quantlake.contract import QuantLakeError
lake = lake_of(Path(sys.argv[1]), "locks-" + sys.argv[2])
ids(lake); print('ready', flush=True); sys.stdin.readline()
made = 0
while made < 8:
    offsets = lake.properties(SPEC)["offsets"]
    try:
        append(lake, f"{sys.argv[2]}-{made}", offsets, str(int(offsets) + 1))
        made += 1
    except QuantLakeError as error:
        assert "another writer" in str(error), error
"""
    children = [child(script, home, who) for who in "ab"]
    for c in children:
        assert said(c) == "ready"
    for c in children:
        told(c, "go")
    assert [ended(c, 120) for c in children] == [0, 0]
    served.whole("first", *(f"{who}-{n}" for who in "ab" for n in range(8)))
    assert served.direct.properties(SPEC)["offsets"] == "17"


def test_old_metadata_is_deleted_and_nothing_else(served: Served) -> None:
    served.direct.set_properties(SPEC, {"write.metadata.previous-versions-max": "2"})
    for n in range(2, 8):
        append(served.lake, str(n), str(n - 1), str(n))
    table = served.direct.catalog.load_table(("raw", "test_things"))
    assert len(table.metadata.metadata_log) == 2
    assert pa.types.is_string(served.direct.read(SPEC)["id"].type)
    served.whole("first", *map(str, range(2, 8)))
