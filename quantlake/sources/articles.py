"""News items of any feed format as rows, and the documents they name.

Here: an item's fields, who published it, when, what its rows say of the feed. Not here: formats (rss.py, feeds.py), cleaning of text
(datasets/alt/news.py).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from quantlake.contract import Document, QuantLakeError
from quantlake.datasets.alt import news
from quantlake.sources.importers import Read, counted, typed

Article = Mapping[str, Any]
"""What an item says: the columns of ``FIELDS``, all but ``known_at``, ``url`` and ``body`` always there."""

PUBLISHERS = {"nasdaq.com": "nasdaq", "seekingalpha.com": "seeking_alpha", "finance.yahoo.com": "yahoo_finance"}
FIELDS: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("source", "guid", "title", "url", "body"), pl.String),
    "tickers": pl.List(pl.String),
    "published_at": pl.Datetime("us", "UTC"),
    "known_at": pl.Datetime("us", "UTC"),
}


def sent(articles: Sequence[Article], feed: str, version: str | None, known_at: datetime | None = None) -> Read:
    """The bodies as documents, then one table typed as ``news.raw``, in order; an item's number is its ``line_number``.

    ``feed`` names it among its publisher's, ``version`` the file's content (None: a live feed, which has neither version nor count).
    What is known of when an item was known: ``known_at``, else what it says itself, else its publication.
    """
    documents = [Document(body.encode()) if (body := article["body"]) else None for article in articles]
    yield from dict.fromkeys(document for document in documents if document)
    rows = pl.DataFrame(articles, schema=FIELDS).with_columns(
        event_time=pl.col("published_at"),
        known_at=pl.coalesce(pl.lit(known_at, FIELDS["known_at"]), "known_at", "published_at"),
        partition_date=pl.col("published_at").dt.date(),
        feeds=pl.concat_list(pl.lit(feed)),
        source_name=pl.format("rss/{}/{}", "source", pl.lit(feed)),
        source_version=pl.lit(version, pl.String),
        line_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
        object_uri=pl.Series([document and document.uri for document in documents], dtype=pl.String),
        object_hash=pl.Series([document and document.hash for document in documents], dtype=pl.String),
    )
    yield news.raw, typed(news.raw, counted(rows) if version else rows)


def require_text(value: Any, where: str, name: str) -> str:
    """The text, "" for none; raises ``QuantLakeError`` where it is anything else, or cannot be written as UTF-8."""
    if not isinstance(value, str | None):
        raise QuantLakeError(f"{where}: {name} is {str(value)[:60]!r}, not text")
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise QuantLakeError(f"{where}: {name} has half of a character, {error.object[error.start : error.end]!r}") from None
    return value or ""


def listed(text: str) -> list[str]:
    """Tickers as feeds write them: ``FB, AAPL``."""
    return [ticker.strip() for ticker in text.split(",") if ticker.strip()]


def rfc822(text: str, where: str, name: str) -> datetime:
    """The time in UTC, of any offset; raises ``QuantLakeError``. The format: https://www.rfc-editor.org/rfc/rfc2822#section-3.3."""
    try:
        time = parsedate_to_datetime(text)
        if text.rstrip().endswith("-0000"):  # UTC, of a machine that does not tell its zone
            return time.replace(tzinfo=UTC)
        return require_offset(time, text, where, name)
    except (ValueError, OverflowError) as error:
        raise QuantLakeError(f"{where}: {name} is {text or None!r}; RFC 822 is expected: Wed, 26 Aug 2020 21:49:00 +0000") from error


def require_offset(time: datetime, text: str, where: str, name: str) -> datetime:
    """The same in UTC; raises ``QuantLakeError`` where it has no offset."""
    if time.tzinfo is None:
        raise QuantLakeError(f"{where}: {name} {text!r} has no offset from UTC")
    return time.astimezone(UTC)


def publisher(link: str | None, guid: str, where: str) -> str:
    """By the host of link or guid: a known publisher, else the name under its public suffix (``feeds.a-b.co.uk``: ``a_b``).

    Raises ``QuantLakeError`` where neither names a host.
    """
    host = next((h for h in (_host(link or ""), _host(guid)) if h), None)
    if not host:
        raise QuantLakeError(f"{where}: neither link {link!r} nor guid {guid!r} names a host, so its publisher is unknown")
    known = next((name for domain, name in PUBLISHERS.items() if host == domain or host.endswith("." + domain)), None)
    if known:
        return known
    labels = host.split(".")
    under = labels[:-2] if len(labels) > 2 and labels[-2] in ("ac", "co", "com", "net", "org") else labels[:-1]
    return (under or labels)[-1].replace("-", "_")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
