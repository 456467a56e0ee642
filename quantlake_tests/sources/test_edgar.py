"""EDGAR live, against a loopback server that plays the recordings and misbehaves: what is sent, asked again, counted and said."""

import asyncio
import gzip
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pyarrow as pa
import pytest

from quantlake.contract import Document, QuantLakeError, Stream
from quantlake.sources.live import polling
from quantlake.sources.live.client import trusting
from quantlake.sources.live.limits import Tuning
from quantlake_tests.recorded import recorded
from quantlake_tests.sources import sec_files as made
from quantlake_tests.sources.document_server import Answer, Asked, DocumentServer, validated

SECONDS = 20.0
SOON = Tuning(first_delay=0.02, longest_delay=0.2, grace_seconds=0.5)
FEED = "/cgi-bin/browse-edgar"
AGENT = "QuantLake tests tests@example.com"


class Received:
    """What a poller handed on, and what it said."""

    def __init__(self) -> None:
        self.tables: list[tuple[str, pa.Table]] = []
        self.said: list[str] = []

    def send(self, stream: Stream, rows: pa.Table) -> int:
        self.tables.append((stream.path, rows))
        return rows.num_rows

    def rows(self, path: str = "raw/reference/filings") -> pl.DataFrame:
        found = [pl.DataFrame(table) for name, table in self.tables if name == path]
        return pl.concat(found) if found else pl.DataFrame({"accession": []})


class Feed:
    """The feed of current filings: entries, newest first; ``moves`` of them come in before each page but the first."""

    def __init__(self, entries: list[str], moves: int = 0) -> None:
        self.entries, self.moves, self.hidden = entries, moves, entries[:0]

    @classmethod
    def held_back(cls, entries: list[str], moves: int, count: int) -> "Feed":
        """The newest ``count`` are still to come."""
        feed = cls(entries[count:], moves)
        feed.hidden = entries[:count]
        return feed

    def move(self, count: int) -> None:
        cut = max(len(self.hidden) - count, 0)
        self.entries, self.hidden = self.hidden[cut:] + self.entries, self.hidden[:cut]

    def answer(self, asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.path).query)
        start, count = int(query["start"][0]), int(query["count"][0])
        if start:
            self.move(self.moves)
        return Answer(200, made.page(*self.entries[start : start + count]))


def recorded_entries() -> list[str]:
    """Every entry of the recorded pages, each once, newest first."""
    pages = sorted(recorded("alt/sec_current_filings_atom").glob("*.xml.gz"))
    texts = (gzip.decompress(page.read_bytes()).decode("iso-8859-1") for page in pages)
    return list(dict.fromkeys(e for text in texts for e in re.findall(r"<entry>.*?</entry>\n", text, re.DOTALL)))


def configured(folder: Path, server: DocumentServer, *lines: str, agent: str = AGENT) -> Path:
    path = folder / "edgar.toml"
    said = [f'user_agent = "{agent}"', f'url = "{server.url}"', f'data_url = "{server.url}"', "current_seconds = 0.1", "company_seconds = 1", *lines]
    path.write_text("\n".join(said))
    return path


def never_asked(document: Document) -> None:
    raise AssertionError(f"EDGAR's rows name no documents: {document}")


def poller(config: Path, received: Received, send: Callable[[Stream, pa.Table], int] | None = None) -> polling.Poller:
    return polling.Poller(polling.plan("edgar", config), send or received.send, never_asked, received.said.append, trusting(None), SOON)


def run(client: polling.Poller, until: Callable[[], bool], seconds: float = SECONDS) -> float:
    """Run a client until something is so, then stop it; how long the stop took."""

    async def main() -> float:
        stop = asyncio.Event()
        running = asyncio.ensure_future(client.run(stop))
        deadline = time.monotonic() + seconds
        while not until() and not running.done() and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        met, asked = until(), time.monotonic()
        stop.set()
        await running
        assert met, (client.stats, client)
        return time.monotonic() - asked

    return asyncio.run(main())


def test_a_moving_feed_is_paged_without_loss_and_each_entry_is_sent_once(tmp_path: Path) -> None:
    entries, received = recorded_entries()[:1500], Received()
    feed = Feed.held_back(entries, 7, 400)
    with DocumentServer(feed.answer) as server:
        client = poller(configured(tmp_path, server), received)

        def done() -> bool:
            if len(received.tables) >= 14:
                feed.move(60)  # the rest, between looks
            return client.stats.messages >= len(entries)

        run(client, done)
        agents = {asked.headers["user-agent"] for asked in server.asked}
    found = received.rows()
    assert len(found) == found.select("accession", "cik", "role").n_unique() == len(entries)
    assert agents == {AGENT} and client.stats.lost == 0 and client.stats.errors == 0
    assert client.stats.acknowledged == client.stats.messages


def test_no_more_than_ten_requests_in_any_second(tmp_path: Path) -> None:
    feed = Feed([made.entry(accession=f"0001134657-25-{n:06}") for n in range(3000)])
    received = Received()
    with DocumentServer(feed.answer) as server:
        client = poller(configured(tmp_path, server, "current_pages = 35"), received)
        run(client, lambda: len(server.asked) >= 32)
        times = [asked.at for asked in server.asked]
    assert min(b - a for a, b in zip(times, times[10:], strict=False)) >= 0.95


