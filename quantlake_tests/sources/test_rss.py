"""RSS items as JSON: recorded feeds, JSONC, publishers, times, and bad items."""

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from quantlake.contract import QuantLakeError
from quantlake.datasets.alt import news
from quantlake.sources import rss
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import ITEM, table


def feed(folder: Path, *items: object, name: str = "feed.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(items))
    return path


def items(path: Path) -> pa.Table:
    return table(news.raw, rss.read(path))


def test_the_recorded_feeds_are_read_whole() -> None:
    files = [p for p in sorted(recorded("alt/rss_news_json").iterdir()) if rss.recognise(p)]
    frame = pl.DataFrame(pa.concat_tables([items(path) for path in files]))
    assert (len(files), len(frame)) == (14, 237)
    assert dict(frame.group_by("source").len().iter_rows()) == {"nasdaq": 120, "seeking_alpha": 97, "yahoo_finance": 20}
    assert frame["guid"].n_unique() == 225
    versions = news.curate(frame.lazy()).select(*news.news.key, *news.news.business_columns).unique().collect()
    assert len(versions) == 226  # one article has its ticker in one of two feeds
    assert frame.filter(pl.col("source_records") != pl.len().over("source_name", "partition_date")).is_empty()


def test_an_item_carries_its_publisher_time_and_place(tmp_path: Path) -> None:
    tagged, bare = ITEM | {"tickers": "FB, FB", "symbol": "AAPL"}, ITEM | {"description": "<p>x</p>"}
    del bare["guid"]
    first, second = items(feed(tmp_path, tagged, bare, name="some_feed.jsonc.jsonc")).to_pylist()
    assert first["event_time"] == first["known_at"] == datetime(2020, 8, 6, 0, 47, 4, tzinfo=UTC)
    assert str(first["partition_date"]) == "2020-08-06"
    assert (first["source"], first["feeds"], first["source_name"]) == ("nasdaq", ["some_feed"], "rss/nasdaq/some_feed")
    assert (first["tickers"], first["body"], first["source_records"]) == (["FB", "FB", "AAPL"], None, 2)
    assert (second["guid"], second["tickers"], second["body"]) == ("https://www.nasdaq.com/a", [], "<p>x</p>")
    assert (first["line_number"], second["line_number"]) == (1, 2)


@pytest.mark.parametrize(("link", "source"), [
    ("https://in.finance.yahoo.com/x", "yahoo_finance"), ("https://seekingalpha.com/x", "seeking_alpha"),
    ("https://feeds.Market-Watch.com/x", "market_watch"), ("https://www.bbc.co.uk/x", "bbc"),
])
def test_the_publisher_is_the_host(tmp_path: Path, link: str, source: str) -> None:
    assert items(feed(tmp_path, ITEM | {"link": link}))["source"].to_pylist() == [source]


def test_comments_and_trailing_commas_are_allowed_outside_strings(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonc"
    body = json.dumps(ITEM | {"title": 'a // "b" /* c */ ,]'})
    path.write_text(f"// one\n[/* two\n lines */ {body[:-1]},}},\n]")
    assert rss.recognise(path)
    assert items(path)["title"].to_pylist() == ['a // "b" /* c */ ,]']


@pytest.mark.parametrize(("change", "found"), [
    ({"pubDate": "yesterday"}, "item 2: pubDate is 'yesterday'"),
    ({"pubDate": "Wed, 05 Aug 2020 10:47:04 -0000"}, "item 2: pubDate 'Wed, 05 Aug 2020 10:47:04 -0000' has no offset"),
    ({"pubDate": None}, "item 2: pubDate is None"),
    ({"title": ""}, "item 2 has no title"),
    ({"guid": "", "link": ""}, "item 2 has no guid and no link"),
    ({"link": "", "guid": "1"}, "item 2: neither link None nor guid '1' names a host"),
    ({"tickers": ["A"]}, "item 2: tickers is"),
])
def test_a_bad_item_is_named(tmp_path: Path, change: dict[str, object], found: str) -> None:
    path = feed(tmp_path, ITEM, ITEM | change)
    with pytest.raises(QuantLakeError) as error:
        items(path)
    assert f"{path} {found}" in str(error.value)


def test_a_cut_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_text(json.dumps([ITEM, ITEM], indent=1)[:-20])
    assert rss.recognise(path)
    with pytest.raises(QuantLakeError, match=r"cut\.json line \d+ is not JSON"):
        items(path)


def test_other_json_is_not_rss(tmp_path: Path) -> None:
    for content in ('{"pubDate": 1}', "[]", '[{"date": 1}]'):
        (tmp_path / "x.json").write_text(content)
        assert rss.recognise(tmp_path / "x.json") is None


def test_curated_text_is_plain() -> None:
    received = pl.LazyFrame({
        "title": ["P/E &lt; 5 &amp;amp; more", "b"],
        "body": ["<p>Hi <b>the</b>re&#39;s&#x20AC;</p><br/>you<script>no()</script>", " &nbsp; "],
        "tickers": [["FB", "FB", "A"], []],
    })
    assert news.curate(received).collect().to_dicts() == [
        {"title": "P/E < 5 &amp; more", "body": "Hi there's€ you", "tickers": ["FB", "A"]},
        {"title": "b", "body": None, "tickers": []},
    ]
