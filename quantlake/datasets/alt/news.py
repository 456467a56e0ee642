"""News: articles and headlines as publishers' feeds carry them, and an index over their meaning.

Here: what an article is, how one is identified, its plain text. Not here: feed formats, or which model embeds the text.
"""

import html

import polars as pl

from quantlake.contract import PARTITION_DATE, Column, EmbeddingIndex, Integer, Stream, Table, Text, TextList, Timestamp, Vector

SOURCE = Column("source", Text, "Publisher, lower case: `nasdaq`, `seeking_alpha`, `yahoo_finance`.")
GUID = Column("guid", Text, "The publisher's own id of the article; its link where the feed has none.")
EVENT_TIME = Column("event_time", Timestamp, "When it was published, UTC.")
KNOWN_AT = Column("known_at", Timestamp, "When it could first be known, UTC.")

COLUMNS = (
    SOURCE,
    GUID,
    Column("title", Text, "Headline; in curated without tags and entities."),
    Column("url", Text, "Where the article is.", null=True),
    Column("body", Text, "Summary or text, HTML as received; in curated plain text on one line.", null=True),
    Column("tickers", TextList, "Symbols the publisher tagged; in curated each once. May be empty."),
    EVENT_TIME,
    KNOWN_AT,
    PARTITION_DATE,
    Column("feeds", TextList, "The publisher's feeds that carried it.", provenance=True),
    Column("source_name", Text, "The source's own name for the file or feed, never a folder on disk.", provenance=True),
    Column("source_version", Text, "sha256 of the file's content; null for live feeds.", null=True, provenance=True),
    Column("source_records", Integer, "Records that version has for this partition_date.", null=True, provenance=True),
    Column("line_number", Integer, "Item number in the file, from 1.", null=True, provenance=True),
)

raw = Stream(
    __name__,
    doc="A news item as one feed carried it.",
    owner="alt-data",
    topic="alt.news.v1",
    message_key="guid",
    files="log",
    columns=COLUMNS,
    key=("source", "guid", "partition_date"),
    storage_partition="month",
)


@raw.fill
def complete(news: pl.DataFrame) -> pl.DataFrame:
    """The UTC date of publication; no tickers and no feeds where none are stated."""
    return news.with_columns(
        pl.col("tickers", "feeds").fill_null(pl.lit([], dtype=pl.List(pl.String))),
        pl.col("partition_date").fill_null(pl.col("event_time").dt.date()),
    )


news = Table(
    __name__,
    of=raw,
    doc="An article, once, however many feeds carried it: changed text or tickers are versions of its key.",
    owner="alt-data",
    key=("source", "guid", "partition_date"),
    sort_by=("source", "event_time"),
    columns=COLUMNS,
    storage_partition="month",
)

HIDDEN = r"(?is)<!--.*?-->|<script\b.*?</script\s*>|<style\b.*?</style\s*>"
BLOCK_TAG = r"(?i)</?(?:p|br|hr|div|section|h[1-6]|ul|ol|li|table|tr|td|th|blockquote|pre|img|figure)\b[^>]*>"
TAG = r"(?i)</?[a-z!][^>]*>"
ENTITY = r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);"


@news.build
def curate(received: pl.LazyFrame) -> pl.LazyFrame:
    return received.with_columns(
        plain_text("title"), plain_text("body"), pl.col("tickers").list.unique(maintain_order=True),
    )


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
    key=("source", "guid", "partition_date"),
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