def test_an_outage_is_waited_for_and_a_page_of_html_refused(tmp_path: Path) -> None:
    html = gzip.decompress(recorded("alt/sec_current_filings_atom/page_05100.http503.html.gz").read_bytes())
    feed, received = Feed([made.entry()]), Received()
    answers = iter([Answer(503, html), Answer(500), Answer(429, b"", {"Retry-After": "0.3"}), Answer(200, html)])
    with DocumentServer(lambda asked: next(answers, None) or feed.answer(asked)) as server:
        client = poller(configured(tmp_path, server), received)
        run(client, lambda: client.stats.acknowledged == 1 and client.stats.requests > 5)
        times = [asked.at for asked in server.asked]
    said = "\n".join(received.said)
    assert "answered 503; asked again in" in said and client.stats.errors == 4
    assert times[3] - times[2] >= 0.29 and client.stats.last_error.startswith("current filings: http") and "is not a whole Atom feed" in client.stats.last_error


def test_companies_are_read_with_their_older_pages_and_again_only_where_they_changed(tmp_path: Path) -> None:
    older = "CIK0000789019-submissions-001.json"
    main = made.submitted(tmp_path / "main.json", made.FILING, pages=(older,))
    more = made.submitted(tmp_path / "more.json", made.FILING, made.FILING | {"accessionNumber": "0001193125-26-027208"}, pages=(older,))
    page = tmp_path / older
    page.write_text(json.dumps(made.columns(made.FILING | {"accessionNumber": "0001193125-20-000001"})))
    facts = made.facts(tmp_path / "facts.json", made.FACT)
    served = {
        "/submissions/CIK0000789019.json": main, f"/submissions/{older}": page, "/api/xbrl/companyfacts/CIK0000789019.json": facts,
    }  # fmt: skip
    received = Received()

    def answer(asked: Asked) -> Answer:
        path = served.get(asked.path)
        return validated(asked, path.read_bytes(), f'"{path.name}"') if path else Answer(404, b"no such key")

    with DocumentServer(answer) as server:
        client = poller(configured(tmp_path, server, "current = false", 'ciks = [789019, "320193"]'), received)
        run(client, lambda: client.stats.unchanged >= 3)
        served["/submissions/CIK0000789019.json"] = more
        run(again := poller(configured(tmp_path, server, "current = false", "ciks = [789019]"), Received()), lambda: again.stats.acknowledged == 4)
        unchanged = [asked for asked in server.asked if asked.headers.get("if-none-match")]
    assert sorted(received.rows()["accession"]) == ["0001193125-20-000001", "0001193125-26-027207"]
    assert len(received.rows("raw/reference/fundamentals")) == 1 and unchanged
    assert any("submissions of 0000320193: " in words and "answered 404: no such key" in words for words in received.said)


def test_a_new_document_sends_its_new_rows_alone(tmp_path: Path) -> None:
    listed, received = [made.FACT], Received()

    def answer(asked: Asked) -> Answer:
        if "companyfacts" not in asked.path:
            return Answer(404)
        return Answer(200, made.facts(tmp_path / "facts.json", *listed).read_bytes())

    with DocumentServer(answer) as server:
        client = poller(configured(tmp_path, server, "current = false", "ciks = [320193]"), received)

        def done() -> bool:
            if client.stats.unchanged and len(listed) == 1:
                listed.append(made.FACT | {"val": 9.08, "accn": "0001193125-10-012091"})
            return client.stats.acknowledged == 2

        run(client, done)
    assert [table.num_rows for _, table in received.tables] == [1, 1]
    assert str(received.tables[1][1]["value"][0].as_py()).rstrip("0") == "9.08"


def test_what_the_broker_refuses_is_sent_until_it_is_taken_or_counted_as_lost(tmp_path: Path) -> None:
    feed, received = Feed([made.entry()]), Received()
    refusals = iter([QuantLakeError("no broker")] * 3)

    def send(stream: Stream, rows: pa.Table) -> int:
        if error := next(refusals, None):
            raise error
        return received.send(stream, rows)

    def never(stream: Stream, rows: pa.Table) -> int:
        raise QuantLakeError("no broker")

    with DocumentServer(feed.answer) as server:
        client = poller(configured(tmp_path, server), received, send)
        run(client, lambda: client.stats.acknowledged == 1)
        assert client.stats.retries == 3 and "the broker takes messages again" in received.said
        lost = poller(configured(tmp_path, server), received, never)
        took = run(lost, lambda: lost.stats.retries > 1)
    assert lost.stats.lost == 1 and took < 2 and lost.stats.trouble == "no broker"


@pytest.mark.parametrize(("said", "found"), [
    ("", "user_agent is None"), ('user_agent = "me"', "'me' is not a name and a contact"), ("user_agent = 1", "user_agent is 1"),
    (f'user_agent = "{AGENT}"\nciks = 1', "ciks is 1; write it as ciks ="), (f'user_agent = "{AGENT}"\nciks = ["AAPL"]', "'AAPL' is not a Central Index Key"),
    (f'user_agent = "{AGENT}"\ncurrent = false', "nothing is asked for"), (f'user_agent = "{AGENT}"\ncompany_seconds = 0', "company_seconds is 0"),
    (f'user_agent = "{AGENT}"\nsymbols = []', "there is no setting 'symbols'"), (f'user_agent = "{AGENT}"\nurl = "http://sec.gov"', "is not encrypted"),
    (f'user_agent = "{AGENT}"\ncurrent = 1', "current is 1; it is to be true or false"), ("user_agent", "is to be a TOML file"),
])
def test_a_bad_configuration_is_named(tmp_path: Path, said: str, found: str) -> None:
    path = tmp_path / "edgar.toml"
    path.write_text(said)
    with pytest.raises(QuantLakeError, match=re.escape(found)):
        polling.plan("edgar", path)


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QuantLakeError, match=r"edgar\.toml: No such file or directory; it is to be a TOML file"):
        polling.plan("edgar", tmp_path / "edgar.toml")
