"""Which news items say the same: each item's cluster, by the words of its headline and of those before it.

Here: near-duplicates and the id they share; no item is dropped. Not here: copies of one article (news.py folds them by key).

An item matches an earlier one whose title's words, as sets, have a Jaccard similarity (intersection / union) of at least 0.9, and which
was published at most 72 h before. Its cluster is named after its earliest match, or after itself where it has none. So a cluster is
known from the item's own date and the three before, whatever else there is; an item more than 72 h after a cluster's first one begins
the next, though it matches one in between. "Earlier" is by (published_at, source, guid), so that nothing looks ahead and ties are settled.
"""

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, Derived, Input, Text, Timestamp
from quantlake.datasets.alt.news import GUID, KEY, SOURCE, news

WINDOW_DAYS = 3
TENTHS = 9  # of the union that the intersection is to be
FEWEST = 9  # words of titles that match without being equal: 8 of 9 are less than 0.9
WORD = r"[\p{L}\p{N}]+"
ORDER = ["published_at", "source", "guid"]

clusters = Derived(
    __name__,
    of=(Input(news, -WINDOW_DAYS, 0),),
    many=True,
    doc="A news item and the cluster of near-duplicates it belongs to.",
    owner="alt-data",
    key=KEY,
    columns=(
        SOURCE,
        GUID,
        Column("cluster_id", Text, "`source/guid` of the earliest item of the preceding 72 h that says the same; its own where none does."),
        Column("published_at", Timestamp, "When it was published, UTC."),
        Column("event_time", Timestamp, "The same."),
        Column("known_at", Timestamp, "When both it and that item were known, UTC."),
        PARTITION_DATE,
    ),
    storage_partition="month",
)


@clusters.build
def clustered(items: pl.LazyFrame) -> pl.LazyFrame:
    rows = items.select(*KEY, "known_at", published_at="event_time", words=words("title")).collect()
    titles = rows.select("words").unique().filter(pl.col("words").list.len() > 0).with_row_index("title")
    rows = rows.join(titles, on="words", how="left").drop("words").sort(ORDER).with_row_index("nth")
    earliest = _earliest(rows, similar(titles, rows.select("title", "partition_date").drop_nulls().unique()))
    found = rows.join(earliest, on="nth", how="left", maintain_order="left")
    return found.lazy().with_columns(
        cluster_id=pl.format("{}/{}", pl.coalesce("first_source", "source"), pl.coalesce("first_guid", "guid")),
        event_time=pl.col("published_at"),
        known_at=pl.max_horizontal("known_at", "first_known_at"),
    )


def words(column: str) -> pl.Expr:
    """The words of a text in lower case, each once, sorted: runs of letters and digits of any script."""
    return pl.col(column).str.to_lowercase().str.extract_all(WORD).list.unique().list.sort()


def similar(titles: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Pairs of titles (``title``, ``other``) of a similarity of at least 0.9, each also with itself; of others, ``other`` stood on the
    same date or one of the three before.

    ``titles`` has ``title`` and ``words``, ``days`` the dates of each title. Two sets that similar, their words ordered by how rare they
    are, have a word in common among the first few of each (all but 0.9 of them, and one): only such pairs are compared. This prefix
    filter: Bayardo, Ma, Srikant, Scaling Up All Pairs Similarity Search, WWW 2007.
    """
    size = pl.col("words").list.len().cast(pl.Int64)
    sets = titles.lazy().with_columns(size=size).filter(pl.col("size") >= FEWEST)
    ranked = sets.explode("words").with_columns(frequency=pl.len().over("words")).sort("title", "frequency", "words")
    first = pl.int_range(pl.len()).over("title") <= pl.col("size") * (10 - TENTHS) // 10
    dated = ranked.filter(first).select("title", "words", "size").join(days.lazy(), on="title")
    later = pl.date_ranges("partition_date", pl.col("partition_date") + pl.duration(days=WINDOW_DAYS))
    before = dated.with_columns(later).explode("partition_date").unique().rename({"title": "other", "size": "other_size"})
    alike = pl.min_horizontal("size", "other_size") * 10 >= pl.max_horizontal("size", "other_size") * TENTHS
    pairs = dated.join(before, on=["partition_date", "words"]).filter(alike, pl.col("title") != pl.col("other"))
    pairs = pairs.select("title", "other", "size", "other_size").unique()
    pairs = pairs.join(sets.select("title", "words"), on="title").join(sets.select(other="title", others="words"), on="other")
    common = pl.col("words").list.set_intersection("others").list.len().cast(pl.Int64)
    matching = pairs.filter(common * 10 >= (pl.col("size") + pl.col("other_size") - common) * TENTHS).select("title", "other")
    return pl.concat([titles.select("title", other="title"), matching.collect()])


def _earliest(rows: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """By ``nth`` (the order of items), the earliest matching item of the window: itself where there is no other."""
    since = (pl.col("published_at") - pl.duration(days=WINDOW_DAYS)).alias("since")
    asked = rows.drop_nulls("title").select("nth", "title", since).join(pairs, on="title").sort("since")
    offered = rows.select(
        other="title", since="published_at", first="nth", first_source="source", first_guid="guid", first_known_at="known_at"
    ).unique(["other", "since"], keep="first", maintain_order=True)
    found = asked.join_asof(offered, on="since", by="other", strategy="forward", check_sortedness=False).filter(pl.col("first") <= pl.col("nth"))
    return found.sort("first").unique("nth", keep="first", maintain_order=True).select("nth", "first_source", "first_guid", "first_known_at")
