"""News: plain text, and what copies of an article tell each other."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from quantlake.contract import Rows
from quantlake.contract.versions import known_then, versioned
from quantlake.datasets.alt import news
from quantlake_tests.empty import NO_SYMBOLS

NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)
COPY = {
    "source": "a", "guid": "1", "title": "T", "url": None, "body": None, "tickers": [], "feeds": ["x"], "event_time": NOON, "published_at": NOON,
    "known_at": NOON, "partition_date": date(2024, 3, 4), "object_uri": None, "object_hash": None, "source_name": "s", "source_version": None,
    "source_records": None, "line_number": 1, "_timestamp": NOON + timedelta(days=1),
}  # fmt: skip
KINDS = {n: kind for n, kind in pl.DataFrame(news.raw.spec.arrow.empty_table()).schema.items() if n in COPY}


def versions(*copies: dict[str, Any]) -> pl.DataFrame:
    received = pl.LazyFrame([COPY | copy for copy in copies], schema=KINDS)
    return versioned(news.curate(received, NO_SYMBOLS).select(c.name for c in news.news.columns), news.news)


def newest(found: pl.DataFrame) -> dict[str, Any]:
    return found.filter(pl.col("superseded_at").is_null()).row(0, named=True)


def test_curated_text_is_plain() -> None:
    received = pl.LazyFrame({
        "title": ["P/E &lt; 5 &amp;amp; more", "b"],
        "body": ["<p>Hi <b>the</b>re&#39;s&#x20AC;</p><br/>you<script>no()</script>", " &nbsp; "],
    })
    assert received.with_columns(news.plain_text("title"), news.plain_text("body")).collect().to_dicts() == [
        {"title": "P/E < 5 &amp; more", "body": "Hi there's€ you"},
        {"title": "b", "body": None},
    ]


def test_a_poorer_copy_never_blanks_a_richer_one() -> None:
    rich = {"url": "u", "body": "<p>B</p>", "tickers": ["FB", "AAPL", "FB"], "object_uri": "objects/1", "object_hash": "1"}
    poor = {"feeds": ["b"], "known_at": NOON + timedelta(seconds=1), "body": " ", "object_uri": "objects/2", "object_hash": "2"}
    tagged = {"feeds": ["a"], "known_at": NOON + timedelta(seconds=2), "tickers": ["TSLA"], "title": "T2"}
    found = versions(rich, poor, tagged)
    told = found.select("title", "url", "body", "tickers", "feeds", "object_uri", "instrument_ids").rows()
    assert told == [
        ("T", "u", "B", ["AAPL", "FB"], ["x"], "objects/1", []),
        ("T", "u", "B", ["AAPL", "FB"], ["b", "x"], "objects/1", []),
        ("T2", "u", "B", ["AAPL", "FB", "TSLA"], ["a", "b", "x"], "objects/1", []),
    ]
    then = found.filter(known_then(NOON + timedelta(seconds=1), news.news))
    assert then["feeds"].to_list() == [["b", "x"]]


def test_copies_fold_in_the_order_they_were_known_not_in_that_they_came() -> None:
    late = {"known_at": NOON + timedelta(hours=1), "body": "late", "feeds": ["late"]}
    early = {"body": "early", "feeds": ["early"]}
    for copies in ((late, early), (early, late)):
        found = versions(*copies)
        assert found.sort("known_at").select("body", "feeds").rows() == [("early", ["early"]), ("late", ["early", "late"])]


def test_an_equal_copy_makes_no_version_and_other_articles_are_others() -> None:
    assert len(versions({}, {"known_at": NOON + timedelta(hours=1), "line_number": 2})) == 1
    others = versions({}, {"guid": "2", "feeds": ["y"]}, {"source": "b", "tickers": ["Z"]}, {"partition_date": date(2024, 3, 5), "url": "u"})
    assert others["superseded_at"].null_count() == 4
    assert sorted(map(tuple, others["feeds"].to_list())) == [("x",), ("x",), ("x",), ("y",)]


def test_what_was_sent_before_published_at_was_kept_has_it_too() -> None:
    assert newest(versions({"published_at": None}))["published_at"] == NOON


def test_the_future_is_warned_of_and_known_when_it_came() -> None:
    check, _ = news.news.checks
    assert isinstance(check, Rows) and not check.blocking
    received = NOON - timedelta(minutes=5)
    file = {"guid": "3", "published_at": NOON + timedelta(seconds=1), "known_at": NOON + timedelta(seconds=1), "_timestamp": received}
    found = versions({}, {"guid": "2", "published_at": NOON + timedelta(minutes=4)}, file)
    assert found.filter(check.bad)["guid"].to_list() == ["3"]
    assert found.filter(pl.col("guid") == "3")["known_at"].to_list() == [received]


def test_tickers_are_the_instruments_that_were_known_then() -> None:
    """A mapping that is corrected later makes a version of the article, as it does of a trade; tickers that copies unite are all mapped."""
    schema = NO_SYMBOLS.collect_schema()
    later = NOON + timedelta(days=700)
    mapped = [
        {"symbol": "AAPL", "instrument_id": "OLD", "known_at": datetime(2000, 1, 3, tzinfo=UTC), "superseded_at": later},
        {"symbol": "AAPL", "instrument_id": "NEW", "known_at": later, "superseded_at": None},
        {"symbol": "FB", "instrument_id": "META", "known_at": datetime(2012, 5, 18, tzinfo=UTC), "superseded_at": None},
    ]  # fmt: skip
    same = {"source": "lean", "venue": "usa", "valid_from": date(2000, 1, 3)}
    names = pl.LazyFrame([{c: (same | row).get(c) for c in schema} for row in mapped], schema=dict(schema))
    copies = [COPY | {"tickers": ["aapl"]}, COPY | {"tickers": ["FB", "NONE"], "feeds": ["y"], "known_at": NOON + timedelta(hours=1)}]
    curated = news.curate(pl.LazyFrame(copies, schema=KINDS), names).select(c.name for c in news.news.columns)
    every = versioned(curated, news.news)  # the first copy's own version of `later` is over as it begins
    found = every.filter(pl.col("superseded_at").is_null() | (pl.col("superseded_at") > pl.col("known_at"))).sort("known_at")
    assert found.select("known_at", "instrument_ids").rows() == [
        (NOON, ["OLD"]), (NOON + timedelta(hours=1), ["META", "OLD"]), (later, ["META", "NEW"]),
    ]  # fmt: skip
    unmapped = next(c for c in news.news.checks if isinstance(c, Rows) and c.name == "unmapped_ticker")
    assert found.select(unmapped.bad).to_series().to_list() == [False, True, True]
