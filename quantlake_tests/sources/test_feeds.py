"""RSS and Atom: items of both, encodings, tickers, documents, and every kind of broken feed."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import Document, QuantLakeError
from quantlake.datasets.alt import news
from quantlake.sources import feeds, replay
from quantlake.sources.importers import Importer
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import frame, require_counted, table

NAMESPACES = 'xmlns:nasdaq="http://nasdaq.com/reference/feeds/1.0" xmlns:sa="https://seekingalpha.com/api/1.0" ' \
    'xmlns:content="http://purl.org/rss/1.0/modules/content/"'  # fmt: skip
ITEM = {"title": "A", "link": "https://www.nasdaq.com/a", "guid": "g", "pubDate": "Wed, 05 Aug 2020 20:47:04 -0400"}
ATOM = '<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><id>f</id><title>F</title><updated>2020-01-01T00:00:00Z</updated>{}</feed>'
ENTRY = '<entry><id>tag:bbc,1</id><title>A</title><link href="https://www.bbc.co.uk/x"/>{}</entry>'


def rss(*items: dict[str, str], more: str = "", encoding: str = "utf-8") -> bytes:
    written = "".join(f"<item>{''.join(f'<{n}>{escape(t)}</{n}>' for n, t in item.items())}{more}</item>" for item in items)
    text = f'<?xml version="1.0" encoding="{encoding}"?><rss version="2.0" {NAMESPACES}><channel><title>F</title>{written}</channel></rss>'
    return text.encode(encoding)


def feed(folder: Path, content: bytes | str, name: str = "feed.xml") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def items(path: Path) -> pa.Table:
    found = feeds.recognise(path)
    assert isinstance(found, Importer)
    return table(news.raw, found.read(path))


def refused(path: Path) -> str:
    with pytest.raises(QuantLakeError) as error:
        next(feeds.read(path))
    return str(error.value)


def test_an_item_carries_its_publisher_time_tickers_and_document(tmp_path: Path) -> None:
    more = "<nasdaq:tickers>FB, FB</nasdaq:tickers>" + "".join(f"<sa:stock><sa:symbol>{s}</sa:symbol></sa:stock>" for s in ("TSLA", "F"))
    body = "<p onclick='x'>hi<script>1</script> <a href='/r'>caf\xe9</a></p>"
    path = feed(tmp_path, rss(ITEM | {"description": body, "title": "A &amp; B"}, more=more, encoding="iso-8859-1"), "some_feed.rss")
    (row,) = items(path).to_pylist()
    assert row["event_time"] == row["known_at"] == row["published_at"] == datetime(2020, 8, 6, 0, 47, 4, tzinfo=UTC)
    assert (str(row["partition_date"]), row["source"], row["guid"], row["url"]) == ("2020-08-06", "nasdaq", "g", ITEM["link"])
    assert (row["feeds"], row["source_name"], row["line_number"], row["source_records"]) == (["some_feed"], "rss/nasdaq/some_feed", 1, 1)
    assert (row["title"], row["body"], row["tickers"]) == ("A &amp; B", body, ["FB", "FB", "TSLA", "F"])
    document = next(feeds.read(path))
    assert isinstance(document, Document)
    assert (document.content.decode(), document.uri, document.hash) == (body, row["object_uri"], row["object_hash"])
    packed = feed(tmp_path, gzip.compress(path.read_bytes()), "some_feed.rss.gz")
    assert items(packed).equals(items(path))


def test_an_atom_entry_is_known_when_it_was_updated(tmp_path: Path) -> None:
    told = [
        "<published>2020-08-25T23:49:00.5Z</published><updated>2020-08-26T02:49:00+02:00</updated><summary>s</summary>",
        '<updated>2020-08-26T02:49:00+02:00</updated><summary>s</summary><content type="html">&lt;p&gt;c&lt;/p&gt;</content>',
    ]
    rows = items(feed(tmp_path, ATOM.format("".join(map(ENTRY.format, told))), "x.atom")).to_pylist()
    updated = datetime(2020, 8, 26, 0, 49, tzinfo=UTC)
    assert [r["published_at"] for r in rows] == [datetime(2020, 8, 25, 23, 49, 0, 500_000, tzinfo=UTC), updated]
    assert [r["known_at"] for r in rows] == [updated, updated]
    assert [(r["source"], r["guid"], r["body"], str(r["partition_date"])) for r in rows] == [
        ("bbc", "tag:bbc,1", "s", "2020-08-25"), ("bbc", "tag:bbc,1", "<p>c</p>", "2020-08-26"),
    ]  # fmt: skip
    require_counted(frame(news.raw, feeds.read(tmp_path / "x.atom")).with_row_index("item_index"))


@pytest.mark.parametrize(("item", "found"), [
    ({"pubDate": "yesterday"}, "item 2: published is 'yesterday'; RFC 822 is expected"),
    ({"pubDate": "Wed, 05 Aug 2020 10:47:04"}, "item 2: published 'Wed, 05 Aug 2020 10:47:04' has no offset"),
    ({"pubDate": "Wed, 05 Aug 99999 10:47:04 +0000"}, "item 2: published is"),
    ({"pubDate": ""}, "item 2 says neither when it was published nor when it was updated"),
    ({"title": ""}, "item 2 has no title"),
    ({"guid": "", "link": ""}, "item 2 has no guid and no link"),
    ({"link": "", "guid": "1"}, "item 2: neither link None nor guid '1' names a host"),
])  # fmt: skip
def test_a_bad_item_is_named(tmp_path: Path, item: dict[str, str], found: str) -> None:
    path = feed(tmp_path, rss(ITEM, ITEM | item))
    assert f"{path} {found}" in refused(path)


@pytest.mark.parametrize(("content", "found"), [
    (rss(ITEM, ITEM)[:-30], "is not whole XML: .* line 1, column .*; a cut file"),
    (rss(ITEM).replace(b"<title>A", b"<title>A &nope;"), "is not whole XML: undefined entity"),
    (rss(ITEM).replace(b"<title>A", b"<title>\xff"), "is not whole XML"),
    (b"<rss><channel></rss>", "is neither RSS nor Atom|is not whole XML"),
    (b'{"rss": 1}', "is neither RSS nor Atom: it begins b'{"),
    (b"<html><body>503 Service Unavailable</body></html>", "is neither RSS nor Atom: it begins b'<html>"),
    (b"", "is neither RSS nor Atom"),
])  # fmt: skip
def test_a_broken_feed_is_refused_by_name(tmp_path: Path, content: bytes, found: str) -> None:
    path = feed(tmp_path, content)
    with pytest.raises(QuantLakeError, match=rf"feed\.xml ({found})"):
        next(feeds.read(path))


def test_entities_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE rss [<!ENTITY e0 "ha">{entities}]>' + rss(ITEM).decode().partition("?>")[2].replace("<title>A", "<title>&e11;")
    assert "feed.xml" in refused(feed(tmp_path, bomb))


def test_html_under_a_feeds_name_is_refused_by_name_and_other_files_are_no_feeds(tmp_path: Path) -> None:
    page = feed(tmp_path, "<!DOCTYPE html><html><body>503</body></html>", "page.xml")
    assert feeds.recognise(page) == "HTML page"
    with pytest.raises(QuantLakeError, match=r"page\.xml: no importer for this format \(HTML page\)"):
        replay.plan([page])
    assert list(replay.plan([tmp_path]).no_format) == ["HTML page"]
    for content, name in (("<svg/>", "a.xml"), ("", "b.xml"), (rss(ITEM), "c.txt")):
        assert feeds.recognise(feed(tmp_path, content, name)) is None


def test_recorded_filings_are_no_news() -> None:
    found = [feeds.recognise(path) for path in sorted(recorded("alt/sec_current_filings_atom").glob("page_*"))]
    assert not any(isinstance(f, Importer) for f in found)


def test_a_guid_twice_in_a_feed_lands_twice(tmp_path: Path) -> None:
    assert items(feed(tmp_path, rss(ITEM, ITEM)))["line_number"].to_pylist() == [1, 2]


text = st.sampled_from(["", "A", "https://www.nasdaq.com/a", "Wed, 05 Aug 2020 20:47:04 -0400", "2020-08-26T02:49:00Z", "2020", "<&\u20ac"])
records = st.fixed_dictionaries({}, optional=dict.fromkeys(ITEM, text))


@settings(max_examples=80, deadline=None)
@given(st.lists(records, max_size=4), st.one_of(st.just(0), st.integers(1, 80)), st.booleans())
def test_rows_are_the_records_or_the_feed_is_refused(tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, str]], cut: int, whole: bool) -> None:
    path = tmp_path_factory.mktemp("feed") / "feed.xml"
    content = rss(ITEM, *(ITEM | record if whole else record for record in told))
    path.write_bytes(content[: len(content) - cut])
    try:
        numbers, error = table(news.raw, feeds.read(path))["line_number"].to_pylist(), ""
    except QuantLakeError as found:
        numbers, error = [], str(found)
    assert str(path) in error if error else numbers == list(range(1, len(told) + 2))
    assert error or not cut
