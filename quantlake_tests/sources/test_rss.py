"""RSS items as JSON: recorded feeds, JSONC, publishers, times, and bad items."""

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.contract import QuantLakeError
from quantlake.contract.versions import versioned
from quantlake.datasets.alt import news
from quantlake.sources import rss
from quantlake_tests.empty import NO_SYMBOLS
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
    versions = versioned(news.curate(frame.lazy().with_columns(_timestamp="known_at"), NO_SYMBOLS).select(c.name for c in news.news.columns), news.news)
    newest = versions.filter(pl.col("superseded_at").is_null())
    assert (len(versions), len(newest)) == (237, 225)  # no copy tells nothing new: at least another feed
    assert newest.filter(pl.col("feeds").list.len() > 1).height == 12
    assert frame["object_uri"].null_count() == frame["body"].null_count()
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
    ({"pubDate": "Wed, 05 Aug 2020 10:47:04"}, "item 2: pubDate 'Wed, 05 Aug 2020 10:47:04' has no offset"),
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


def test_half_a_character_and_deep_nesting_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(QuantLakeError, match=r"feed\.json item 1: title has half of a character"):
        items(feed(tmp_path, ITEM | {"title": "a\ud83d"}))
    (tmp_path / "deep.json").write_text('[{"pubDate": ' + "[" * 100_000)
    with pytest.raises(QuantLakeError, match=r"deep\.json is nested too deeply"):
        items(tmp_path / "deep.json")


field = st.sampled_from(["", "A", "https://www.nasdaq.com/a", "Wed, 05 Aug 2020 20:47:04 -0400", "Wed, 05 Aug 2020 20:47:04"])
records = st.fixed_dictionaries({}, optional={name: field | st.none() | st.just(1) for name in rss.TEXTS})


@settings(max_examples=80, deadline=None)
@given(st.lists(records, max_size=4), st.integers(0, 40))
def test_rows_are_the_records_or_the_file_is_refused(tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, object]], cut: int) -> None:
    path = tmp_path_factory.mktemp("rss") / "feed.json"
    text = json.dumps([ITEM, *(ITEM | record for record in told)], indent=1)
    path.write_text(text[: len(text) - cut])
    try:
        numbers, refused = items(path)["line_number"].to_pylist(), ""
    except QuantLakeError as error:
        numbers, refused = [], str(error)
    assert str(path) in refused if refused else numbers == list(range(1, len(told) + 2))
    assert refused or not cut
