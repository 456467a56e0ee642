"""News: articles and headlines as publishers' feeds carry them, and an index over their meaning.

Here: what an article is, how one is identified, its plain text, what copies of it tell each other. Not here: feed formats (sources),
near-duplicates (news_clusters.py), which model embeds the text.
"""

import html

import polars as pl

from quantlake.contract import (
    OBJECT_COLUMNS,
    PARTITION_DATE,
    SOURCE_COLUMNS,
    Column,
    EmbeddingIndex,
    Stream,
    Table,
    Text,
    TextList,
    Timestamp,
    Vector,
)
from quantlake.datasets.alt import common
from quantlake.datasets.reference import symbol_map

SOURCE = Column("source", Text, "Publisher, lower case: `nasdaq`, `seeking_alpha`, `yahoo_finance`.")
GUID = Column("guid", Text, "The publisher's own id of the article; its link where the feed has none.")
EVENT_TIME = Column("event_time", Timestamp, "When it was published, UTC.")
KNOWN_AT = Column("known_at", Timestamp, "When it could first be known, UTC.")

KEY = ("source", "guid", "partition_date")
ARTICLE = (
    SOURCE,
    GUID,
    Column("title", Text, "Headline; in curated without tags and entities."),
    Column("url", Text, "Where the article is.", null=True),
    Column("body", Text, "Summary or text, HTML as received; in curated plain text on one line.", null=True),
    Column("tickers", TextList, "Symbols the publisher tagged; in curated each once, sorted. May be empty."),
    EVENT_TIME,
    KNOWN_AT,
    PARTITION_DATE,
)
FEEDS = "The publisher's feeds that carried it"
ADDED = (Column("published_at", Timestamp, "When it was published, UTC; the same as event_time.", null=True), *OBJECT_COLUMNS)

raw = Stream(
    __name__,
    doc="A news item as one feed carried it.",
    owner="alt-data",
    topic="alt.news.v1",
    message_key="guid",
    files="log",
    columns=(*ARTICLE, Column("feeds", TextList, f"{FEEDS}.", provenance=True), *SOURCE_COLUMNS, *ADDED),
    key=KEY,
    storage_partition="month",
)


@raw.fill
def complete(news: pl.DataFrame) -> pl.DataFrame:
    """The time of publication and its UTC date; no tickers and no feeds where none are stated."""
    return news.with_columns(
        pl.col("tickers", "feeds").fill_null(pl.lit([], dtype=pl.List(pl.String))),
        pl.col("published_at").fill_null(pl.col("event_time")),
        pl.col("partition_date").fill_null(pl.col("event_time").dt.date()),
    )


news = Table(
    __name__,
    of=raw,
    looks_up=(symbol_map.LOOKED_UP,),
    doc="An article, once, however many feeds carried it: changed text, further feeds or tickers are versions of its key.",
    owner="alt-data",
    key=KEY,
    sort_by=("source", "event_time"),
    columns=(
        *ARTICLE,
        Column("feeds", TextList, f"{FEEDS} by then, sorted."),
        *SOURCE_COLUMNS,
        *ADDED,
        Column("instrument_ids", TextList, "Ours of its tickers, as of publication, sorted; empty where none is known.", null=True),
    ),
    storage_partition="month",
    checks=(common.IN_TIME, common.unmapped("tickers")),
)

UNITED = ("tickers", "feeds")
FILLED = ("title", "url", "body", *(c.name for c in OBJECT_COLUMNS))
HIDDEN = r"(?is)<!--.*?-->|<script\b.*?</script\s*>|<style\b.*?</style\s*>"
BLOCK_TAG = r"(?i)</?(?:p|br|hr|div|section|h[1-6]|ul|ol|li|table|tr|td|th|blockquote|pre|img|figure)\b[^>]*>"
TAG = r"(?i)</?[a-z!][^>]*>"
ENTITY = r"&(?:#[0-9]{1,9}|#[xX][0-9a-fA-F]{1,8}|[A-Za-z][A-Za-z0-9]*);"


@news.build
def curate(received: pl.LazyFrame, mapped: pl.LazyFrame) -> pl.LazyFrame:
    plain = received.with_columns(
        common.known_at(), plain_text("title"), plain_text("body"), pl.col("published_at").fill_null(pl.col("event_time"))
    )
    return common.with_instruments(folded(plain), mapped, "tickers")


def folded(copies: pl.LazyFrame) -> pl.LazyFrame:
    """Each copy of an article with what the copies known before it tell: lists united and sorted, nulls filled.

    Copies are ordered by ``known_at``, then as they stand, which they go on to do. A document belongs to its body: of a copy without
    one it counts for nothing.
    """
    has_body = pl.col("body").is_not_null()
    rows = copies.with_row_index("_row").with_columns(pl.when(has_body).then(c.name).alias(c.name) for c in OBJECT_COLUMNS)
    order = ["known_at", "_row"]
    rows = rows.with_columns(_nth=pl.int_range(pl.len()).over(KEY, order_by=order)).with_columns(
        pl.col(FILLED).forward_fill().over(KEY, order_by=order)
    )
    for column in UNITED:
        rows = rows.drop(column).join(_united(rows, column), on="_row", how="left", maintain_order="left")
    return rows.with_columns(pl.col(UNITED).fill_null(pl.lit([], pl.List(pl.String)))).drop("_row", "_nth")


def _united(rows: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """The items that a row's copies hold up to it, by ``_row``."""
    items = rows.select(*KEY, "_nth", item=column).explode("item").drop_nulls("item").group_by(*KEY, "item").agg(since=pl.min("_nth"))
    held = rows.select("_row", "_nth", *KEY).join(items, on=KEY).filter(pl.col("since") <= pl.col("_nth"))
    return held.group_by("_row").agg(pl.col("item").sort().alias(column))


def plain_text(column: str) -> pl.Expr:
    """HTML as text: tags and hidden parts dropped, entities resolved once, runs of whitespace one space; empty is null."""
    bare = pl.col(column).str.replace_all(HIDDEN, " ").str.replace_all(BLOCK_TAG, " ").str.replace_all(TAG, "")
    text = bare.map_batches(_unescape, return_dtype=pl.String).str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.when(text != "").then(text).alias(column)


def _unescape(texts: pl.Series) -> pl.Series:
    """Resolve entities: each distinct one once in Python, all occurrences in one vectorised pass."""
    entities = texts.str.extract_all(ENTITY).explode().drop_nulls().unique(maintain_order=True).to_list()
    return texts.str.replace_many(entities, [html.unescape(entity) for entity in entities]) if entities else texts


index = EmbeddingIndex(
    __name__,
    of=news,
    doc="An article's headline and text as a vector; nearest by cosine distance.",
    owner="alt-data",
    text=("title", "body"),
    key=KEY,
    columns=(
        SOURCE,
        GUID,
        EVENT_TIME,
        KNOWN_AT,
        PARTITION_DATE,
        Column("text", Text, "What was embedded: headline and text, a line each."),
        Column("embedding", Vector, "Unit vector of the text."),
    ),
)
