"""Feeds asked on and on from a loopback server: what is new is sent once, unchanged, failing, moved, gone and broken feeds."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from quantlake.contract import Document, QuantLakeError, Stream
from quantlake.sources.live.client import trusting
from quantlake.sources.live.limits import Tuning
from quantlake.sources.live.polling import Plan, Poller, plan
from quantlake_tests.sources.document_server import Answer, Asked, DocumentServer, played
from quantlake_tests.sources.test_feeds import ITEM, rss

FAST = Tuning(first_delay=0.02, longest_delay=0.1, grace_seconds=1.0)
FIRST, SECOND, CHANGED = ITEM | {"description": "<p>1</p>"}, ITEM | {"guid": "2"}, ITEM | {"description": "<p>changed</p>"}


def answered(*items: dict[str, str]) -> Answer:
    return Answer(200, rss(*items))


def tagged(etag: str, *items: dict[str, str]) -> Answer:
    return Answer(200, rss(*items), {"ETag": etag})


def asked(server: DocumentServer, path: str) -> list[Asked]:
    return [one for one in server.asked if one.path == path]


def configured(folder: Path, server: DocumentServer, *paths: str, seconds: float = 0.1, more: str = "") -> Plan:
    feeds = [f'[[feeds]]\nname = "{p.strip("/")}"\nurl = "{server.url}{p}"\npoll_seconds = {seconds}\nsource = "wire"\n{more}' for p in paths]
    path = folder / "feeds.toml"
    path.write_text("\n".join(feeds))
    return plan("feeds", path)


class Run:
    """A poller until something holds; what it sent, kept and said."""

    def __init__(self, planned: Plan) -> None:
        self.rows: list[dict[str, object]] = []
        self.kept: list[str] = []
        self.said: list[str] = []
        self.refusals = 0
        self._plan = planned

    def send(self, stream: Stream, rows: pa.Table) -> int:
        if self.refusals:
            self.refusals -= 1
            raise QuantLakeError("the broker is away")
        assert stream.path == "raw/alt/news"
        assert {row["object_uri"] for row in rows.to_pylist()} - {None} <= set(self.kept)
        self.rows += rows.to_pylist()
        return rows.num_rows

    def keep(self, document: Document) -> None:
        self.kept.append(document.uri)

    def until(self, holds: Callable[[], bool], seconds: float = 20) -> "Run":
        async def run() -> None:
            stop = asyncio.Event()
            self.poller = Poller(self._plan, self.send, self.keep, self.said.append, trusting(None), FAST)
            running = asyncio.ensure_future(self.poller.run(stop))
            deadline = time.monotonic() + seconds
            while not holds() and not running.done():
                assert time.monotonic() < deadline, (self.rows, self.said)
                await asyncio.sleep(0.01)
            stop.set()
            await running

        asyncio.run(run())
        return self

    @property
    def sent(self) -> list[tuple[object, object]]:
        return [(row["guid"], row["body"]) for row in self.rows]


def test_what_is_new_is_sent_once_with_its_time_of_receipt(tmp_path: Path) -> None:
    answers = [tagged("a", FIRST), tagged("b", FIRST, SECOND), tagged("c", CHANGED, SECOND)]
    before = datetime.now(UTC)
    with played({"/x": answers}) as server:
        run = Run(configured(tmp_path, server, "/x")).until(lambda: len(asked(server, "/x")) > 5)
    assert run.sent == [("g", "<p>1</p>"), ("2", None), ("g", "<p>changed</p>")]
    assert [one.headers.get("if-none-match") for one in asked(server, "/x")[:5]] == [None, "a", "b", "c", "c"]
    assert asked(server, "/x")[0].headers["user-agent"] == "quantlake"
    first = run.rows[0]
    assert before <= first["known_at"] <= datetime.now(UTC)  # type: ignore[operator]
    assert (first["source"], first["feeds"], first["source_name"]) == ("wire", ["x"], "rss/wire/x")
    assert first["source_version"] is first["source_records"] is None
    stats = run.poller.stats
    assert (stats.messages, stats.acknowledged, stats.lost, stats.errors) == (3, 3, 0, 0)
    assert stats.unchanged >= 2


def test_an_unchanged_feed_without_validators_is_not_read_again(tmp_path: Path) -> None:
    with played({"/x": [answered(FIRST)]}) as server:
        run = Run(configured(tmp_path, server, "/x")).until(lambda: len(asked(server, "/x")) > 3)
    assert len(run.rows) == 1
    assert run.poller.stats.unchanged >= 2


def test_one_feed_that_wants_to_be_left_alone_does_not_hold_the_others(tmp_path: Path) -> None:
    busy = [Answer(429, b"slow down", headers={"Retry-After": "600"})]
    past = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    failing = [Answer(503, headers=past), Answer(500), Answer(429, headers={"Retry-After": "0"}), answered(SECOND)]
    with played({"/busy": busy, "/failing": failing, "/x": [answered(FIRST)]}) as server:
        run = Run(configured(tmp_path, server, "/busy", "/failing", "/x")).until(lambda: len(asked(server, "/x")) > 5 and len(asked(server, "/failing")) > 3)
    assert sorted(run.sent) == [("2", None), ("g", "<p>1</p>")]
    assert len(asked(server, "/busy")) == 1


def test_a_feed_that_moved_for_good_is_asked_where_it_is_and_one_that_moved_for_now_is_not(tmp_path: Path) -> None:
    answers = {
        "/old": [Answer(301, headers={"Location": "/newer"})], "/newer": [Answer(308, headers={"Location": "/new"})],
        "/new": [answered(FIRST)], "/away": [Answer(302, headers={"Location": "/guest"})], "/guest": [answered(SECOND)],
    }  # fmt: skip
    with played(answers) as server:
        run = Run(configured(tmp_path, server, "/old", "/away")).until(lambda: len(asked(server, "/new")) > 3 and len(asked(server, "/guest")) > 3)
    assert sorted(run.sent) == [("2", None), ("g", "<p>1</p>")]
    assert len(asked(server, "/old")) == 1
    assert 0 <= len(asked(server, "/away")) - len(asked(server, "/guest")) <= 1  # the stop may come between the two
    assert f"{server.url}/old has moved for good; {server.url}/new is asked from now on" in run.said


def test_a_feed_that_is_gone_is_not_asked_again_and_a_missing_one_is(tmp_path: Path) -> None:
    with played({"/gone": [Answer(410)], "/x": [answered(FIRST)]}) as server:
        run = Run(configured(tmp_path, server, "/gone", "/missing", "/x")).until(lambda: len(asked(server, "/missing")) > 3)
    assert len(asked(server, "/gone")) == 1
    said = "\n".join(run.said)
    assert "/gone is gone: its server answered 410; it is not looked at again" in said
    assert run.poller.stats.errors >= 4


def test_a_redirect_out_of_encryption_is_not_followed(tmp_path: Path) -> None:
    with played({"/x": [Answer(301, headers={"Location": "http://news.example/x"})]}) as server:
        run = Run(configured(tmp_path, server, "/x")).until(lambda: len(asked(server, "/x")) > 1)
    assert any("http://news.example/x is not encrypted" in said for said in run.said)


def test_a_feed_with_a_bad_item_is_asked_at_its_time_and_conditionally(tmp_path: Path) -> None:
    mixed = rss(FIRST, SECOND | {"pubDate": "yesterday"})
    with played({"/x": [Answer(200, mixed, {"ETag": '"1"'})]}) as server:
        run = Run(configured(tmp_path, server, "/x")).until(lambda: len(asked(server, "/x")) > 3)
        times = asked(server, "/x")
    assert run.sent == [("g", "<p>1</p>")]
    assert [one.headers.get("if-none-match") for one in times[:3]] == [None, '"1"', '"1"']
    assert any("yesterday" in said for said in run.said)


def test_a_broken_feed_is_named_and_read_once_it_is_whole(tmp_path: Path) -> None:
    broken = [Answer(200, b"<html>503</html>"), Answer(200, rss(FIRST)[:-20]), answered(FIRST)]
    with played({"/x": broken}) as server:
        run = Run(configured(tmp_path, server, "/x"))
        run.until(lambda: bool(run.rows))
    assert run.sent == [("g", "<p>1</p>")]
    assert f"error: x: {server.url}/x is neither RSS nor Atom" in run.said[0]
    assert run.poller.stats.errors == 2


def test_a_bad_item_is_named_and_does_not_keep_the_others_back(tmp_path: Path) -> None:
    with played({"/x": [answered(FIRST, ITEM | {"title": ""}, SECOND)]}) as server:
        run = Run(configured(tmp_path, server, "/x")).until(lambda: len(asked(server, "/x")) > 2)
    assert [guid for guid, _ in run.sent] == ["g", "2"]
    assert f"error: {server.url}/x item 2 has no title; the other 2 were read" in run.said[0]


def test_what_the_broker_does_not_take_is_sent_until_it_does(tmp_path: Path) -> None:
    with played({"/x": [answered(FIRST)]}) as server:
        run = Run(configured(tmp_path, server, "/x"))
        run.refusals = 3
        run.until(lambda: bool(run.rows))
    assert run.sent == [("g", "<p>1</p>")]
    assert (run.poller.stats.retries, run.poller.stats.lost) == (3, 0)


@pytest.mark.parametrize(("text", "found"), [
    ("", r"feeds: \[\] is not enough"),
    ("feeds = 5", "feeds is 5; write it as"),
    ("feeds = [5]", r"feeds are no tables; write each as \[\[feeds\]\]"),
    ('[[feeds]]\nname = "a"', r"feeds 1: url is None; write it as url = "),
    ('[[feeds]]\nname = "a"\nurl = "http://news.example/x"', "is not encrypted"),
    ('[[feeds]]\nname = "a"\nurl = "https://news.example/x"\npoll_second = 5', "feeds 1: there is no setting 'poll_second'"),
    ('[[feeds]]\nname = "a"\nurl = "https://news.example/x"\npoll_seconds = 0', "poll_seconds is 0"),
    ('[[feeds]]\nname = "a"\nurl = "https://a.example/x"\n[[feeds]]\nname = "a"\nurl = "https://b.example/x"', "feeds 1: name: 'a' is not alone"),
    ("[[feeds", "it is to be a TOML file"),
])  # fmt: skip
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "feeds.toml"
    path.write_text(text)
    with pytest.raises(QuantLakeError, match=found) as error:
        plan("feeds", path)
    assert str(path) in str(error.value) or "is not encrypted" in str(error.value)
