"""Clusters of news: against every pair compared, at the window's edges, and the same whatever other dates stand beside."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantlake.datasets.alt import news
from quantlake.datasets.alt.news_clusters import clustered, words
from quantlake.sources import rss
from quantlake_tests.empty import NO_SYMBOLS
from quantlake_tests.recorded import recorded
from quantlake_tests.sources.files import frame as read

NOON = datetime(2024, 3, 8, 12, tzinfo=UTC)
TEN = "one two three four five six seven eight nine ten"
SCHEMA = {"source": pl.String, "guid": pl.String, "title": pl.String, "event_time": pl.Datetime("us", "UTC"), "known_at": pl.Datetime("us", "UTC")}
Item = tuple[str, str, str, datetime, datetime]


def item(guid: str, title: str, hours: float, source: str = "a", known: float | None = None) -> Item:
    return source, guid, title, NOON + timedelta(hours=hours), NOON + timedelta(hours=hours if known is None else known)


def frame(*items: Item) -> pl.DataFrame:
    return pl.DataFrame(items, SCHEMA, orient="row").with_columns(partition_date=pl.col("event_time").dt.date())


def clusters(*items: Item) -> dict[str, str]:
    return {f"{row['source']}/{row['guid']}": row["cluster_id"] for row in clustered(frame(*items).lazy()).collect().to_dicts()}


def test_an_item_joins_its_earliest_match_and_never_a_later_one() -> None:
    found = clusters(item("3", TEN + " eleven", 2), item("1", "ONE, two & " + TEN[8:], 0), item("2", TEN + "!", 1), item("4", "one two", 3))
    assert found == {"a/1": "a/1", "a/2": "a/1", "a/3": "a/1", "a/4": "a/4"}


@pytest.mark.parametrize(("title", "same"), [
    (TEN.replace("ten", "zehn"), False),  # 9 of 11
    (TEN.removesuffix(" ten"), True),  # 9 of 10
    (TEN + " eleven", True),  # 10 of 11
    (TEN + " eleven twelve", False),  # 10 of 12
    (TEN.upper() + " ten ten", True),
    ("", False),
])  # fmt: skip
def test_nine_tenths_of_the_words(title: str, same: bool) -> None:
    assert clusters(item("1", TEN, 0), item("2", title, 1))["a/2"] == ("a/1" if same else "a/2")


def test_titles_without_words_match_nothing_and_any_script_has_words() -> None:
    assert clusters(item("1", "—", 0), item("2", "—", 1), item("3", "Ölpreis 5% 上涨", 0), item("4", "ÖLPREIS: 5 上涨", 1)) == {
        "a/1": "a/1", "a/2": "a/2", "a/3": "a/3", "a/4": "a/3",
    }  # fmt: skip


def test_the_window_is_72_hours_and_a_chain_does_not_carry_beyond_it() -> None:
    found = clusters(item("1", "x", 0), item("2", "x", 72), item("3", "x", 72 + 1 / 3600), item("4", "x", 150))
    assert found == {"a/1": "a/1", "a/2": "a/1", "a/3": "a/2", "a/4": "a/4"}


def test_ties_are_settled_by_source_and_guid() -> None:
    assert clusters(item("2", "x", 0, "b"), item("1", "x", 0, "b"), item("9", "x", 0)) == {"a/9": "a/9", "b/1": "a/9", "b/2": "a/9"}


def test_a_cluster_is_known_once_both_items_are() -> None:
    rows = clustered(frame(item("1", "x", 0, known=5), item("2", "x", 1), item("3", "y", 2)).lazy()).collect()
    assert dict(rows.select("guid", "known_at").iter_rows()) == {g: NOON + timedelta(hours=h) for g, h in (("1", 5), ("2", 5), ("3", 2))}


def by_pairs(rows: pl.DataFrame) -> dict[tuple[str, str], str]:
    """What the definition says, every pair compared."""
    items = sorted(zip(rows["event_time"], rows["source"], rows["guid"], rows.select(words("title"))["title"].to_list(), strict=True))
    found = {}
    for n, (at, source, guid, mine) in enumerate(items):
        first = (source, guid)
        for then, other_source, other_guid, theirs in items[:n]:
            union = set(mine) | set(theirs)
            if at - then <= timedelta(hours=72) and union and len(set(mine) & set(theirs)) * 10 >= len(union) * 9:
                first = (other_source, other_guid)
                break
        found[source, guid] = "/".join(first)
    return found


def of(rows: pl.DataFrame) -> dict[tuple[str, str], str]:
    return {(row["source"], row["guid"]): row["cluster_id"] for row in clustered(rows.lazy()).collect().to_dicts()}


vocabulary = [f"w{n}" for n in range(24)]
edits = st.tuples(st.integers(0, 22), st.integers(0, 23), st.integers(-1, 2))
stories = st.lists(st.tuples(edits, st.integers(0, 9 * 24), st.sampled_from("ab")), max_size=40)


def written(told: list[tuple[tuple[int, int, int], int, str]]) -> pl.DataFrame:
    """Titles of 0 to 24 words that differ in a few."""
    items = []
    for n, ((length, swapped, more), hour, source) in enumerate(told):
        title = vocabulary[: max(length + more, 0)]
        title[swapped : swapped + 1] = ["odd"] * (swapped % 3 == 0)
        items.append(item(str(n), " ".join(title), hour, source))
    return frame(*items)


@settings(max_examples=150, deadline=None)
@given(stories)
def test_it_is_what_comparing_every_pair_finds(told: list[tuple[tuple[int, int, int], int, str]]) -> None:
    rows = written(told)
    assert of(rows) == by_pairs(rows)


@settings(max_examples=60, deadline=None)
@given(stories)
def test_a_date_is_the_same_whatever_stands_beside(told: list[tuple[tuple[int, int, int], int, str]]) -> None:
    rows = written(told)
    whole = of(rows)
    for day in rows["partition_date"].unique():
        window = rows.filter(pl.col("partition_date").is_between(day - timedelta(days=3), day))
        keys = rows.filter(pl.col("partition_date") == day).select("source", "guid").rows()
        assert {key: of(window)[key] for key in keys} == {key: whole[key] for key in keys}


def test_recorded_news_is_clustered_as_every_pair_says() -> None:
    files = [p for p in sorted(recorded("alt/rss_news_json").iterdir()) if rss.recognise(p)]
    copies = pl.concat([read(news.raw, rss.read(path)) for path in files])
    rows = news.curate(copies.lazy().with_columns(_timestamp="known_at"), NO_SYMBOLS).collect().unique(["source", "guid"], keep="last", maintain_order=True)
    found = of(rows)
    assert (len(found), len(set(found.values()))) == (225, 225)  # the recorded feeds hold no near-duplicate
    assert found == by_pairs(rows)
